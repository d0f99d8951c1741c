"""The panel under /_sandbox/: received data as HTML and JSON, faults and limits.

The panel is not part of Heap's API.
"""

from collections.abc import Callable, Iterator
from heapq import nlargest
from ipaddress import ip_address
from itertools import islice
from typing import Any, Protocol

import msgspec

from integrations.destinations.heap.sandbox.api import HeapApi
from integrations.destinations.heap.sandbox.exchange import CallRejected, SandboxAnswer, SandboxCall
from integrations.destinations.heap.sandbox.faults import Fault, FaultScript, read_script
from integrations.destinations.heap.sandbox.limits import DOCUMENTED_LIMITS, Limits, RateLimiter
from integrations.destinations.heap.sandbox.page import Overview, UserCard, render_page
from integrations.destinations.heap.sandbox.state import HeapEvent, HeapState, HeapUser
from integrations.destinations.heap.sandbox.traffic import Traffic

PAGE_USERS = 50  # users on the HTML page, newest first
PAGE_EVENTS = 20  # events per user
PAGE_REQUESTS = 40
PAGE_SCAN_EVENTS = 100_000  # latest events scanned for the page
MAX_JSON_ROWS = 10_000  # rows per JSON answer


class SandboxServer(Protocol):
    """The parts of the server (server.Sandbox) that the panel shows and changes."""

    host: str
    state: HeapState
    api: HeapApi
    traffic: Traffic
    script: FaultScript
    clock: Callable[[], float]

    def clear(self) -> None: ...

    def script_faults(self, faults: list[Fault]) -> None: ...


class Panel:
    def __init__(self, sandbox: SandboxServer):
        self.sandbox, self.state = sandbox, sandbox.state
        self._routes: dict[tuple[str, str], Callable[[SandboxCall], SandboxAnswer]] = {
            ("GET", "/_sandbox/"): self._page,
            ("GET", "/_sandbox/state"): self._counts,
            ("GET", "/_sandbox/events"): self._events,
            ("GET", "/_sandbox/users"): self._users,
            ("GET", "/_sandbox/accounts"): self._accounts,
            ("GET", "/_sandbox/keys"): self._keys,
            ("GET", "/_sandbox/requests"): self._requests,
            ("GET", "/_sandbox/faults"): self._faults,
            ("POST", "/_sandbox/faults"): self._set_faults,
            ("GET", "/_sandbox/limits"): self._limits,
            ("POST", "/_sandbox/limits"): self._set_limits,
            ("POST", "/_sandbox/reset"): self._reset,
        }

    def answer(self, call: SandboxCall) -> SandboxAnswer:
        """Answer a /_sandbox/ request: 403 for foreign host names, 404, or 400 with a reason."""
        if is_loopback(self.sandbox.host) and not is_loopback(_host_name(call)):
            # A foreign web page can point its own host name at this machine (DNS rebinding).
            return SandboxAnswer.json({"error": "Open /_sandbox/ as localhost"}, status=403)
        route = self._routes.get((call.method, call.path))
        if route is None:
            return SandboxAnswer.json({"error": f"No {call.method} {call.path}"}, status=404)
        try:
            return route(call)
        except CallRejected as refusal:
            return SandboxAnswer.json({"error": str(refusal)}, status=refusal.status)

    def _page(self, call: SandboxCall) -> SandboxAnswer:
        with self.sandbox.api.lock:
            overview = Overview(
                counts=self._totals(),
                users=newest_users(self.state),
                requests=self.sandbox.traffic.newest(PAGE_REQUESTS),
                faults=len(self.sandbox.script.faults),
                url=call.base_url,
                refresh_s=_number(call, "refresh", 0),
                now=self.sandbox.clock(),
            )
        policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"
        return SandboxAnswer(
            body=render_page(overview).encode(),
            content_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": policy},
        )

    def _counts(self, call: SandboxCall) -> SandboxAnswer:
        traffic, environments = self.sandbox.traffic, self.state.environments
        with self.sandbox.api.lock:
            by_app = {app_id: each.summary() for app_id, each in environments.items()}
            counts = self._totals()
            return SandboxAnswer.json(
                {**counts, "by_app": by_app, "by_endpoint": traffic.by_endpoint}
            )

    def _totals(self) -> dict[str, int]:
        empty = dict.fromkeys(("events", "requests", "users", "duplicates_ignored"), 0)
        kept = {"kept": len(self.state.events), "forgotten": self.state.forgotten}
        limits = {"max_events": self.state.max_events}
        return {**empty, **self.state.totals(), **self.sandbox.traffic.counts, **kept, **limits}

    def _events(self, call: SandboxCall) -> SandboxAnswer:
        limit = min(_number(call, "limit", 1_000), MAX_JSON_ROWS)
        with self.sandbox.api.lock:
            matches = filter(self._filter(call), self.state.after(_number(call, "after", 0)))
            events = [self._event(event) for event in islice(matches, limit)]
        following = events[-1]["seq"] if events and len(events) == limit else None
        return SandboxAnswer.json({"events": events, "next": following})

    def _filter(self, call: SandboxCall) -> Callable[[HeapEvent], bool]:
        """Return the filter of a query. `identity` and `user_id` name the current owner."""
        app_id = call.query.get("app_id")
        identity, user_id = call.query.get("identity"), _optional_number(call, "user_id")

        def fits(event: HeapEvent) -> bool:
            if app_id is not None and event.app_id != app_id:
                return False
            if identity is None and user_id is None:
                return True
            owner = self.state.owner(event)
            return owner is not None and _has_ids(owner, identity, user_id)

        return fits

    def _event(self, event: HeapEvent) -> dict[str, Any]:
        owner = self.state.owner(event)
        return {
            **msgspec.structs.asdict(event),
            "identity": event.identity or None,
            "user_id": event.user_id or None,
            "owner": owner.identity or None if owner else None,
        }

    def _users(self, call: SandboxCall) -> SandboxAnswer:
        limit, offset = (
            min(_number(call, "limit", 1_000), MAX_JSON_ROWS),
            _number(call, "offset", 0),
        )
        identity, user_id = call.query.get("identity"), _optional_number(call, "user_id")
        app_id = call.query.get("app_id")
        with self.sandbox.api.lock:
            matches = [
                (app, user)
                for app, user in iter_users(self.state)
                if app_id in (None, app) and _has_ids(user, identity, user_id)
            ]
            matches.sort(key=_recency, reverse=True)
            shown = [_user_json(app, user) for app, user in matches[offset : offset + limit]]
        return SandboxAnswer.json({"users": shown, "total": len(matches)})

    def _accounts(self, call: SandboxCall) -> SandboxAnswer:
        with self.sandbox.api.lock:
            every = [
                {"app_id": app_id, "account_id": account_id, "properties": properties}
                for app_id, environment in self.state.environments.items()
                for account_id, properties in environment.accounts.items()
            ]
            return SandboxAnswer.json({"accounts": every})

    def _keys(self, call: SandboxCall) -> SandboxAnswer:
        """Answer with every idempotency key and how often it was received, repeats included."""
        app_id = call.query.get("app_id")
        keys: dict[str, int] = {}
        with self.sandbox.api.lock:
            for name, environment in self.state.environments.items():
                if app_id in (None, name):
                    keys.update({k: keys.get(k, 0) + n for k, n in environment.keys.items()})
            return SandboxAnswer.json(keys)

    def _requests(self, call: SandboxCall) -> SandboxAnswer:
        with self.sandbox.api.lock:
            latest = self.sandbox.traffic.newest(_number(call, "limit", 200))
            return SandboxAnswer.json({"requests": latest})

    def _faults(self, call: SandboxCall) -> SandboxAnswer:
        return SandboxAnswer.json({"faults": self.sandbox.script.faults})

    def _set_faults(self, call: SandboxCall) -> SandboxAnswer:
        self.sandbox.script_faults(read_script(call.body))
        return self._faults(call)

    def _limits(self, call: SandboxCall) -> SandboxAnswer:
        return SandboxAnswer.json(
            {"limits": self.sandbox.api.rate_limiter.limits, "documented": DOCUMENTED_LIMITS}
        )

    def _set_limits(self, call: SandboxCall) -> SandboxAnswer:
        try:
            limits = msgspec.json.decode(call.body, type=Limits)
        except ValueError as error:
            raise CallRejected(str(error)) from error
        with self.sandbox.api.lock:
            self.sandbox.api.rate_limiter = RateLimiter(limits)
        return self._limits(call)

    def _reset(self, call: SandboxCall) -> SandboxAnswer:
        self.sandbox.clear()
        return SandboxAnswer.json({"reset": True})


def iter_users(state: HeapState) -> Iterator[tuple[str, HeapUser]]:
    """Return each user with the app_id they belong to."""
    for app_id, environment in state.environments.items():
        for user in environment.users():
            yield app_id, user


def _recency(pair: tuple[str, HeapUser]) -> tuple[float, int]:
    return pair[1].seen_at, pair[1].last_seq


def newest_users(state: HeapState) -> list[UserCard]:
    """Return the users seen last, each with their latest events."""
    newest = nlargest(PAGE_USERS, iter_users(state), key=_recency)
    cards = {id(user): UserCard(app_id, user, []) for app_id, user in newest}
    missing = sum(min(card.user.events, PAGE_EVENTS) for card in cards.values())
    for event in islice(reversed(state.events), PAGE_SCAN_EVENTS):
        if missing <= 0:
            break
        card = cards.get(id(state.owner(event)))
        if card and len(card.events) < PAGE_EVENTS:
            card.events.append(event)
            missing -= 1
    return list(cards.values())


def _user_json(app_id: str, user: HeapUser) -> dict[str, Any]:
    return {
        "app_id": app_id,
        "identity": user.identity or None,
        "user_ids": [str(number) for number in user.user_ids],
        "properties": user.properties,
        "events": user.events,
        "last_seq": user.last_seq,
        "seen_at": user.seen_at,
    }


def _has_ids(user: HeapUser, identity: str | None, user_id: int | None) -> bool:
    if identity is not None and user.identity != identity:
        return False
    return user_id is None or user_id in user.user_ids


def _number(call: SandboxCall, name: str, default: int) -> int:
    number = _optional_number(call, name)
    return default if number is None else number


def _optional_number(call: SandboxCall, name: str) -> int | None:
    value = call.query.get(name)
    if value is None:
        return None
    if not value.isdecimal():
        raise CallRejected(f"{name} should be a whole number, not {value!r}")
    return int(value)


def _host_name(call: SandboxCall) -> str:
    host = call.headers.get("host", "localhost")
    return host.rpartition(":")[0].strip("[]") if not host.endswith("]") and ":" in host else host


def is_loopback(host: str) -> bool:
    """Return whether a host name or address can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
