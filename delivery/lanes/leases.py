"""Lanes: who may work on one, what it should send next, and what came of it."""

import logging
import os
import socket
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from django.db import transaction
from django.db.models import Case, Exists, F, IntegerField, OuterRef, Q, Subquery, Value, When
from django.utils import timezone
from django_q.tasks import async_task

from delivery import bulk
from delivery.accounting import metrics
from delivery.models import Attempt, AttemptBody, Carried, Delivery, Lane, Told
from delivery.worker import rate_limits

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=25)  # must outlast one exchange (client.TOTAL) and its settling
FAR = LEASE + timedelta(minutes=10)  # more than the clocks of two machines differ by
OPEN_AFTER = 5  # failures in a row, from which on one delivery at a time asks whether all is well
AFTER_PROBE = timedelta(seconds=2)  # how long other lanes wait for what the probe says
CAREFUL_AFTER = 2  # workers that died in a row, from which on we note what each is at
GUILTY_AFTER = 2  # workers in a row that died over the same delivery
WAKE_AGAIN = timedelta(seconds=5)  # how long a wake-up may go unanswered before the next one
HOST = socket.gethostname()[:60]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a lane, and the proof of it: a token that every write must match."""

    lane_id: int
    token: uuid.UUID


class LeaseLost(Exception):
    """Another worker has the lane now; nothing was written."""


def free(now: datetime) -> Q:
    """Lanes without a worker. A lease that ends far ahead was made before a clock was set back."""
    return Q(lease__isnull=True) | Q(lease_until__lt=now) | Q(lease_until__gt=now + FAR)


def workable(now: datetime) -> Q:
    """Lanes that may be worked on now, leased or not."""
    due = Q(due_at__isnull=True) | Q(due_at__lte=now)
    return due & Q(paused=False, installation__enabled=True)


def stranded(now: datetime) -> list[int]:
    """Return the lanes that have something to send, may send it, and have no worker."""
    return list(_stranded(now).order_by("pk").values_list("pk", flat=True))


def is_stranded(lane_id: int, now: datetime) -> bool:
    return _stranded(now).filter(pk=lane_id).exists()


def due_among(lane_ids: Collection[int], now: datetime) -> list[int]:
    """Return those of the lanes that have something due."""
    due = Delivery.objects.due(now).filter(lane=OuterRef("pk")).order_by("pk").values("pk")
    # by the head of each queue: an EXISTS may be planned as one walk through all queues together
    heads = Lane.objects.filter(pk__in=lane_ids).values_list("pk", Subquery(due[:1]))
    return [lane_id for lane_id, head in heads if head is not None]


def _stranded(now: datetime):
    queued = Delivery.objects.due(now).filter(lane=OuterRef("pk"))
    return Lane.objects.filter(workable(now), free(now), Exists(queued))


def wake(lane_ids: Sequence[int]) -> None:
    """Ring for those lanes that nobody works on. To be called after the commit.

    Wake-ups are coalesced: a lane woken a moment ago is not woken again until somebody had the
    time to answer. A bell that cannot be rung costs latency only, so that is logged, not raised.
    """
    ring([bulk.rows_of(each) for each in bells(lane_ids, timezone.now())])


def bells(lane_ids: Sequence[int], now: datetime) -> list[bulk.Statement]:
    """Return a statement for each lane, which notes that somebody is asked to work on it. It gives
    the lane's row when nobody does, or was asked."""
    at, before = bulk.plain(now), bulk.plain(now - WAKE_AGAIN)
    return [bulk.Statement(RING, [at, lane_id, at, before]) for lane_id in sorted(set(lane_ids))]


def ring(answered: Sequence[Sequence[tuple[int]]]) -> None:
    """Ring for what the statements of `bells` gave."""
    for rows in answered:
        for (lane_id,) in rows:
            ring_task("drain", lane_id)


def ring_task(task: str, *arguments: int) -> None:
    """Ask for a task out of turn, by its name in tasks.py, of whichever process has the time."""
    try:
        async_task(f"delivery.tasks.{task}", *arguments)
    except Exception:  # the broker may fail in any way; the watch rings again
        logger.exception("Nobody could be rung for %s%s; the watch will.", task, arguments)


# Every ingest request asks; Django takes longer to write this than the database to run it. One
# lane a statement, by number: those who note several in different orders would meet a deadlock.
RING = (
    "UPDATE delivery_lane SET woken_at = %s WHERE id = %s "
    "AND (lease IS NULL OR lease_until < %s) AND (woken_at IS NULL OR woken_at < %s) RETURNING id"
)


def hand_on(lane_id: int) -> None:
    """Forget that the lane was rung for: we stop, and another cluster's watch is to ring anew."""
    Lane.objects.filter(pk=lane_id, lease__isnull=True).update(woken_at=None)


# A lease that nobody let go of was a worker's that died, or as good as that.
ONE_MORE_DEATH = Case(
    When(lease__isnull=False, then=F("deaths") + 1),
    default=F("deaths"),
    output_field=IntegerField(),
)


def lease(lane_id: int, now: datetime) -> Lease | None:
    """Take the lane, or return None when another worker has it or it must wait."""
    token = uuid.uuid4()
    candidates = Lane.objects.filter(workable(now), pk=lane_id)
    # Not among the candidates: when another worker takes the lane in this very moment, PostgreSQL
    # waits for it and then looks again at the row's own columns, but at no row of a subquery.
    taken = Lane.objects.filter(free(now), pk__in=candidates.values("pk")).update(
        lease=token, lease_until=now + LEASE, holder=holder(), woken_at=None, deaths=ONE_MORE_DEATH
    )
    return Lease(lane_id, token) if taken else None


def renew(held: Lease, now: datetime) -> None:
    """Hold the lane for another LEASE. Raises LeaseLost."""
    if not _mine(held).update(lease_until=now + LEASE):
        raise LeaseLost(f"lane {held.lane_id}")


def suspect(held: Lease, delivery_id: int | None, times: int, now: datetime) -> None:
    """Note which delivery is being worked on, in case the worker dies of it. Raises LeaseLost.

    times  how often in a row it has been this one
    """
    noted = _mine(held).update(suspect=delivery_id, suspected=times, lease_until=now + LEASE)
    if not noted:
        raise LeaseLost(f"lane {held.lane_id}")


def acquit(held: Lease) -> None:
    """Forget the deaths: whatever workers may have died of lies behind."""
    _mine(held).filter(deaths__gt=0).update(deaths=0, suspect=None, suspected=0)


def release(held: Lease) -> None:
    """Let go of the lane, if it is still ours."""
    _mine(held).update(lease=None, lease_until=None, holder="", deaths=0, suspect=None, suspected=0)


def seconds_to_wait(lane_id: int, now: datetime) -> float | None:
    """Return for how long a lane must not be worked on; None while a person holds it up."""
    lane = Lane.objects.select_related("installation").get(pk=lane_id)
    if lane.paused or not lane.installation.enabled:
        return None
    return max((lane.due_at - now).total_seconds(), 0.0) if lane.due_at else 0.0


def holder() -> str:
    """Return the name of this process's cluster, as leases carry it."""
    return os.environ.get("PENSTOCK_CLUSTER", "")


def worker() -> str:
    """Return this process as attempts name it: host and process id."""
    return f"{HOST}:{os.getpid()}"


def live_leases(cluster: str, now: datetime) -> int:
    return Lane.objects.filter(holder=cluster, lease__isnull=False, lease_until__gte=now).count()


def release_held_by(cluster: str, *, died: bool = True) -> int:
    """Free the lanes of a cluster whose processes are certainly dead; return how many.

    died  whether one of their messages may be why; not when the database went away under them
    """
    held = Lane.objects.filter(holder=cluster, lease__isnull=False)
    deaths = F("deaths") + int(died)
    return held.update(lease=None, lease_until=None, holder="", deaths=deaths)


# --- what came of it ---------------------------------------------------------------------------


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
        metrics.note(installation_id, written, [e.outcome for e in exchanges], now)
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


def _mine(held: Lease):
    return Lane.objects.filter(pk=held.lane_id, lease=held.token)


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
    _mine(held).update(
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


# --- which lanes there are ---------------------------------------------------------------------

# Numbers of the lanes that replays use, beyond any that live traffic can have.
REPLAYS = 1_000
AS_BEFORE = 1_001  # what is in it is shaped by the revision that shaped it last


@dataclass(frozen=True, slots=True)
class Route:
    """Where an installation's deliveries go: its revision, and its lanes by number."""

    installation_id: int
    revision_id: int
    lanes: tuple[int, ...]

    def lane_of(self, person: str) -> int:
        """Return the lane of a person: always the same one, so that their order is kept."""
        return self.lanes[crc32(person.encode()) % len(self.lanes)]


def replay_lane(installation_id: int, number: int = REPLAYS) -> Lane:
    """Return a lane beside the live ones, so that what is sent again delays nothing new."""
    return Lane.objects.get_or_create(installation_id=installation_id, number=number)[0]


def planning(source_id: int | None = None) -> bulk.Statement:
    """Return the statement whose rows `plan` reads."""
    return bulk.Statement(PLAN, [source_id, source_id])


def plan(
    source_id: int | None = None, rows: Sequence[tuple[Any, ...]] | None = None
) -> list[Route]:
    """Return the route of every installation that a source feeds, making lanes that are missing.

    Without a source: of every installation. Read anew by each ingest request: an installation made
    a moment ago misses nothing.
    """
    rows = bulk.rows_of(planning(source_id)) if rows is None else rows
    wanted = list(dict.fromkeys(row[:3] for row in rows))
    lanes: dict[int, dict[int, int]] = {}
    for installation, _, _, number, pk in rows:
        lanes.setdefault(installation, {})[number] = pk
    missing = [
        (installation, number, "", 0, "", False, timezone.now())
        for installation, _, count in wanted
        for number in range(count)
        if number not in lanes.get(installation, {})
    ]
    if missing:
        bulk.insert(Lane, LANE, missing, keep_first=True)
        return plan(source_id)
    return [
        Route(installation, revision, tuple(lanes[installation][n] for n in range(count)))
        for installation, revision, count in wanted
    ]


PLAN = (
    "SELECT i.id, i.revision_id, i.lane_count, l.number, l.id FROM integrations_installation i "
    "LEFT JOIN delivery_lane l ON l.installation_id = i.id "
    "WHERE i.revision_id IS NOT NULL AND i.uninstalled_at IS NULL AND (i.all_sources "
    "OR %s IS NULL OR EXISTS (SELECT 1 FROM integrations_installation_sources s "
    "WHERE s.installation_id = i.id AND s.source_id = %s)) ORDER BY i.id"
)
LANE = (
    "installation_id", "number", "holder", "failures", "last_error", "paused", "changed_at",
)  # fmt: skip
