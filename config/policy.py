"""What people's pages get and programs' answers do without: a policy, and compression."""

from collections.abc import Callable

from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponse
from django.middleware.gzip import GZipMiddleware

Answer = Callable[[HttpRequest], HttpResponse]
FOR_PEOPLE = ("/admin/", "/v1/docs")


def for_people(get_response: Answer) -> Answer:
    """Return a middleware that spends nothing on ingest, where every microsecond counts."""
    whole = CSPMiddleware(GZipMiddleware(get_response))

    def answer(request: HttpRequest) -> HttpResponse:
        handler = whole if request.path.startswith(FOR_PEOPLE) else get_response
        return handler(request)

    return answer
