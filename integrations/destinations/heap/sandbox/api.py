"""The calls of Heap's server-side API.

Documented: the paths, 200 with `{}` for track, identify and user properties, `OK` for account
properties, 201 for a deletion.
Source: https://developers.heap.io/reference/server-side-apis-overview and the pages named in
`bodies` and `deletion` (seen 2026-11).

Observed but not documented: an app_id that is not a number is rejected (the live tests of
github.com/heap/heap-ruby). An unknown app_id that is a number is accepted, and its data appears
nowhere (a vendor's docs, https://composable-docs.zeotap.com/destinations/analytics/heap). The
sandbox has no list of app_ids; it treats every number as a real one.

Assumed: 404 for any other path, and 405 for any other method.
"""

from collections.abc import Callable, Sequence
from threading import Lock

from integrations.destinations.heap.sandbox import bodies
from integrations.destinations.heap.sandbox.deletion import DeletionRegistry, read_deletion
from integrations.destinations.heap.sandbox.exchange import CallRejected, SandboxAnswer, SandboxCall
from integrations.destinations.heap.sandbox.limits import NO_LIMITS, Limits, RateLimiter
from integrations.destinations.heap.sandbox.state import HeapState

STATUS_PATH = "/api/public/v0/deletion_status/"


class HeapApi:
    """Heap's API on top of a state. `lock` guards the state, here and in the panel."""

    def __init__(self, state: HeapState, clock: Callable[[], float], limits: Limits = NO_LIMITS):
        self.state, self.clock, self.lock = state, clock, Lock()
        self.rate_limiter, self.deletions = RateLimiter(limits), DeletionRegistry()
        self._routes: dict[str, Callable[[SandboxCall, float], SandboxAnswer]] = {
            "/api/track": self._track,
            "/api/v1/identify": self._identify,
            "/api/add_user_properties": self._add_user_properties,
            "/api/add_account_properties": self._add_account_properties,
            "/api/public/v0/auth_token": self._auth_token,
            "/api/public/v0/user_deletion": self._user_deletion,
        }

    def clear(self) -> None:
        """Delete all received data, tokens and deletions, and switch the limits off."""
        with self.lock:
            self.state.clear()
            self.rate_limiter, self.deletions = RateLimiter(), DeletionRegistry()

    def endpoint(self, path: str) -> str:
        """Return the name under which requests to a path are counted."""
        if path.startswith(STATUS_PATH):
            return STATUS_PATH.rstrip("/")
        return path if path in self._routes else "other"

    def answer(self, call: SandboxCall) -> SandboxAnswer:
        try:
            return self._route(call)(call, self.clock())
        except CallRejected as refusal:
            return SandboxAnswer.text(str(refusal), status=refusal.status)

    def _route(self, call: SandboxCall) -> Callable[[SandboxCall, float], SandboxAnswer]:
        route: Callable[[SandboxCall, float], SandboxAnswer] | None
        if call.path.startswith(STATUS_PATH):
            method, route = "GET", self._deletion_status
        else:
            method, route = "POST", self._routes.get(call.path)
        if route is None:
            raise CallRejected(f"Heap has no {call.path}", status=404)
        if call.method != method:
            raise CallRejected(f"{call.path} accepts only {method}", status=405)
        return route

    def _track(self, call: SandboxCall, now: float) -> SandboxAnswer:
        body, bulk = bodies.track_parser.read(call.body)
        whose = [entry.identity or entry.user_id for entry in body.entries]
        with self.lock:
            self._admit("track", body.app_id, whose, bulk, now)
            self.state.track(body.app_id, body.entries, now)
        return SandboxAnswer(items=len(body.entries))

    def _identify(self, call: SandboxCall, now: float) -> SandboxAnswer:
        body = bodies.read_identify(call.body)
        with self.lock:
            self.state.environment(body.app_id).identify(body, now)
        return SandboxAnswer(items=1)

    def _add_user_properties(self, call: SandboxCall, now: float) -> SandboxAnswer:
        body, bulk = bodies.users_parser.read(call.body)
        with self.lock:
            if not bulk:  # Heap documents no limit for the bulk call
                whose = [entry.identity for entry in body.entries]
                self._admit("add_user_properties", body.app_id, whose, bulk, now)
            self.state.add_user_properties(body.app_id, body.entries, now)
        return SandboxAnswer(items=len(body.entries))

    def _add_account_properties(self, call: SandboxCall, now: float) -> SandboxAnswer:
        body, _ = bodies.accounts_parser.read(call.body)
        with self.lock:
            self.state.add_account_properties(str(body.app_id), body.entries)
        return SandboxAnswer.text("OK", items=len(body.entries))

    def _admit(
        self, endpoint: str, app_id: str, whose: Sequence[str], bulk: bool, now: float
    ) -> None:
        if not self.rate_limiter.admits(endpoint, app_id, whose, bulk=bulk, now=now):
            raise CallRejected("Too Many Requests", status=429)

    def _auth_token(self, call: SandboxCall, now: float) -> SandboxAnswer:
        try:
            with self.lock:
                token = self.deletions.token(call.headers.get("authorization", ""), now)
        except CallRejected as refusal:
            return _error_answer(refusal)
        return SandboxAnswer.json({"access_token": token})

    def _user_deletion(self, call: SandboxCall, now: float) -> SandboxAnswer:
        try:
            with self.lock:
                app_id = self.deletions.app_id(call.headers.get("authorization", ""), now)
                users = read_deletion(call.body)
                self.state.delete_users(app_id, users)
                number = self.deletions.open(app_id, now)
        except CallRejected as refusal:
            return _error_answer(refusal)
        location = f"{call.base_url}{STATUS_PATH}{number}"
        request = {"deletion_request_location": location, "deletion_request_id": number}
        return SandboxAnswer.json({**request, "status": "pending"}, status=201)

    def _deletion_status(self, call: SandboxCall, now: float) -> SandboxAnswer:
        number = call.path.removeprefix(STATUS_PATH)
        try:
            with self.lock:
                app_id = self.deletions.app_id(call.headers.get("authorization", ""), now)
                status = self.deletions.status(number, app_id, now)
        except CallRejected as refusal:
            return _error_answer(refusal)
        return SandboxAnswer.json({"deletion_request_id": number, "status": status})


def _error_answer(refusal: CallRejected) -> SandboxAnswer:
    """Return an error of a deletion call. Heap's page names both forms; the texts are assumed."""
    message = str(refusal)
    err = {"err": {"message": message}, "error": message, "message": message}
    return SandboxAnswer.json(err, status=refusal.status)
