"""Heap's rate limits. They are off by default, so that they do not distort load tests.

Documented: 30 single calls in 30 s for each identity, of `track` and of `add_user_properties`;
in bulk 1,000 events a minute for each identity and 15,000 for each app_id.
Source: https://developers.heap.io/reference/track-1, /bulk-track, /add-user-properties (seen
2026-11).

Assumed, because Heap does not say what happens above the limits: 429 without Retry-After, with the
whole request rejected and not counted; windows of fixed length that start together; a user_id
counts like an identity; single and bulk calls, and the two endpoints, are counted separately.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0)]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits in force. 0 means no limit."""

    single_per_identity_30_s: Count = 0
    bulk_per_identity_minute: Count = 0
    bulk_per_app_minute: Count = 0


NO_LIMITS = Limits()
DOCUMENTED_LIMITS = Limits(
    single_per_identity_30_s=30, bulk_per_identity_minute=1_000, bulk_per_app_minute=15_000
)


class RateLimiter:
    """Counts entries against the limits, with one current window per rule."""

    def __init__(self, limits: Limits = NO_LIMITS):
        self.limits = limits
        self._windows: dict[str, tuple[int, Counter[tuple[str, str]]]] = {}

    def admits(
        self, endpoint: str, app_id: str, whose: Sequence[str], *, bulk: bool, now: float
    ) -> bool:
        """Return whether a request may pass, and count it if so. `whose` has an id per entry."""
        if self.limits == NO_LIMITS:
            return True
        rules = self._rules(endpoint, app_id, Counter(whose), bulk, now)
        if any(
            window[who] + n > most for window, most, wanted in rules for who, n in wanted.items()
        ):
            return False
        for window, _, wanted in rules:
            window.update(wanted)
        return True

    def _rules(
        self, endpoint: str, app_id: str, whose: Counter[str], bulk: bool, now: float
    ) -> list[tuple[Counter[tuple[str, str]], int, Counter[tuple[str, str]]]]:
        """Return (counts of the window, limit, counts of the request) for each limit in force."""
        limits = self.limits
        identities = Counter({(app_id, who): n for who, n in whose.items()})
        app = Counter({(app_id, ""): whose.total()})
        chosen = (
            [
                ("bulk identity", limits.bulk_per_identity_minute, 60, identities),
                ("bulk app", limits.bulk_per_app_minute, 60, app),
            ]
            if bulk
            else [("single", limits.single_per_identity_30_s, 30, identities)]
        )
        return [
            (self._window(f"{endpoint} {name}", int(now // length)), most, wanted)
            for name, most, length, wanted in chosen
            if most
        ]

    def _window(self, name: str, number: int) -> Counter[tuple[str, str]]:
        """Return the counts of a rule's current window, and discard those of the previous one."""
        if self._windows.get(name, (None,))[0] != number:
            self._windows[name] = (number, Counter())
        return self._windows[name][1]
