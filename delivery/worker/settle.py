"""Settles a batch: writes attempts, delivery states and the lane in one transaction."""

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from delivery import bulk
from delivery.accounting import record
from delivery.lanes.leases import Lease, leased_lane, renew_lease
from delivery.models import Attempt, AttemptBody, Carried, Delivery, Lane, Told
from delivery.telemetry import instruments
from delivery.worker import rate_limits
from delivery.worker.outcome import BatchOutcome
from delivery.worker.results import AttemptRecord, DeliveryResult, LaneState

logger = logging.getLogger(__name__)

PROBE_AFTER_FAILURES = (
    5  # consecutive failures after which a single delivery probes whether the vendor is up
)

PROBE_GRACE = timedelta(seconds=2)  # how long other lanes wait for the result of the probe

HOST = socket.gethostname()[:60]


def worker_name() -> str:
    """Return the name of this process in attempts: host and process id."""
    return f"{HOST}:{os.getpid()}"


def settle_outcome(held: Lease, outcome: BatchOutcome) -> None:
    """Settle the results collected so far. Raises LeaseLost, having written nothing."""
    outcome.record_fruitless(None)
    settle(
        held,
        attempts=outcome.attempts,
        results=outcome.results,
        facts=outcome.facts,
        used=outcome.used,
        lane_state=outcome.lane_state,
        now=timezone.now(),
    )
    outcome.clear()


def settle(
    held: Lease,
    *,
    attempts: Sequence[AttemptRecord],
    results: Sequence[DeliveryResult],
    facts: Sequence[tuple[str, str]] = (),
    used: Mapping[str, int] | None = None,
    lane_state: LaneState | None,
    now: datetime,
) -> None:
    """Write attempts, deliveries and the lane in one transaction, behind the fence.

    used  items to count against allowances, by bucket

    Raises LeaseLost, having written nothing, when another worker has the lane.
    """
    with transaction.atomic():
        # First, because this locks the row: from here on no other worker can take the lane.
        renew_lease(held, now)
        installation_id = Lane.objects.values_list("installation", flat=True).get(pk=held.lane_id)
        last = _write_attempts(installation_id, attempts)
        written = _update_deliveries(results, last, now)
        record.record_settled_batch(
            installation_id, written, [each.outcome for each in attempts], now
        )
        _remember(installation_id, facts)
        if used:
            rate_limits.count_items(used, now)
        if lane_state is not None:
            _update_lane(held, lane_state, now)
            _update_other_lanes(held, installation_id, lane_state, now)
    instruments.count_responses(each.status for each in attempts)
    _log_attempts(last)


def _log_attempts(last: Mapping[int, tuple[int, int]]) -> None:
    """Log the last attempt of each delivery, for someone who watches; the tables have them all."""
    if not logger.isEnabledFor(logging.DEBUG):
        return
    for delivery_id, (attempt_id, _) in last.items():
        ids = {"delivery_id": delivery_id, "attempt_id": attempt_id}
        logger.debug("Delivery %s: attempt %s", delivery_id, attempt_id, extra=ids)


def settle_test(
    installation_id: int, attempts: Sequence[AttemptRecord], facts: Sequence[tuple[str, str]]
) -> None:
    """Write the attempts of a test event, which has no delivery and is not in the ledger."""
    with transaction.atomic():
        _write_attempts(installation_id, attempts, is_test=True)
        _remember(installation_id, facts)


def _remember(installation_id: int, facts: Sequence[tuple[str, str]]) -> None:
    if facts:
        rows = [(installation_id, key, value) for key, value in facts]
        bulk.insert(Told, ("installation_id", "key", "value"), rows, ignore_conflicts=True)


def _write_attempts(
    installation_id: int, attempts: Sequence[AttemptRecord], *, is_test: bool = False
) -> dict[int, tuple[int, int]]:
    """Write the attempts; return for each delivery its last attempt and how many it had."""
    if not attempts:
        return {}
    names = (
        "installation_id", "started_at", "duration_ms", "method", "url", "status", "outcome",
        "error", "items", "is_test", "worker", "taken_at",
    )  # fmt: skip
    by = worker_name()
    rows = [
        (installation_id, e.started_at, e.duration_ms, e.method, e.url[:500], e.status, e.outcome,
         e.error, e.items, is_test, by, e.taken_at)
        for e in attempts
    ]  # fmt: skip
    # Sort: SQLite returns ids in no guaranteed order, but assigns them in the order of the rows.
    ids = sorted(pk for (pk,) in bulk.insert(Attempt, names, rows, returning=("id",)))
    bulk.insert(
        AttemptBody,
        ("attempt_id", "request_headers", "request_body", "response_headers", "response_body"),
        (
            (pk, e.request_headers, e.request_body, e.response_headers, e.response_body)
            for pk, e in zip(ids, attempts, strict=True)
        ),
    )
    each = zip(ids, attempts, strict=True)
    carried = [(d, pk, at, own) for pk, e in each for d, at, own in e.carried]
    bulk.insert(Carried, ("delivery_id", "attempt_id", "position", "items"), carried)
    last: dict[int, tuple[int, int]] = {}
    for delivery_id, attempt_id, *_ in carried:
        last[delivery_id] = (attempt_id, last.get(delivery_id, (0, 0))[1] + 1)
    return last


def _update_deliveries(
    results: Sequence[DeliveryResult], last: dict[int, tuple[int, int]], now: datetime
) -> Sequence[DeliveryResult]:
    """Update the deliveries and return the results that were written.

    The state is in the condition, so that a delivery which was cancelled stays cancelled.
    """
    if not results:
        return ()
    names = (
        "state", "due_at", "failures", "settled_at", "attempts", "last_attempt_id", "revision_id",
        "error", "reason", "notes",
    )  # fmt: skip
    queued = Delivery.State.QUEUED
    rows = [
        (s.delivery_id, s.state, s.due_at, s.failures, None if s.state == queued else now,
         last.get(s.delivery_id, (None, 0))[1], last.get(s.delivery_id, (None, 0))[0],
         s.revision_id, s.error, s.reason, s.notes)
        for s in results
    ]  # fmt: skip
    count = bulk.update(
        Delivery,
        names,
        rows,
        add=["attempts"],
        fill=["last_attempt_id", "revision_id"],
        where="delivery_delivery.state = 'queued'",
    )
    return results if count == len(results) else _written_at(results, now)


def _written_at(results: Sequence[DeliveryResult], now: datetime) -> Sequence[DeliveryResult]:
    ids = [each.delivery_id for each in results]
    ours = Delivery.objects.filter(pk__in=ids, settled_at=now).exclude(state="cancelled")
    written = set(ours.values_list("pk", flat=True))
    return [each for each in results if each.delivery_id in written]


def _update_lane(held: Lease, lane_state: LaneState, now: datetime) -> None:
    in_trouble = lane_state.paused or lane_state.failures > 0
    # An ongoing trouble keeps its start.
    since = Case(When(TROUBLED, then=F("changed_at")), default=Value(now))
    leased_lane(held).update(
        failures=lane_state.failures,
        due_at=lane_state.due_at,
        paused=lane_state.paused,
        last_error=lane_state.last_error,
        changed_at=since if in_trouble else now,
    )


TROUBLED = Q(paused=True) | Q(failures__gt=0)


def _update_other_lanes(
    held: Lease, installation_id: int, lane_state: LaneState, now: datetime
) -> None:
    """Apply the vendor's state to the installation's other lanes, because they share the vendor.

    One lane probes; the others wait for its result.
    """
    others = Lane.objects.filter(installation=installation_id).exclude(pk=held.lane_id)
    if lane_state.failures >= PROBE_AFTER_FAILURES and lane_state.due_at:
        others.filter(failures__lt=lane_state.failures).update(failures=lane_state.failures)
        later = lane_state.due_at + PROBE_GRACE
        others.filter(Q(due_at__isnull=True) | Q(due_at__lt=later)).update(due_at=later)
    elif lane_state.failures == 0 and not lane_state.paused:
        others.filter(failures__gt=0).update(failures=0, due_at=None, last_error="", changed_at=now)
