"""The calls of Heap's server-side API.

Heap documents: the paths, 200 with `{}` for track, identify and user properties, `OK` for account
properties, 201 for a deletion.
Source: https://developers.heap.io/reference/server-side-apis-overview and the pages named in
`bodies` and `deletion` (seen 2026-11).

Our guess: 404 for any other path, and 405 for another method.

Seen, not documented: an app_id that is not a number is refused (github.com/heap/heap-ruby, its live
tests), an unknown one that is a number is taken, and its data shows up nowhere (a vendor's docs,
https://composable-docs.zeotap.com/destinations/analytics/heap). The sandbox knows no app_ids: it
takes each number for a real one.
"""

from collections.abc import Callable, Sequence
from threading import Lock

from integrations.destinations.heap.sandbox import bodies
from integrations.destinations.heap.sandbox.deletion import DeletionDesk, read_deletion
from integrations.destinations.heap.sandbox.exchange import Answer, Call, Refused
from integrations.destinations.heap.sandbox.limits import OFF, Gate, Limits
from integrations.destinations.heap.sandbox.state import State

STATUS_PATH = "/api/public/v0/deletion_status/"


class HeapApi:
    """Heap's API in front of a state. `lock` guards the state, here and where it is shown."""

    def __init__(self, state: State, clock: Callable[[], float], limits: Limits = OFF):
        self.state, self.clock, self.lock = state, clock, Lock()
        self.gate, self.desk = Gate(limits), DeletionDesk()
        self._routes: dict[str, Callable[[Call, float], Answer]] = {
            "/api/track": self._track,
            "/api/v1/identify": self._identify,
            "/api/add_user_properties": self._add_user_properties,
            "/api/add_account_properties": self._add_account_properties,
            "/api/public/v0/auth_token": self._auth_token,
            "/api/public/v0/user_deletion": self._user_deletion,
        }

    def clear(self) -> None:
        """Forget all that arrived, tokens and deletions too, and switch the limits off."""
        with self.lock:
            self.state.clear()
            self.gate, self.desk = Gate(), DeletionDesk()

    def endpoint(self, path: str) -> str:
        """Return the name under which requests to a path are counted."""
        if path.startswith(STATUS_PATH):
            return STATUS_PATH.rstrip("/")
        return path if path in self._routes else "other"

    def answer(self, call: Call) -> Answer:
        try:
            return self._route(call)(call, self.clock())
        except Refused as refusal:
            return Answer.text(str(refusal), status=refusal.status)

    def _route(self, call: Call) -> Callable[[Call, float], Answer]:
        route: Callable[[Call, float], Answer] | None
        if call.path.startswith(STATUS_PATH):
            method, route = "GET", self._deletion_status
        else:
            method, route = "POST", self._routes.get(call.path)
        if route is None:
            raise Refused(f"Heap has no {call.path}", status=404)
        if call.method != method:
            raise Refused(f"{call.path} takes {method}", status=405)
        return route

    def _track(self, call: Call, now: float) -> Answer:
        body, bulk = bodies.track.read(call.body)
        whose = [entry.identity or entry.user_id for entry in body.entries]
        with self.lock:
            self._admit("track", body.app_id, whose, bulk, now)
            self.state.track(body.app_id, body.entries, now)
        return Answer(items=len(body.entries))

    def _identify(self, call: Call, now: float) -> Answer:
        body = bodies.read_identify(call.body)
        with self.lock:
            self.state.environment(body.app_id).identify(body, now)
        return Answer(items=1)

    def _add_user_properties(self, call: Call, now: float) -> Answer:
        body, bulk = bodies.users.read(call.body)
        with self.lock:
            if not bulk:  # no limit is documented for the bulk call
                whose = [entry.identity for entry in body.entries]
                self._admit("add_user_properties", body.app_id, whose, bulk, now)
            self.state.add_user_properties(body.app_id, body.entries, now)
        return Answer(items=len(body.entries))

    def _add_account_properties(self, call: Call, now: float) -> Answer:
        body, _ = bodies.accounts.read(call.body)
        with self.lock:
            self.state.add_account_properties(str(body.app_id), body.entries)
        return Answer.text("OK", items=len(body.entries))

    def _admit(
        self, endpoint: str, app_id: str, whose: Sequence[str], bulk: bool, now: float
    ) -> None:
        if not self.gate.admits(endpoint, app_id, whose, bulk=bulk, now=now):
            raise Refused("Too Many Requests", status=429)

    def _auth_token(self, call: Call, now: float) -> Answer:
        try:
            with self.lock:
                token = self.desk.token(call.headers.get("authorization", ""), now)
        except Refused as refusal:
            return _error(refusal)
        return Answer.json({"access_token": token})

    def _user_deletion(self, call: Call, now: float) -> Answer:
        try:
            with self.lock:
                app_id = self.desk.app_id(call.headers.get("authorization", ""), now)
                users = read_deletion(call.body)
                self.state.delete_users(app_id, users)
                number = self.desk.open(app_id, now)
        except Refused as refusal:
            return _error(refusal)
        location = f"{call.base_url}{STATUS_PATH}{number}"
        request = {"deletion_request_location": location, "deletion_request_id": number}
        return Answer.json({**request, "status": "pending"}, status=201)

    def _deletion_status(self, call: Call, now: float) -> Answer:
        number = call.path.removeprefix(STATUS_PATH)
        try:
            with self.lock:
                app_id = self.desk.app_id(call.headers.get("authorization", ""), now)
                status = self.desk.status(number, app_id, now)
        except Refused as refusal:
            return _error(refusal)
        return Answer.json({"deletion_request_id": number, "status": status})


def _error(refusal: Refused) -> Answer:
    """Answer as the deletion calls do. Heap's page names both forms; the texts are our guess."""
    said = str(refusal)
    err = {"err": {"message": said}, "error": said, "message": said}
    return Answer.json(err, status=refusal.status)
