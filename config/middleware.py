"""What people's pages get and programs' answers do without: a policy, compression, sessions."""

from collections.abc import Callable

from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponse
from django.middleware.gzip import GZipMiddleware

GetResponse = Callable[[HttpRequest], HttpResponse]
PAGE_PREFIXES = ("/admin/", "/v1/docs")


def ingest_fast_path(get_response: GetResponse) -> GetResponse:
    """Return a middleware that takes what SDKs send straight to its view.

    What follows it, and the search for the address, cost a message that comes alone as much as all
    of its parsing: sessions, messages to people, CSRF. What of that matters here is done here.
    """
    from delivery.ingest.urls import views_by_path  # the applications are not loaded before

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
    """Return a middleware that spends nothing on ingest, where every microsecond counts."""
    page_handler = CSPMiddleware(GZipMiddleware(get_response))

    def answer(request: HttpRequest) -> HttpResponse:
        handler = page_handler if request.path.startswith(PAGE_PREFIXES) else get_response
        return handler(request)

    return answer
