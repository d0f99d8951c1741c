"""Heap's data: events, users and accounts, separate for each app_id. No clock, no sockets.

Documented: the first mention of a user creates the user; an event whose idempotency key was seen
before is not applied, so the first one stays unchanged; user properties are overwritten, so the
last value wins; identify moves all events of a user_id to the identity; a user_id belongs to one
identity permanently; an identity takes ten user_ids "over a one-month period"; arrays in events
are joined with `||` and cut at 1,024 characters.
Source: https://developers.heap.io/reference/track-1, /identify-1, /add-user-properties (seen
2026-11).

Assumed, because no source was found: an idempotency key is unique within its app_id, permanently;
a call that identify ignores is answered with 200; the month is the last 30 days; numbers in an
array are written as JavaScript would write them.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from sys import intern
from typing import Any

import msgspec
from msgspec import Struct

from integrations.destinations.heap.sandbox.bodies import (
    MAX_VALUE,
    AccountEntry,
    IdentifyBody,
    TrackEntry,
    UserEntry,
)

MAX_EVENTS = 500_000  # events kept, about 0.5 kB each; idempotency keys are kept permanently
MAX_USER_IDS_PER_IDENTITY = 10  # user_ids per month
MONTH_SECONDS = 30 * 86_400  # seconds


class HeapEvent(Struct, gc=False):
    """A stored event.

    seq  the order of arrival over all app_ids, counted from 1

    gc=False spares the garbage collector half a million events, none of which can be part of a
    cycle.
    """

    seq: int
    received_at: float  # Unix seconds
    app_id: str
    event: str
    identity: str  # as sent, "" when the event came with a user_id
    user_id: str
    session_id: str
    timestamp: str
    idempotency_key: str
    properties: msgspec.Raw


class HeapUser(Struct):
    """A person or a visitor.

    user_ids  user_id → time at which identify linked it (Unix seconds)
    """

    identity: str = ""  # "" while Heap knows only a visitor's user_id
    user_ids: dict[int, float] = {}
    properties: dict[str, Any] = {}
    events: int = 0
    seen_at: float = 0.0
    last_seq: int = 0  # seq of the latest event


class Environment:
    """All data received for one app_id."""

    def __init__(self) -> None:
        self.known: dict[str, HeapUser] = {}  # by identity
        self.visitors: dict[int, HeapUser] = {}  # user_id → visitor who is not identified yet
        self.linked: dict[int, HeapUser] = {}  # user_id → known user to whom it belongs
        self.accounts: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, int] = {}  # idempotency key → times received
        self.counts: Counter[str] = Counter()

    def users(self) -> Iterator[HeapUser]:
        yield from self.known.values()
        yield from self.visitors.values()

    def user(self, identity: str, user_id: str) -> HeapUser:
        """Return the user of an identity or a user_id, and create it if it is new."""
        if identity:
            return self.known.get(identity) or self._new(self.known, identity, HeapUser(identity))
        number = int(user_id)
        user = self.linked.get(number) or self.visitors.get(number)
        return user or self._new(self.visitors, number, HeapUser(user_ids={number: 0.0}))

    def find(self, identity: str, user_id: str) -> HeapUser | None:
        """Return the user who owns data sent with these ids, or None if deleted."""
        if identity:
            return self.known.get(identity)
        return self.linked.get(int(user_id)) or self.visitors.get(int(user_id))

    @staticmethod
    def _new(users: dict[Any, HeapUser], key: Any, user: HeapUser) -> HeapUser:
        users[key] = user
        return user

    def repeated(self, key: str) -> bool:
        """Count an idempotency key. Return whether it was received before."""
        times = self.keys.get(key, 0)
        self.keys[key] = times + 1
        return times > 0

    def identify(self, body: IdentifyBody, now: float) -> None:
        """Move a visitor and all their events to an identity, or ignore it as Heap does."""
        number, user = int(body.user_id), self.user(body.identity, "")
        user.seen_at = now
        owner = self.linked.get(number)
        if owner is user:
            self.counts["identifies_repeated"] += 1
        elif owner:
            self.counts["second_identities_ignored"] += 1
        elif (
            sum(at > now - MONTH_SECONDS for at in user.user_ids.values())
            >= MAX_USER_IDS_PER_IDENTITY
        ):
            self.counts["eleventh_user_ids_ignored"] += 1
        else:
            self._link(number, user, now)

    def _link(self, number: int, user: HeapUser, now: float) -> None:
        visitor = self.visitors.pop(number, None)
        if visitor:
            user.events += visitor.events
            user.last_seq = max(user.last_seq, visitor.last_seq)
        user.user_ids[number] = now
        self.linked[number] = user
        self.counts["identities_linked"] += 1

    def delete(self, user: HeapUser) -> None:
        """Delete a user and all their ids. The idempotency keys of their events remain known."""
        self.known.pop(user.identity, None)
        for number in user.user_ids:
            self.linked.pop(number, None)
            self.visitors.pop(number, None)

    def summary(self) -> dict[str, int]:
        return {
            "users": len(self.known) + len(self.visitors),
            "identified_users": len(self.known),
            "accounts": len(self.accounts),
            **{name: self.counts[name] for name in SUMMARY_COUNTS},
        }


SUMMARY_COUNTS = (
    "events",
    "duplicates_ignored",
    "user_updates",
    "account_updates",
    "identities_linked",
    "identifies_repeated",
    "second_identities_ignored",
    "eleventh_user_ids_ignored",
    "users_deleted",
)


class HeapState:
    """All received data. It is not thread-safe, so the caller must hold the sandbox's lock."""

    def __init__(self, max_events: int = MAX_EVENTS):
        self.max_events = max_events
        self.clear()

    def clear(self) -> None:
        self.environments: dict[str, Environment] = {}
        self.events: list[HeapEvent] = []  # ascending by seq
        self.last_seq = 0
        self.forgotten = 0

    def environment(self, app_id: str) -> Environment:
        if app_id not in self.environments:
            self.environments[app_id] = Environment()
        return self.environments[app_id]

    def track(self, app_id: str, entries: Sequence[TrackEntry], now: float) -> None:
        """Store the new events in order of arrival."""
        environment = self.environment(app_id)
        received = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        before = self.last_seq
        for entry in entries:
            if entry.idempotency_key and environment.repeated(entry.idempotency_key):
                continue
            user = environment.user(entry.identity, entry.user_id)
            self.last_seq += 1
            user.events, user.seen_at, user.last_seq = user.events + 1, now, self.last_seq
            self.events.append(
                HeapEvent(
                    self.last_seq,
                    now,
                    app_id,
                    intern(entry.event),  # few names, many events
                    user.identity if entry.identity else "",
                    entry.user_id,
                    entry.session_id,
                    entry.timestamp or received,
                    entry.idempotency_key,
                    encode_properties(entry.properties),
                )
            )
        new = self.last_seq - before
        environment.counts["events"] += new
        environment.counts["duplicates_ignored"] += len(entries) - new
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Drop the oldest events, a tenth at a time, because each drop moves the whole list."""
        surplus = len(self.events) - self.max_events
        if surplus > self.max_events // 10:
            del self.events[:surplus]
            self.forgotten += surplus

    def add_user_properties(self, app_id: str, entries: Sequence[UserEntry], now: float) -> None:
        environment = self.environment(app_id)
        for entry in entries:
            user = environment.user(entry.identity, "")
            user.properties.update(entry.properties)
            user.seen_at = now
        environment.counts["user_updates"] += len(entries)

    def add_account_properties(self, app_id: str, entries: Sequence[AccountEntry]) -> None:
        environment = self.environment(app_id)
        for entry in entries:
            environment.accounts.setdefault(entry.account_id, {}).update(entry.properties)
        environment.counts["account_updates"] += len(entries)

    def delete_users(self, app_id: str, users: Sequence[tuple[str, str]]) -> None:
        """Delete users with all their events. `users`: (identity, user_id), one of them ""."""
        environment = self.environment(app_id)
        deleted = {id(user): user for ids in users if (user := environment.find(*ids))}
        self.events = [event for event in self.events if id(self.owner(event)) not in deleted]
        for user in deleted.values():
            environment.delete(user)
        environment.counts["users_deleted"] += len(deleted)

    def owner(self, event: HeapEvent) -> HeapUser | None:
        """Return the user to whom an event belongs now, after all identify calls."""
        return self.environments[event.app_id].find(event.identity, event.user_id)

    def after(self, seq: int) -> Iterator[HeapEvent]:
        """Return the stored events received after number `seq`, oldest first."""
        start = bisect_right(self.events, seq, key=attrgetter("seq"))
        return (self.events[i] for i in range(start, len(self.events)))

    def totals(self) -> Counter[str]:
        totals: Counter[str] = Counter()
        for environment in self.environments.values():
            totals.update(environment.summary())
        return totals


def encode_properties(properties: dict[str, Any]) -> msgspec.Raw:
    """Encode an event's properties as JSON with arrays joined, a fifth of the memory of a dict."""
    for key, value in properties.items():
        if type(value) is list:
            properties[key] = join_array(value)
    return msgspec.Raw(msgspec.json.encode(properties))


def join_array(values: Sequence[str | int | float]) -> str:
    """Return an array as Heap stores it: `a||b||c`, cut at 1,024 characters.

    Source: https://developers.heap.io/reference/track-1 (seen 2026-11).
    """
    return "||".join(map(_array_item_text, values))[:MAX_VALUE]


def _array_item_text(value: str | int | float) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # 3.0 is 3 in JavaScript
    return str(value)
