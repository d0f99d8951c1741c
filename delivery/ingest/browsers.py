"""What browsers need of us: leave to send from other origins, a cookie, their SDKs' settings."""

import re
from uuid import uuid4

from delivery.ingest.errors import NotAllowed

PREFLIGHT_MAX_AGE = (
    86_400  # seconds a browser may remember our leave; Chromium asks after two hours
)
VISITOR_COOKIE_NAME = "_psid"
VISITOR_COOKIE_MAX_AGE = 400 * 86_400  # seconds; the most that browsers keep one
VISITOR_ID_PATTERN = re.compile(r"[0-9a-f-]{36}")
ALLOW_ORIGIN_HEADER = "Access-Control-Allow-Origin"


def check_origin(request, source):
    """Raise NotAllowed when a page sends that the source does not list.

    Only browsers name an origin, and only they cannot lie about it: the list keeps the pages of
    other sites out, not programs.
    """
    origin = request.META.get("HTTP_ORIGIN")
    if origin is not None and not source.allows(origin):
        raise NotAllowed(
            "origin_not_allowed",
            f"Pages of {origin} may not send: the source's list of origins does not have it.",
            status=403,
        )


def is_browser(request):
    """Say whether a browser sends, on behalf of the user in front of it."""
    return "HTTP_ORIGIN" in request.META or "HTTP_SEC_FETCH_MODE" in request.META


def get_or_create_visitor_id(request, source):
    """Return the id of the cookie, a new one for a new visitor, or "" when none is wanted."""
    if not source.visitor_cookie:
        return ""
    known = request.COOKIES.get(VISITOR_COOKIE_NAME, "")
    return known if VISITOR_ID_PATTERN.fullmatch(known) else str(uuid4())


def set_visitor_cookie(answer, visitor_id):
    """Set the cookie, for another 400 days."""
    answer.set_cookie(
        VISITOR_COOKIE_NAME,
        visitor_id,
        max_age=VISITOR_COOKIE_MAX_AGE,
        secure=True,
        httponly=True,
        samesite="Lax",
    )


def add_preflight_headers(request, answer):
    """Give leave to ask with any header: who may send is decided by what is sent.

    The headers asked for are echoed. SDKs add some when they send again (`X-Retry-Count`,
    `RSA-…`), so that a list would let the first try through and block every other one.
    """
    answer[ALLOW_ORIGIN_HEADER] = request.META.get("HTTP_ORIGIN", "*")
    answer["Access-Control-Allow-Credentials"] = "true"  # the answer itself says whether it is
    answer["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
    asked = request.META.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
    if asked:
        answer["Access-Control-Allow-Headers"] = asked
    answer["Access-Control-Max-Age"] = str(PREFLIGHT_MAX_AGE)
    answer["Vary"] = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    return answer


def add_cors_headers(request, answer, *, with_cookie=False):
    """Let the page that asked read the answer, and when to come again.

    A browser takes a cookie along, and keeps one, only when the answer names the page's origin.
    """
    origin = request.META.get("HTTP_ORIGIN")
    if origin is not None and answer.status_code != 403 and ALLOW_ORIGIN_HEADER not in answer:
        answer[ALLOW_ORIGIN_HEADER] = origin if with_cookie else "*"
        answer["Access-Control-Expose-Headers"] = "Retry-After"
        if with_cookie:
            answer["Access-Control-Allow-Credentials"] = "true"
            answer["Vary"] = "Origin"
    return answer
