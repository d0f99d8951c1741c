"""The user deletion API: five-minute tokens, and requests that are pending, then complete.

Documented: Basic auth with `app_id:api_key` returns an access_token valid for five minutes; up to
10,000 users per request, each a user_id (a JSON number) or an identity; 201 with a location, an id
and "pending"; later "complete"; 401 for bad credentials, 404 for a request that is unknown or of
another environment.
Source: https://developers.heap.io/reference/user-deletion and
https://help.heap.io/data-privacy/data-deletion/user-deletion-with-postman (seen 2026-11).

Assumed or simplified: any api_key passes unless it is empty; users are deleted at once although
the status is "pending" for two seconds; only this app_id's users are deleted (Heap deletes in all
environments of an account, but the sandbox has no accounts); the texts of errors.
"""

from base64 import b64decode
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Annotated
from uuid import uuid4

import msgspec
from msgspec import Meta, Struct

from integrations.destinations.heap.sandbox.bodies import (
    MAX_USER_ID,
    Identity,
    UserId,
)
from integrations.destinations.heap.sandbox.exchange import CallRejected

TOKEN_TTL = 5 * 60  # seconds
PENDING_SECONDS = 2.0  # seconds
MAX_DELETION_USERS = 10_000  # users per request


class DeletionTarget(Struct, forbid_unknown_fields=True):
    """A user to delete, named by either field."""

    user_id: Annotated[int, Meta(ge=0, le=MAX_USER_ID)] | UserId | None = None
    identity: Identity | None = None


class DeletionBody(Struct):
    users: Annotated[list[DeletionTarget], Meta(min_length=1, max_length=MAX_DELETION_USERS)]


@dataclass(frozen=True, slots=True)
class DeletionRequest:
    app_id: str
    asked_at: float  # Unix seconds


class DeletionRegistry:
    """The tokens issued and the deletions requested."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, float]] = {}  # token → app_id, valid until
        self._deletions: dict[str, DeletionRequest] = {}

    def token(self, authorization: str, now: float) -> str:
        """Return a new access token. Raises CallRejected (401) if the credentials are invalid."""
        token = token_urlsafe(24)
        self._tokens[token] = (_check_basic_auth(authorization), now + TOKEN_TTL)
        return token

    def app_id(self, authorization: str, now: float) -> str:
        """Return the app_id of a token. Raises CallRejected (401) if it is unknown or expired."""
        app_id, until = self._tokens.get(authorization.removeprefix("Bearer "), ("", 0.0))
        if now >= until:
            raise CallRejected("Unauthorized", status=401)
        return app_id

    def open(self, app_id: str, now: float) -> str:
        """Record a deletion and return its id."""
        number = str(uuid4())
        self._deletions[number] = DeletionRequest(app_id, now)
        return number

    def status(self, number: str, app_id: str, now: float) -> str:
        """Return "pending" or "complete". Raises CallRejected (404)."""
        deletion = self._deletions.get(number)
        if deletion is None or deletion.app_id != app_id:
            raise CallRejected("Deletion request not found", status=404)
        return "pending" if now < deletion.asked_at + PENDING_SECONDS else "complete"


def _check_basic_auth(authorization: str) -> str:
    try:
        pair = b64decode(authorization.removeprefix("Basic "), validate=True).decode()
    except ValueError:
        pair = ""
    app_id, _, api_key = pair.partition(":")
    if not (authorization.startswith("Basic ") and app_id.isdigit() and api_key):
        raise CallRejected("Unauthorized", status=401)
    return app_id


def read_deletion(raw: bytes) -> list[tuple[str, str]]:
    """Return (identity, user_id) of each user to delete. Raises CallRejected."""
    try:
        users = msgspec.json.decode(raw, type=DeletionBody).users
    except ValueError as error:
        raise CallRejected(f"Bad request: {error}") from error
    return [_target_ids(i, user) for i, user in enumerate(users)]


def _target_ids(i: int, user: DeletionTarget) -> tuple[str, str]:
    if (user.identity is None) == (user.user_id is None):
        raise CallRejected(f"Bad request: users[{i}] needs either identity or user_id")
    return user.identity or "", "" if user.user_id is None else str(user.user_id)
