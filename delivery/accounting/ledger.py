"""The ledger: for each installation, what came in is what is queued, settled or was not wanted.

Two books are kept and compared: the tallies that each ingest request appends, and the rows.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from django.db import connection
from django.db.models import Count, Sum

from delivery.models import Delivery, Event, Past, Tally
from integrations.models import Installation

# Names in Past; those that end in a space are followed by an installation's number, and that of
# deliveries by a space and a state as well.
EVENTS, ACCEPTED = "events", "accepted"
OFFERED, UNWANTED, DELIVERIES = "offered ", "unwanted ", "deliveries "


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One installation's account. in_scope: events that were offered to it."""

    installation: str
    in_scope: int
    unwanted: int
    queued: int
    delivered: int
    filtered: int
    failed: int
    cancelled: int

    @property
    def difference(self) -> int:
        accounted = (
            self.unwanted + self.queued + self.delivered + self.filtered + self.failed
            + self.cancelled
        )  # fmt: skip
        return self.in_scope - accounted


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """stored: rows of events. accepted: the same by the tallies."""

    stored: int
    accepted: int
    lines: tuple[Line, ...]

    @property
    def closes(self) -> bool:
        return self.stored == self.accepted and not any(line.difference for line in self.lines)

    def as_dict(self) -> dict[str, Any]:
        lines = [{**asdict(line), "difference": line.difference} for line in self.lines]
        return {
            "closes": self.closes,
            "events": {"stored": self.stored, "accepted": self.accepted},
            "installations": lines,
        }


def ledger() -> Ledger:
    """Return the ledger of all installations. To be called in a transaction that sees one state.

    What was purged is counted as it was when it went.
    """
    past = Counter(dict(Past.objects.values_list("name", "count")))
    in_scope, unwanted = _by_tallies(past)
    states = _by_rows(past)
    return Ledger(
        stored=Event.objects.count() + past[EVENTS],
        accepted=(Tally.objects.aggregate(n=Sum("events"))["n"] or 0) + past[ACCEPTED],
        lines=tuple(
            Line(
                installation=installation.name,
                in_scope=in_scope[installation.pk],
                unwanted=unwanted[installation.pk],
                **{state: states[installation.pk, state] for state in Delivery.State.values},
            )
            for installation in Installation.objects.order_by("pk")
        ),
    )


def _by_tallies(past: Counter[str]) -> tuple[Counter[int], Counter[int]]:
    """Return per installation the events offered to it, and those it did not want."""
    ids = list(Installation.objects.values_list("pk", flat=True))
    in_scope = Counter({pk: past[f"{OFFERED}{pk}"] for pk in ids})
    unwanted = Counter({pk: past[f"{UNWANTED}{pk}"] for pk in ids})
    rows = Tally.objects.values_list("events", "unwanted")
    for events, text in rows.iterator(chunk_size=10_000):
        for installation, count in msgspec.json.decode(text, type=dict[int, int]).items():
            in_scope[installation] += events
            unwanted[installation] += count
    return in_scope, unwanted


def _by_rows(past: Counter[str]) -> Counter[tuple[int, str]]:
    rows = Delivery.objects.order_by().values_list("installation", "state").annotate(n=Count("pk"))
    states = Counter({(installation, state): n for installation, state, n in rows})
    for name, count in past.items():
        if name.startswith(DELIVERIES):
            installation, _, state = name.removeprefix(DELIVERIES).partition(" ")
            states[int(installation), state] += count
    return states


def remember(counts: Counter[str]) -> None:
    """Add to what is past, in the transaction in which the rows go."""
    # sorted: two that remember the same in different orders would wait for each other
    rows = sorted((name, count) for name, count in counts.items() if count)
    with connection.cursor() as cursor:
        cursor.executemany(REMEMBER, rows)


REMEMBER = (
    "INSERT INTO delivery_past (name, count) VALUES (%s, %s) "
    "ON CONFLICT (name) DO UPDATE SET count = delivery_past.count + excluded.count"
)
