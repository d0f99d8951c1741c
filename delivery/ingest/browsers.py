"""Browser support for ingest: allowed origins, CORS headers and the visitor cookie."""

import re
from uuid import uuid4

from delivery.ingest.errors import NotAllowed

PREFLIGHT_MAX_AGE = (
    86_400  # seconds a browser may cache the preflight response; Chromium caps it at two hours
)
VISITOR_COOKIE_NAME = "_psid"
VISITOR_COOKIE_MAX_AGE = 400 * 86_400  # seconds; the longest that browsers keep a cookie
VISITOR_ID_PATTERN = re.compile(r"[0-9a-f-]{36}")
ALLOW_ORIGIN_HEADER = "Access-Control-Allow-Origin"


def check_origin(request, source):
    """Raise NotAllowed when the page's origin is not in the source's list.

    Browsers send an Origin header that pages cannot forge. Other programs can forge or omit it, so
    the list keeps out pages of other sites and nothing else.
    """
    origin = request.META.get("HTTP_ORIGIN")
    if origin is not None and not source.allows(origin):
        raise NotAllowed(
            "origin_not_allowed",
            f"Pages of {origin} may not send. Add the origin to the source's allowed origins.",
            status=403,
        )


def is_browser(request):
    """Return whether the request comes from a user's browser."""
    return "HTTP_ORIGIN" in request.META or "HTTP_SEC_FETCH_MODE" in request.META


def get_or_create_visitor_id(request, source):
    """Return the cookie's visitor id, a new id without a cookie, or "" if the source sets none."""
    if not source.visitor_cookie:
        return ""
    known = request.COOKIES.get(VISITOR_COOKIE_NAME, "")
    return known if VISITOR_ID_PATTERN.fullmatch(known) else str(uuid4())


def set_visitor_cookie(answer, visitor_id):
    """Set the visitor cookie for another 400 days."""
    answer.set_cookie(
        VISITOR_COOKIE_NAME,
        visitor_id,
        max_age=VISITOR_COOKIE_MAX_AGE,
        secure=True,
        httponly=True,
        samesite="Lax",
    )


def add_preflight_headers(request, answer):
    """Allow any origin and any header in a preflight; the actual request is what gets checked.

    The requested headers are echoed. SDKs add some when they retry (`X-Retry-Count`, `RSA-…`), so
    a fixed list would allow the first attempt and block every retry.
    """
    answer[ALLOW_ORIGIN_HEADER] = request.META.get("HTTP_ORIGIN", "*")
    answer["Access-Control-Allow-Credentials"] = "true"  # the actual response decides
    answer["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
    asked = request.META.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
    if asked:
        answer["Access-Control-Allow-Headers"] = asked
    answer["Access-Control-Max-Age"] = str(PREFLIGHT_MAX_AGE)
    answer["Vary"] = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    return answer


def add_cors_headers(request, answer, *, with_cookie=False):
    """Let the requesting page read the response and its Retry-After.

    A browser sends and stores cookies only when the response names the page's origin.
    """
    origin = request.META.get("HTTP_ORIGIN")
    if origin is not None and answer.status_code != 403 and ALLOW_ORIGIN_HEADER not in answer:
        answer[ALLOW_ORIGIN_HEADER] = origin if with_cookie else "*"
        answer["Access-Control-Expose-Headers"] = "Retry-After"
        if with_cookie:
            answer["Access-Control-Allow-Credentials"] = "true"
            answer["Vary"] = "Origin"
    return answer
