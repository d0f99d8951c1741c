"""The caller of the current request, for log records and the audit log.

It is a context variable, because the functions that change data do not receive the request.
"""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse

REQUEST_ID_HEADER = "X-Request-Id"
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._:/+=-]{1,100}")


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of an operation, and its channel: `api`, `admin` or `command`."""

    request_id: str = ""
    request: HttpRequest | None = None
    name: str = ""  # of a command

    @property
    def via(self) -> str:
        if self.request is None:
            return "command"
        return "api" if self.request.path.startswith("/v1/") else "admin"

    @property
    def user(self) -> Any:
        """The user who is logged in by session or token, or None."""
        user = getattr(self.request, "user", None)
        return user if user is not None and user.is_authenticated else None

    @property
    def ip_address(self) -> str | None:
        return self._meta("REMOTE_ADDR") or None

    @property
    def user_agent(self) -> str:
        return self._meta("HTTP_USER_AGENT")

    def _meta(self, name: str) -> str:
        return self.request.META.get(name, "") if self.request is not None else ""


NO_CALLER = Caller()
_caller: ContextVar[Caller] = ContextVar("caller", default=NO_CALLER)


def current_caller() -> Caller:
    """Return the caller on whose behalf the current code runs."""
    return _caller.get()


@contextmanager
def acting_as(caller: Caller) -> Iterator[None]:
    """Run the block on behalf of this caller."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


GetResponse = Callable[[HttpRequest], HttpResponse]


def request_context_middleware(get_response: GetResponse) -> GetResponse:
    """Give each request an id and return it in a header. Keep a well-formed id of the caller."""

    def middleware(request: HttpRequest) -> HttpResponse:
        caller_id = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = caller_id if REQUEST_ID_PATTERN.fullmatch(caller_id) else secrets.token_hex(12)
        request.request_id = request_id
        with acting_as(Caller(request_id, request)):
            response = get_response(request)
        response.headers[REQUEST_ID_HEADER] = request_id
        return response

    return middleware
