"""Retention: what is old enough is purged, a little at a time, and stays counted in the ledger.

Never what is queued. Small batches in transactions of their own, so that no lock lasts; the oldest
first, by key, so that nothing is scanned. Between them it rests while others work.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Max, Model, OuterRef, QuerySet
from django.utils import timezone

from delivery.accounting.ledger import DELIVERIES, EVENTS, remember
from delivery.models import (
    Attempt,
    AttemptBody,
    Carried,
    Delivery,
    Event,
    EventBody,
    Rejection,
    Replayed,
    Resolution,
    Settlement,
    Tally,
)
from delivery.worker.lane_threads import standing_aside
from delivery.worker.stop import stopping
from integrations.keyset import first_id
from integrations.models import AuditEntry

BATCH = 2_000  # rows
BUDGET = 20.0  # seconds a purge may take, rests included; the next sweep goes on
REST, LONGEST_REST = 3.0, 1.0  # times as long as a batch took, and seconds; when others work
RECENT = timedelta(seconds=2)  # since something came in or was settled: others work


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the rows that are old: those of them with ids above `after`, up to `last`."""

    rows: QuerySet
    after: int
    last: int

    def of(self, model: type[Model], column: str) -> QuerySet:
        """Return the rows of another table whose column is in that range."""
        among = {f"{column}__gt": self.after, f"{column}__lte": self.last}
        return model._default_manager.filter(**among)


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of row.

    days   the setting with the age that it is kept for
    old    gives the rows that are older than a moment
    purge  deletes a part of them with all that hangs on them; returns how many
    """

    name: str
    days: str
    old: Callable[[datetime], QuerySet]
    purge: Callable[[Part], int]


def purge(now: datetime, *, budget: float = BUDGET) -> Counter[str]:
    """Delete what is older than its age in the settings; return how many rows of what."""
    until = time.monotonic() + budget
    purged: Counter[str] = Counter()
    for step in STEPS:
        rows = step.old(now - timedelta(days=getattr(settings, step.days)))
        after = 0  # what went leaves dead entries in the index: to begin before it reads them all
        while time.monotonic() < until and not stopping():
            began = time.monotonic()
            part = _next_part(rows, after)
            if part is None:
                break
            with transaction.atomic():
                purged[step.name] += step.purge(part)
            after = part.last
            _rest(time.monotonic() - began)
    return purged


def _next_part(rows: QuerySet, after: int) -> Part | None:
    left = rows.filter(pk__gt=after)
    last = left.order_by("pk").values("pk")[:BATCH].aggregate(last=Max("pk"))["last"]
    return None if last is None else Part(left.filter(pk__lte=last), after, last)


def _rest(seconds: float) -> None:
    """Leave the machine to others, if there are any, after so many seconds of work."""
    if _others_work(timezone.now()):
        with standing_aside(at_once=True):
            time.sleep(min(REST * seconds, LONGEST_REST))


def _others_work(now: datetime) -> bool:
    for model in (Tally, Settlement):
        newest = model._default_manager.order_by("-pk").values_list("at", flat=True).first()
        if newest and now - newest < RECENT:
            return True
    return False


# --- what is old ---------------------------------------------------------------------------------


def _older(model: type[Model], moment: str) -> Callable[[datetime], QuerySet]:
    """Return what gives the rows whose ids are below that of the first one since a moment."""
    return lambda before: model._default_manager.filter(pk__lt=first_id(model, moment, before))


def _old_bodies(before: datetime) -> QuerySet:
    return AttemptBody.objects.filter(pk__lt=first_id(Attempt, "started_at", before))


def _old_deliveries(before: datetime) -> QuerySet:
    end = first_id(Delivery, "event__received_at", before)
    return Delivery.objects.filter(pk__lt=end, settled_at__lt=before)


def _old_events(before: datetime) -> QuerySet:
    """Events go after their deliveries: while one is left, the event is needed to tell of it."""
    needed = Exists(Delivery.objects.filter(event=OuterRef("pk")))
    return Event.objects.filter(~needed, pk__lt=first_id(Event, "received_at", before))


# --- what goes -----------------------------------------------------------------------------------


def _delete(rows: QuerySet) -> int:
    # what hangs on these rows is dealt with here, by range and not one by one
    return rows._raw_delete("default")


def _only(part: Part) -> int:
    return _delete(part.rows)


def _attempts(part: Part) -> int:
    for model in (Carried, AttemptBody):
        _delete(part.of(model, "attempt"))
    return _delete(part.rows)


def _deliveries(part: Part) -> int:
    # locked: who wants one delivered again meanwhile finds it gone, and never loses it queued
    settled = part.rows.select_for_update().order_by("pk").values_list("installation", "state")
    remember(Counter(f"{DELIVERIES}{where} {state}" for where, state in settled))
    for model in (Carried, Replayed, Resolution):
        _delete(part.of(model, "delivery").filter(delivery__in=part.rows.values("pk")))
    return _delete(part.rows)


def _events(part: Part) -> int:
    # Locked, then looked at again: meanwhile a backfill may have made a delivery of one.
    ids = part.rows.select_for_update().order_by("pk").values_list("pk", flat=True)
    gone = _delete(part.rows.filter(pk__in=list(ids)))
    left = Exists(Event.objects.filter(pk=OuterRef("event")))
    _delete(part.of(EventBody, "event").filter(~left))
    remember(Counter({EVENTS: gone}))
    return gone


STEPS = (
    Step("attempt bodies", "KEEP_ATTEMPT_BODIES_DAYS", _old_bodies, _only),
    Step("attempts", "KEEP_ATTEMPTS_DAYS", _older(Attempt, "started_at"), _attempts),
    Step("deliveries", "KEEP_DELIVERIES_DAYS", _old_deliveries, _deliveries),
    Step("events", "KEEP_EVENTS_DAYS", _old_events, _events),
    Step("rejections", "KEEP_EVENTS_DAYS", _older(Rejection, "received_at"), _only),
    Step("audit entries", "KEEP_AUDIT_DAYS", _older(AuditEntry, "at"), _only),
)
