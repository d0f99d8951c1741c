"""Supervises the django-q2 cluster: restarts it when a process is missing or due work is ignored.

django-q2 replaces a process that died, but not the locks that died with it. One killed idle worker
can freeze the cluster for good, and a killed monitor makes tasks run forever. So a damaged group is
always replaced as a whole. The state lives in our tables, so a restart costs seconds and never
loses a delivery.

A group is judged by its own time (`progress.py`), not by the wall clock, because on a machine that
is short of processor time a restart would only throw away the progress of the start.
"""

import logging
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import psutil
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections
from django.utils import timezone

from delivery.accounting import rollup
from delivery.lanes import leases as lanes_leases
from delivery.lanes import wakeups
from delivery.models import Heartbeat, Lane
from delivery.operations import restarts
from delivery.operations.processes import Backoff, ProcessGroup, StopRequest, living, manage
from delivery.operations.progress import GroupClock, Startup
from delivery.replay import job

logger = logging.getLogger(__name__)

TICK = 1.0  # seconds between two checks
DATABASE_LOOK = 0.5  # seconds between two checks of an unavailable database
FROZEN_AFTER = 8.0  # seconds of the group's time that woken lanes may wait while workers are idle
# One unreadable schedule stops django-q2's scheduler, and with it every other schedule.
SWEEP_LATE = timedelta(seconds=90)
SWEEP_SILENCE = timedelta(seconds=150)  # the sweep runs every minute, as django-q2 counts them
ROLL_UP = timedelta(seconds=5)  # between two roll-ups, if there is anything to roll up
LAST_REQUEST = 3.0  # seconds that busy workers of a damaged group get to finish their request
CLUSTER_STOP_SECONDS = 15.0  # seconds that a stop may take
HEARTBEAT = timedelta(seconds=10)
FORGOTTEN = timedelta(days=1)  # age at which the heartbeat of a killed cluster is deleted

PIDS = "/proc/self/ns/pid"  # Linux: the PID namespace

Titles = Mapping[int, str]


def supervise(stop: StopRequest) -> None:
    """Keep a cluster running until a stop is requested."""
    backoff, failed_starts, reason = Backoff(), 0, ""
    while not stop.asked:
        wait_for_database(stop)
        _record_restart(reason)
        release_orphaned()
        cluster = SupervisedCluster(failed_starts)
        reason = cluster.watch(stop)
        if not reason:
            cluster.stop()
            return
        logger.warning("Restarting the cluster: %s", reason)
        cluster.end()
        came_up = cluster.startup.is_over or cluster.database_was_away
        failed_starts = 0 if came_up else failed_starts + 1
        stop.wait(backoff.delay(cluster.group.age, came_up=came_up))


def _record_restart(reason: str) -> None:
    if reason:
        with database_may_be_away("The reason for the restart is only in this log"):
            restarts.record_restart(reason)


def wait_for_database(stop: StopRequest) -> None:
    """Return when the database answers or a stop is requested; qcluster crashes without it."""
    has_warned = False
    while not stop.asked:
        try:
            Heartbeat.objects.exists()
            return
        except DatabaseError as error:
            close_old_connections()
            if not has_warned:
                logger.warning("Waiting for the database before starting the cluster: %s", error)
            has_warned = True
        stop.wait(DATABASE_LOOK)


class SupervisedCluster:
    """One start of `qcluster`: its process group, and the name that its leases carry."""

    def __init__(self, failed_starts: int = 0) -> None:
        """failed_starts  number of consecutive starts before this one that did not complete"""
        self.startup = Startup(settings.CLUSTER_WORKERS, failed_starts)
        self.holder = f"{here()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.started_at = timezone.now()
        self.beaten_at = self.started_at - HEARTBEAT
        self.database_was_away = False
        self.swept_at = self.started_at  # when the supervisor last enqueued a sweep
        self.last_sweep: datetime | None = None
        self.sweep_seen_at = 0.0  # in the group's time
        self.rolled_up_at = self.started_at
        self.folder = tempfile.TemporaryDirectory(prefix="penstock-")
        self.stop_file = Path(self.folder.name) / "stop"
        self.roster = ProcessRoster()
        self.wakeup_monitor = WakeupMonitor()
        environment = {"PENSTOCK_CLUSTER": self.holder, "PENSTOCK_STOP_FILE": str(self.stop_file)}
        self.group = ProcessGroup(manage("qcluster"), environment, nice=settings.CLUSTER_NICE)
        self.clock = GroupClock(self.group.started)

    def watch(self, stop: StopRequest) -> str:
        """Return why the group must be restarted, or "" when a stop is requested."""
        while not stop.wait(TICK):
            self.clock.advance(time.monotonic(), self.group.members() if self.is_judged else ())
            if reason := self.missing() or self.neglected():
                return reason
        return ""

    @property
    def is_judged(self) -> bool:
        """Whether the group's clock matters now; measuring it costs a few milliseconds."""
        return (
            not self.startup.is_over
            or bool(self.wakeup_monitor.pending)
            or self.sweep_silence > SWEEP_LATE
        )

    def missing(self) -> str:
        if not self.group.is_running():
            return f"qcluster ended with exit code {self.group.leash.returncode}"
        titles = {p.pid: title(p) for p in self.group.members()}
        if self.startup.ends_with(titles.values()):
            self.wakeup_monitor.since = self.clock.seconds  # no worker could answer before
            age, waited = self.group.age, self.group.age - self.clock.seconds
            logger.info("The cluster is up after %.1f s; it could not run for %.1f s.", age, waited)
        return self.roster.missing(titles)

    def neglected(self) -> str:
        """Wake lanes without a worker; return why the workers seem stuck, or "".

        Nothing can be decided without the database, and a restart would not help. Once the
        database is back, a restart repairs at once what django-q2 takes 10 s to notice and longer
        to replace.
        """
        with database_may_be_away("The supervisor cannot reach the database"):
            now = timezone.now()
            self.beat(now)
            if self.database_was_away:
                return "the database was unavailable"
            job.enqueue_stalled_replays(now)
            self.enqueue_roll_up(now)
            return self.late_sweep(now) or self.unanswered(now)
        self.database_was_away = True
        return ""

    def beat(self, now: datetime) -> None:
        if now - self.beaten_at >= HEARTBEAT:
            Heartbeat.objects.update_or_create(name=self.heartbeat, defaults={"at": now})
            self.beaten_at = now

    @property
    def heartbeat(self) -> str:
        return f"cluster {self.holder}"

    def enqueue_roll_up(self, now: datetime) -> None:
        if now - self.rolled_up_at >= ROLL_UP and rollup.needs_rollup():
            self.rolled_up_at = now
            wakeups.enqueue_task("roll_up")

    def late_sweep(self, now: datetime) -> str:
        last = Heartbeat.objects.filter(name="sweep").values_list("at", flat=True).first()
        if last != self.last_sweep:
            self.last_sweep, self.sweep_seen_at = last, self.clock.seconds
        silence = self.sweep_silence
        if silence > SWEEP_LATE and now - self.swept_at > SWEEP_LATE:
            self.swept_at = now
            wakeups.enqueue_task("sweep")
        if silence <= SWEEP_SILENCE:
            return ""
        return (
            f"no sweep for {SWEEP_SILENCE.seconds} s (if this repeats, run `manage.py bootstrap` "
            "to restore its schedule)"
        )

    @property
    def sweep_silence(self) -> timedelta:
        """How long ago a sweep was seen, in the group's time, or since the start if none was."""
        return timedelta(seconds=self.clock.seconds - self.sweep_seen_at)

    def unanswered(self, now: datetime) -> str:
        stranded = wakeups.lanes_needing_a_worker(now)
        pending = dict(
            Lane.objects.filter(pk__in=stranded, woken_at__isnull=False).values_list(
                "pk", "woken_at"
            )
        )
        wakeups.wake_lanes(stranded)
        # Judge by process titles: a lane that only waits holds a lease but occupies no process.
        busy = self.processing() >= settings.CLUSTER_WORKERS
        silence = self.wakeup_monitor.silence(pending, busy=busy, clock=self.clock.seconds)
        if silence <= (FROZEN_AFTER if self.startup.is_over else self.startup.limit):
            return ""
        if not self.startup.is_over:
            return f"{self.startup} after {self.group.age:.0f} s"
        woken = f"{len(pending)} lanes were woken"
        return f"{woken} and idle workers did not respond for {silence:.0f} s"

    def stop(self) -> None:
        """Stop gracefully: every worker finishes its current request."""
        # Only qcluster gets the signal, because a worker would die of it mid-request.
        self.stop_file.touch()
        self.group.stop(CLUSTER_STOP_SECONDS)
        self.clear()

    def end(self) -> None:
        """Kill the group after healthy workers had LAST_REQUEST to finish their request."""
        self.stop_file.touch()
        until = time.monotonic() + LAST_REQUEST
        while time.monotonic() < until and self.is_busy():
            time.sleep(0.05)
        self.group.kill()
        self.clear()

    def is_busy(self) -> bool:
        if self.processing():
            return True
        with database_may_be_away("It is unknown which lanes are being delivered"):
            return lanes_leases.count_live_leases(self.holder, timezone.now()) > 0
        return False

    def processing(self) -> int:
        """Return how many worker processes are running a task."""
        return sum(" processing " in title(process) for process in self.group.members())

    def clear(self) -> None:
        """Release everything that the dead group held."""
        self.group.close()
        self.folder.cleanup()
        with database_may_be_away("The dead cluster's leases stay until they expire"):
            lanes_leases.release_cluster_leases(self.holder, died=not self.database_was_away)
            clear_all_wakeups()
            Heartbeat.objects.filter(name=self.heartbeat).delete()
            old = timezone.now() - FORGOTTEN
            Heartbeat.objects.filter(name__startswith="cluster ", at__lt=old).delete()


class ProcessRoster:
    """Every process seen in the group. django-q2's recycling is off, so a missing one has died."""

    def __init__(self) -> None:
        self.seen: dict[int, str] = {}

    def missing(self, present: Titles) -> str:
        """Return which processes of the group are gone, as text, or ""."""
        gone = [f"{name} (pid {pid})" for pid, name in self.seen.items() if pid not in present]
        # Only processes with a qcluster title: helpers that run during startup come and go.
        self.seen.update((pid, each) for pid, each in present.items() if "qcluster" in each)
        return f"gone: {', '.join(gone)}" if gone else ""


class WakeupMonitor:
    """Measures how long wake-ups go unanswered while workers are idle.

    A lease clears the lane's `woken_at`, so a wake-up was answered when it is gone, or when the
    lane was woken again sooner than an unanswered wake-up would have been repeated.
    """

    def __init__(self) -> None:
        self.pending: Mapping[int, datetime] = {}
        self.since = 0.0  # in the group's time; set at the first check

    def silence(self, pending: Mapping[int, datetime], *, busy: bool, clock: float) -> float:
        """Return for how many seconds lanes have waited while workers were idle.

        pending  the lanes without a worker, each with the time of its last wake-up
        busy     whether every worker has a lane
        clock    now, in seconds of the group's time
        """
        if busy or not self.pending or any(self._answered(lane, pending) for lane in self.pending):
            self.since = clock
        self.pending = pending
        return clock - self.since

    def _answered(self, lane: int, pending: Mapping[int, datetime]) -> bool:
        if lane not in pending:
            return True
        return timedelta(0) < pending[lane] - self.pending[lane] < wakeups.REPEAT_WAKEUP_AFTER


def release_orphaned() -> None:
    """Free lanes that ended clusters of this machine still hold.

    These are clusters that were killed together with their supervisor, and this supervisor's own
    previous cluster if the database was unavailable when it ended. Call this only while no cluster
    of this supervisor runs.
    """
    with database_may_be_away("Orphaned leases stay until they expire"):
        leased = Lane.objects.filter(lease__isnull=False).values_list("holder", flat=True)
        for holder in set(leased):
            place, _, pid = holder.rpartition(":")[0].rpartition(":")
            if place != here():
                continue
            ours = int(pid) == os.getpid()
            if ours or not list(living([int(pid)])):
                logger.warning("The cluster %s has ended; its lanes are free again.", holder)
                lanes_leases.release_cluster_leases(holder, died=not ours)
                clear_all_wakeups()


def clear_all_wakeups() -> None:
    """Allow waking every lane at once, because the dead workers took wake-ups unanswered."""
    Lane.objects.filter(woken_at__isnull=False).update(woken_at=None)


def here() -> str:
    """Return a name for this PID namespace that no other boot or container shares."""
    with suppress(OSError):  # macOS has neither /proc nor containers
        return f"{socket.gethostname()[:40]}/{psutil.boot_time():.0f}/{os.stat(PIDS).st_ino}"
    return f"{socket.gethostname()[:40]}/{psutil.boot_time():.0f}"


@contextmanager
def database_may_be_away(consequence: str) -> Iterator[None]:
    """Log the consequence instead of raising when the database is unavailable."""
    try:
        yield
    except DatabaseError as error:
        logger.warning("%s: %s", consequence, error)
        close_old_connections()


def title(process: psutil.Process) -> str:
    """Return the title of a django-q2 process, such as "qcluster Process-1 idle", or ""."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""
