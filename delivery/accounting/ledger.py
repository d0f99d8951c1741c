"""The ledger: every event offered to an installation is queued, settled or unwanted.

It compares two independent records: the tallies that each ingest request appends, and the rows.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from django.db import connection
from django.db.models import Count, Sum

from delivery.models import Delivery, Event, Past, Tally
from integrations.models import Installation

# Names in Past. Those that end in a space are followed by an installation's id, and "deliveries "
# also by a space and a state.
PAST_EVENTS, PAST_ACCEPTED = "events", "accepted"
PAST_OFFERED, PAST_UNWANTED, PAST_DELIVERIES = "offered ", "unwanted ", "deliveries "


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """The account of one installation.

    in_scope  events that were offered to it
    """

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
    """The whole ledger.

    stored    events according to the rows
    accepted  events according to the tallies
    """

    stored: int
    accepted: int
    lines: tuple[LedgerLine, ...]

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


def build_ledger() -> Ledger:
    """Return the ledger of all installations. Call in a transaction with a consistent snapshot.

    Purged rows count with the state they had when they were purged.
    """
    past = Counter(dict(Past.objects.values_list("name", "count")))
    in_scope, unwanted = _count_offered_and_unwanted(past)
    states = _count_states(past)
    return Ledger(
        stored=Event.objects.count() + past[PAST_EVENTS],
        accepted=(Tally.objects.aggregate(n=Sum("events"))["n"] or 0) + past[PAST_ACCEPTED],
        lines=tuple(
            LedgerLine(
                installation=installation.name,
                in_scope=in_scope[installation.pk],
                unwanted=unwanted[installation.pk],
                **{state: states[installation.pk, state] for state in Delivery.State.values},
            )
            for installation in Installation.objects.order_by("pk")
        ),
    )


def _count_offered_and_unwanted(past: Counter[str]) -> tuple[Counter[int], Counter[int]]:
    """Return the offered and the unwanted events of each installation."""
    ids = list(Installation.objects.values_list("pk", flat=True))
    in_scope = Counter({pk: past[f"{PAST_OFFERED}{pk}"] for pk in ids})
    unwanted = Counter({pk: past[f"{PAST_UNWANTED}{pk}"] for pk in ids})
    rows = Tally.objects.values_list("events", "unwanted")
    for events, text in rows.iterator(chunk_size=10_000):
        for installation, count in msgspec.json.decode(text, type=dict[int, int]).items():
            in_scope[installation] += events
            unwanted[installation] += count
    return in_scope, unwanted


def _count_states(past: Counter[str]) -> Counter[tuple[int, str]]:
    rows = Delivery.objects.order_by().values_list("installation", "state").annotate(n=Count("pk"))
    states = Counter({(installation, state): n for installation, state, n in rows})
    for name, count in past.items():
        if name.startswith(PAST_DELIVERIES):
            installation, _, state = name.removeprefix(PAST_DELIVERIES).partition(" ")
            states[int(installation), state] += count
    return states


def add_to_totals(counts: Counter[str]) -> None:
    """Add to the totals in Past. Call in the transaction that deletes the rows."""
    # Sorted, because transactions that update the same names in different orders would deadlock.
    rows = sorted((name, count) for name, count in counts.items() if count)
    with connection.cursor() as cursor:
        cursor.executemany(ADD_TO_TOTALS_SQL, rows)


ADD_TO_TOTALS_SQL = (
    "INSERT INTO delivery_past (name, count) VALUES (%s, %s) "
    "ON CONFLICT (name) DO UPDATE SET count = delivery_past.count + excluded.count"
)
