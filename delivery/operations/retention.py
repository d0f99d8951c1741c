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

from delivery.accounting.ledger import PAST_DELIVERIES, PAST_EVENTS, add_to_totals
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
from delivery.worker.lane_threads import yielding_worker
from delivery.worker.stop import is_stopping
from integrations.keyset import first_id
from integrations.models import AuditEntry

PURGE_BATCH_ROWS = 2_000  # rows
PURGE_BUDGET = 20.0  # seconds a purge may take, rests included; the next sweep goes on
REST_FACTOR, MAX_REST_SECONDS = (
    3.0,
    1.0,
)  # times as long as a batch took, and seconds; when others work
BUSY_PERIOD = timedelta(seconds=2)  # since something came in or was settled: others work


@dataclass(frozen=True, slots=True)
class PurgeBatch:
    """Some of the rows that are old: those of them with ids above `after`, up to `last`."""

    rows: QuerySet
    after: int
    last: int

    def related_rows(self, model: type[Model], column: str) -> QuerySet:
        """Return the rows of another table whose column is in that range."""
        among = {f"{column}__gt": self.after, f"{column}__lte": self.last}
        return model._default_manager.filter(**among)


@dataclass(frozen=True, slots=True)
class PurgeStep:
    """One kind of row.

    days_setting  the setting with the age that it is kept for
    old_rows  gives the rows that are older than a moment
    purge  deletes a part of them with all that hangs on them; returns how many
    """

    name: str
    days_setting: str
    old_rows: Callable[[datetime], QuerySet]
    purge: Callable[[PurgeBatch], int]


def purge_old_rows(now: datetime, *, budget: float = PURGE_BUDGET) -> Counter[str]:
    """Delete what is older than its age in the settings; return how many rows of what."""
    until = time.monotonic() + budget
    purged: Counter[str] = Counter()
    for step in PURGE_STEPS:
        rows = step.old_rows(now - timedelta(days=getattr(settings, step.days_setting)))
        after = 0  # what went leaves dead entries in the index: to begin before it reads them all
        while time.monotonic() < until and not is_stopping():
            began = time.monotonic()
            batch = _next_batch(rows, after)
            if batch is None:
                break
            with transaction.atomic():
                purged[step.name] += step.purge(batch)
            after = batch.last
            _rest_if_busy(time.monotonic() - began)
    return purged


def _next_batch(rows: QuerySet, after: int) -> PurgeBatch | None:
    left = rows.filter(pk__gt=after)
    last = left.order_by("pk").values("pk")[:PURGE_BATCH_ROWS].aggregate(last=Max("pk"))["last"]
    return None if last is None else PurgeBatch(left.filter(pk__lte=last), after, last)


def _rest_if_busy(seconds: float) -> None:
    """Leave the machine to others, if there are any, after so many seconds of work."""
    if _is_system_busy(timezone.now()):
        with yielding_worker(at_once=True):
            time.sleep(min(REST_FACTOR * seconds, MAX_REST_SECONDS))


def _is_system_busy(now: datetime) -> bool:
    for model in (Tally, Settlement):
        newest = model._default_manager.order_by("-pk").values_list("at", flat=True).first()
        if newest and now - newest < BUSY_PERIOD:
            return True
    return False


# --- what is old ---------------------------------------------------------------------------------


def _older_than(model: type[Model], moment: str) -> Callable[[datetime], QuerySet]:
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


def _purge_rows(batch: PurgeBatch) -> int:
    return _delete(batch.rows)


def _purge_attempts(batch: PurgeBatch) -> int:
    for model in (Carried, AttemptBody):
        _delete(batch.related_rows(model, "attempt"))
    return _delete(batch.rows)


def _purge_deliveries(batch: PurgeBatch) -> int:
    # locked: who wants one delivered again meanwhile finds it gone, and never loses it queued
    settled = batch.rows.select_for_update().order_by("pk").values_list("installation", "state")
    add_to_totals(Counter(f"{PAST_DELIVERIES}{where} {state}" for where, state in settled))
    for model in (Carried, Replayed, Resolution):
        _delete(batch.related_rows(model, "delivery").filter(delivery__in=batch.rows.values("pk")))
    return _delete(batch.rows)


def _purge_events(batch: PurgeBatch) -> int:
    # Locked, then looked at again: meanwhile a backfill may have made a delivery of one.
    ids = batch.rows.select_for_update().order_by("pk").values_list("pk", flat=True)
    gone = _delete(batch.rows.filter(pk__in=list(ids)))
    left = Exists(Event.objects.filter(pk=OuterRef("event")))
    _delete(batch.related_rows(EventBody, "event").filter(~left))
    add_to_totals(Counter({PAST_EVENTS: gone}))
    return gone


PURGE_STEPS = (
    PurgeStep("attempt bodies", "KEEP_ATTEMPT_BODIES_DAYS", _old_bodies, _purge_rows),
    PurgeStep(
        "attempts", "KEEP_ATTEMPTS_DAYS", _older_than(Attempt, "started_at"), _purge_attempts
    ),
    PurgeStep("deliveries", "KEEP_DELIVERIES_DAYS", _old_deliveries, _purge_deliveries),
    PurgeStep("events", "KEEP_EVENTS_DAYS", _old_events, _purge_events),
    PurgeStep("rejections", "KEEP_EVENTS_DAYS", _older_than(Rejection, "received_at"), _purge_rows),
    PurgeStep("audit entries", "KEEP_AUDIT_DAYS", _older_than(AuditEntry, "at"), _purge_rows),
)
