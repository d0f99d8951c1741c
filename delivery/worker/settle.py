"""Settles a batch: writes attempts, delivery states and the lane in one transaction."""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Case, F, Q, Value, When

from delivery import bulk
from delivery.accounting import record
from delivery.lanes.leases import Lease, leased_lane, renew
from delivery.models import Attempt, AttemptBody, Carried, Delivery, Lane, Told
from delivery.worker import rate_limits

OPEN_AFTER = 5  # failures in a row, from which on one delivery at a time asks whether all is well

AFTER_PROBE = timedelta(seconds=2)  # how long other lanes wait for what the probe says

HOST = socket.gethostname()[:60]


def worker() -> str:
    """Return this process as attempts name it: host and process id."""
    return f"{HOST}:{os.getpid()}"


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One HTTP exchange, ready to be written down. Texts have their secrets masked already.

    items     how many the request had
    carried   (delivery id, place of its first item in the request, how many are its own); none
              of a test
    taken_at  when its deliveries had been taken from the queue
    """

    started_at: datetime
    duration_ms: int
    method: str
    url: str
    status: int | None
    outcome: str
    error: str
    request_headers: str
    request_body: str
    response_headers: str
    response_body: str
    items: int
    carried: list[tuple[int, int, int]]
    taken_at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class Settled:
    """What becomes of one delivery; the state stays queued when it was only carried in vain.

    due_at, failures   of a delivery that is set aside: when to try it again, how often it was
    """

    delivery_id: int
    source_id: int
    queued_at: datetime
    state: str
    due_at: datetime | None = None
    failures: int = 0
    error: str = ""
    reason: str = ""
    notes: str = ""
    revision_id: int | None = None


@dataclass(slots=True, kw_only=True)
class Standing:
    """How the lane goes on.

    due_at     when to try again, while the vendor is unavailable
    paused     until a person has mended the installation
    """

    failures: int = 0
    due_at: datetime | None = None
    paused: bool = False
    last_error: str = ""


def settle(
    held: Lease,
    *,
    exchanges: Sequence[Exchange],
    settled: Sequence[Settled],
    told: Sequence[tuple[str, str]] = (),
    used: Mapping[str, int] | None = None,
    standing: Standing | None,
    now: datetime,
) -> None:
    """Write down exchanges, deliveries and the lane in one transaction, behind the fence.

    used  how much of which allowance, by bucket

    Raises LeaseLost, having written nothing, when another worker has the lane.
    """
    with transaction.atomic():
        # First, and so that the row stays locked: from here nobody else can take the lane.
        renew(held, now)
        installation_id = Lane.objects.values_list("installation", flat=True).get(pk=held.lane_id)
        last = _record(installation_id, exchanges)
        written = _settle(settled, last, now)
        record.note(installation_id, written, [e.outcome for e in exchanges], now)
        _remember(installation_id, told)
        if used:
            rate_limits.count(used, now)
        if standing is not None:
            _stand(held, standing, now)
            _tell_others(held, installation_id, standing, now)


def write_down_test(
    installation_id: int, exchanges: Sequence[Exchange], told: Sequence[tuple[str, str]]
) -> None:
    """Write down the exchanges of a test event: it is no delivery, and the ledger knows nothing."""
    with transaction.atomic():
        _record(installation_id, exchanges, is_test=True)
        _remember(installation_id, told)


def _remember(installation_id: int, told: Sequence[tuple[str, str]]) -> None:
    if told:
        rows = [(installation_id, key, value) for key, value in told]
        bulk.insert(Told, ("installation_id", "key", "value"), rows, keep_first=True)


def _record(
    installation_id: int, exchanges: Sequence[Exchange], *, is_test: bool = False
) -> dict[int, tuple[int, int]]:
    """Write the attempts; return for each delivery its last attempt and how many it had."""
    if not exchanges:
        return {}
    names = (
        "installation_id", "started_at", "duration_ms", "method", "url", "status", "outcome",
        "error", "items", "is_test", "worker", "taken_at",
    )  # fmt: skip
    by = worker()
    attempts = [
        (installation_id, e.started_at, e.duration_ms, e.method, e.url[:500], e.status, e.outcome,
         e.error, e.items, is_test, by, e.taken_at)
        for e in exchanges
    ]  # fmt: skip
    # sorted: SQLite promises no order of what it returns, and ids rise in the order of the rows
    ids = sorted(pk for (pk,) in bulk.insert(Attempt, names, attempts, returning=("id",)))
    bulk.insert(
        AttemptBody,
        ("attempt_id", "request_headers", "request_body", "response_headers", "response_body"),
        (
            (pk, e.request_headers, e.request_body, e.response_headers, e.response_body)
            for pk, e in zip(ids, exchanges, strict=True)
        ),
    )
    each = zip(ids, exchanges, strict=True)
    carried = [(d, pk, at, own) for pk, e in each for d, at, own in e.carried]
    bulk.insert(Carried, ("delivery_id", "attempt_id", "position", "items"), carried)
    last: dict[int, tuple[int, int]] = {}
    for delivery_id, attempt_id, *_ in carried:
        last[delivery_id] = (attempt_id, last.get(delivery_id, (0, 0))[1] + 1)
    return last


def _settle(
    settled: Sequence[Settled], last: dict[int, tuple[int, int]], now: datetime
) -> Sequence[Settled]:
    """Update the deliveries, and return those that were.

    The state in the condition: who cancelled one meanwhile, wins.
    """
    if not settled:
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
        for s in settled
    ]  # fmt: skip
    count = bulk.update(
        Delivery,
        names,
        rows,
        add=["attempts"],
        fill=["last_attempt_id", "revision_id"],
        where="delivery_delivery.state = 'queued'",
    )
    return settled if count == len(settled) else _of_this_moment(settled, now)


def _of_this_moment(settled: Sequence[Settled], now: datetime) -> Sequence[Settled]:
    ids = [each.delivery_id for each in settled]
    ours = Delivery.objects.filter(pk__in=ids, settled_at=now).exclude(state="cancelled")
    written = set(ours.values_list("pk", flat=True))
    return [each for each in settled if each.delivery_id in written]


def _stand(held: Lease, standing: Standing, now: datetime) -> None:
    in_trouble = standing.paused or standing.failures > 0
    since = Case(When(TROUBLED, then=F("changed_at")), default=Value(now))  # of what goes on
    leased_lane(held).update(
        failures=standing.failures,
        due_at=standing.due_at,
        paused=standing.paused,
        last_error=standing.last_error,
        changed_at=since if in_trouble else now,
    )


TROUBLED = Q(paused=True) | Q(failures__gt=0)


def _tell_others(held: Lease, installation_id: int, standing: Standing, now: datetime) -> None:
    """The vendor is the same for all lanes of an installation: one probes, the others go by it."""
    others = Lane.objects.filter(installation=installation_id).exclude(pk=held.lane_id)
    if standing.failures >= OPEN_AFTER and standing.due_at:
        others.filter(failures__lt=standing.failures).update(failures=standing.failures)
        later = standing.due_at + AFTER_PROBE
        others.filter(Q(due_at__isnull=True) | Q(due_at__lt=later)).update(due_at=later)
    elif standing.failures == 0 and not standing.paused:
        others.filter(failures__gt=0).update(failures=0, due_at=None, last_error="", changed_at=now)
