"""Middleware that keeps page features (CSP, compression, sessions) off ingest and monitoring."""

import time
from collections.abc import Callable

from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponse
from django.middleware.gzip import GZipMiddleware

from config.body_limits import max_body_bytes

GetResponse = Callable[[HttpRequest], HttpResponse]
PAGE_PREFIXES = ("/admin/", "/v1/docs")


def cookies_without_escapes(get_response: GetResponse) -> GetResponse:
    """Return a middleware that ignores cookies with a backslash.

    Django unquotes cookies with Python, which takes quadratic time for backslashes before 3.11.10
    and 3.12.6 (CVE-2024-7592): a head of 62 KB held a thread for 12 s. Penstock sets no such
    cookie.
    """

    def answer(request: HttpRequest) -> HttpResponse:
        cookies = request.META.get("HTTP_COOKIE", "")
        if "\\" in cookies:
            kept = (each for each in cookies.split(";") if "\\" not in each)
            request.META["HTTP_COOKIE"] = ";".join(kept)
        return get_response(request)

    return answer


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
        return _finish(view(request))

    return answer


def monitoring_fast_path(get_response: GetResponse) -> GetResponse:
    """Return a middleware that passes monitoring requests to their view, whatever their Host is.

    A load balancer and Prometheus ask by address, and must be answered without the database that
    sessions need.
    """
    from delivery.monitoring.views import monitoring_views  # apps are not loaded at module import

    def answer(request: HttpRequest) -> HttpResponse:
        view = monitoring_views.get(request.path_info)
        if view is None:
            return get_response(request)
        response = view(request)
        response.headers["Cache-Control"] = "no-store"
        return _finish(response)

    return answer


def _finish(response: HttpResponse) -> HttpResponse:
    """Add the headers that Django's own middleware would add."""
    response.headers["Content-Length"] = str(len(response.content))
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def request_metrics(get_response: GetResponse) -> GetResponse:
    """Return a middleware that measures how long each request takes."""
    from delivery.telemetry.instruments import observe_request

    def answer(request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        response = get_response(request)
        observe_request(request.path_info, response.status_code, time.perf_counter() - began)
        return response

    return answer


def body_limit(get_response: GetResponse) -> GetResponse:
    """Return a middleware that refuses a body over the limit of its URL before it is read.

    Ingest has a check of its own, because its error responses have another format.
    """
    from integrations.api import errors  # apps are not loaded at module import

    def answer(request: HttpRequest) -> HttpResponse:
        limit = max_body_bytes(request.path_info)
        if int(request.META.get("CONTENT_LENGTH") or 0) > limit:
            return errors.too_large(request, limit)
        return get_response(request)

    return answer


def secure_cookies(get_response: GetResponse) -> GetResponse:
    """Return a middleware that marks cookies as Secure when the browser came over HTTPS.

    A setting could not tell: the same server may also be reached over HTTP on the local machine.
    """

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.is_secure():
            for cookie in response.cookies.values():
                cookie["secure"] = True
        return response

    return answer


def page_policy_and_gzip(get_response: GetResponse) -> GetResponse:
    """Return a middleware that adds CSP and gzip to pages only, because ingest needs neither."""
    page_handler = CSPMiddleware(GZipMiddleware(get_response))

    def answer(request: HttpRequest) -> HttpResponse:
        handler = page_handler if request.path.startswith(PAGE_PREFIXES) else get_response
        return handler(request)

    return answer
