"""Refuses calls over HTTP where only HTTPS is allowed; Django itself redirects pages."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

GetResponse = Callable[[HttpRequest], HttpResponse]
PAGES = ("/admin/", "/static/", "/v1/docs")
# Of load balancers and of Prometheus, which ask each server itself, without TLS.
HEALTH_CHECKS = frozenset({"/healthz", "/readyz", "/metrics"})
HTTPS_REQUIRED = (
    "This call came over HTTP, where anyone on the way can read its key. Use https:// instead."
)


def https_only(get_response: GetResponse) -> GetResponse:
    """Return a middleware that refuses calls of programs over HTTP if PENSTOCK_HTTPS is on.

    A redirect would not help: the key was already sent in clear text and would be sent so again
    each time, and a 301 makes clients repeat a POST as a GET without its body.
    """
    from integrations.api import errors  # apps are not loaded at module import

    def answer(request: HttpRequest) -> HttpResponse:
        path = request.path_info
        if not settings.HTTPS or request.is_secure() or path in HEALTH_CHECKS or is_page(path):
            return get_response(request)
        if path.startswith("/v1/admin/"):
            return errors.https_required(HTTPS_REQUIRED)
        body = {"success": False, "code": "https_required", "message": HTTPS_REQUIRED}
        return JsonResponse(body, status=403)

    return answer


def is_page(path: str) -> bool:
    return path == "/" or f"{path}/".startswith(PAGES)
