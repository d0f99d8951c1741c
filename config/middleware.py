"""Middleware that keeps page features (CSP, compression, sessions) off the ingest path."""

from collections.abc import Callable

from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponse
from django.middleware.gzip import GZipMiddleware

GetResponse = Callable[[HttpRequest], HttpResponse]
PAGE_PREFIXES = ("/admin/", "/v1/docs")


def ingest_fast_path(get_response: GetResponse) -> GetResponse:
    """Return a middleware that passes ingest requests straight to their view.

    URL resolution and the remaining middleware (sessions, messages, CSRF) would cost a single
    message as much as its whole parsing. The parts of them that ingest needs are repeated here.
    """
    from delivery.ingest.urls import views_by_path  # apps are not loaded at module import

    def answer(request: HttpRequest) -> HttpResponse:
        view = views_by_path.get(request.path_info)
        if view is None:
            return get_response(request)
        request.get_host()  # raises DisallowedHost
        response = view(request)
        response.headers["Content-Length"] = str(len(response.content))
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return answer


def page_policy_and_gzip(get_response: GetResponse) -> GetResponse:
    """Return a middleware that adds CSP and gzip to pages only, because ingest needs neither."""
    page_handler = CSPMiddleware(GZipMiddleware(get_response))

    def answer(request: HttpRequest) -> HttpResponse:
        handler = page_handler if request.path.startswith(PAGE_PREFIXES) else get_response
        return handler(request)

    return answer
