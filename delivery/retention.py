"""Retention: what is old enough is purged, a little at a time, and stays counted in the ledger.

Never what is queued. Small batches in transactions of their own, so that no lock lasts; the oldest
first, by key, so that nothing is scanned.
"""

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Model, QuerySet

from delivery.ledger import DELIVERIES, EVENTS, remember
from delivery.models import (
    Attempt,
    AttemptBody,
    Carried,
    Delivery,
    Event,
    EventBody,
    Rejection,
    Replayed,
)
from integrations.models import AuditEntry
from integrations.paging import first_id

BATCH = 2_000  # rows
BUDGET = 5.0  # seconds a purge may take; the next sweep goes on


def purge(now: datetime, *, budget: float = BUDGET) -> Counter[str]:
    """Delete what is older than its age in the settings; return how many rows of what."""
    until = time.monotonic() + budget
    purged: Counter[str] = Counter()
    for name, days, step in STEPS:
        before = now - timedelta(days=getattr(settings, days))
        while time.monotonic() < until:
            with transaction.atomic():
                count = step(before)
            purged[name] += count
            if count < BATCH:
                break
    return purged


def _attempt_bodies(before: datetime) -> int:
    end = first_id(Attempt, "started_at", before)
    return _delete(AttemptBody, _oldest(AttemptBody.objects.filter(pk__lt=end)))


def _attempts(before: datetime) -> int:
    ids = _oldest(Attempt.objects.filter(pk__lt=first_id(Attempt, "started_at", before)))
    Carried.objects.filter(attempt__in=ids)._raw_delete("default")
    _delete(AttemptBody, ids)
    return _delete(Attempt, ids)


def _deliveries(before: datetime) -> int:
    end = first_id(Delivery, "event__received_at", before)
    # locked: who wants one delivered again meanwhile finds it gone, and never loses it queued
    settled = Delivery.objects.select_for_update().filter(pk__lt=end, settled_at__lt=before)
    rows = list(settled.order_by("pk").values_list("pk", "installation", "state")[:BATCH])
    ids = [pk for pk, _, _ in rows]
    for model in (Carried, Replayed):
        model._default_manager.filter(delivery__in=ids)._raw_delete("default")
    remember(Counter(f"{DELIVERIES}{where} {state}" for _, where, state in rows))
    return _delete(Delivery, ids)


def _events(before: datetime) -> int:
    """Events go after their deliveries: while one is left, the event is needed to tell of it."""
    end = first_id(Event, "received_at", before)
    ids = _oldest(Event.objects.filter(pk__lt=end, deliveries__isnull=True))
    _delete(EventBody, ids)
    remember(Counter({EVENTS: len(ids)}))
    return _delete(Event, ids)


def _rejections(before: datetime) -> int:
    end = first_id(Rejection, "received_at", before)
    return _delete(Rejection, _oldest(Rejection.objects.filter(pk__lt=end)))


def _audit_entries(before: datetime) -> int:
    end = first_id(AuditEntry, "at", before)
    return _delete(AuditEntry, _oldest(AuditEntry.objects.filter(pk__lt=end)))


STEPS: tuple[tuple[str, str, Callable[[datetime], int]], ...] = (
    ("attempt bodies", "KEEP_ATTEMPT_BODIES_DAYS", _attempt_bodies),
    ("attempts", "KEEP_ATTEMPTS_DAYS", _attempts),
    ("deliveries", "KEEP_DELIVERIES_DAYS", _deliveries),
    ("events", "KEEP_EVENTS_DAYS", _events),
    ("rejections", "KEEP_EVENTS_DAYS", _rejections),
    ("audit entries", "KEEP_AUDIT_DAYS", _audit_entries),
)


def _oldest(rows: QuerySet) -> list[int]:
    return list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])


def _delete(model: type[Model], ids: list[int]) -> int:
    # _raw_delete: what hangs on these rows is dealt with above, by number and not one by one
    return model._default_manager.filter(pk__in=ids)._raw_delete("default") if ids else 0
