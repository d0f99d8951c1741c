"""Supervise django-q2: restart the whole of it when a part is missing or due work is not taken.

django-q2 replaces a process that died, but not the locks that died with it: one idle worker killed
can freeze the cluster for good, a killed monitor makes tasks run for ever. So nothing of a damaged
group is kept. Our tables hold the truth, hence a restart costs seconds and never a delivery.

A group is judged by its own time (`progress.py`), not by the wall clock: on a machine that is short
of processor time a restart only makes the group start from the beginning.
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

TICK = 1.0  # seconds between two looks
DATABASE_LOOK = 0.5  # seconds between two looks at a database that is away
FROZEN_AFTER = 8.0  # seconds of the group's time that rung lanes may wait while workers are idle
# django-q2's scheduler stops at one schedule that it cannot read, and all the others with it
SWEEP_LATE = timedelta(seconds=90)
SWEEP_SILENCE = timedelta(seconds=150)  # the sweep runs every minute, as django-q2 counts them
ROLL_UP = timedelta(seconds=5)  # between two, when there is anything to roll up
LAST_REQUEST = 3.0  # seconds that busy workers of a damaged group have to finish their request
CLUSTER_STOP_SECONDS = 15.0  # seconds from being asked to stop to the end
HEARTBEAT = timedelta(seconds=10)
FORGOTTEN = timedelta(days=1)  # how old a heartbeat of a cluster that was killed may become

PIDS = "/proc/self/ns/pid"  # Linux: the numbering that our process ids belong to

Titles = Mapping[int, str]


def supervise(stop: StopRequest) -> None:
    """Keep a cluster running until we are asked to stop."""
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
        with database_may_be_away("Only this log has the reason of the restart"):
            restarts.record_restart(reason)


def wait_for_database(stop: StopRequest) -> None:
    """Return when it answers, or when we are asked to stop: without it qcluster only dies."""
    told = False
    while not stop.asked:
        try:
            Heartbeat.objects.exists()
            return
        except DatabaseError as error:
            close_old_connections()
            if not told:
                logger.warning("The cluster starts when the database answers: %s", error)
            told = True
        stop.wait(DATABASE_LOOK)


class SupervisedCluster:
    """One start of `qcluster`: its process group, and the name that its leases carry."""

    def __init__(self, failed_starts: int = 0) -> None:
        """failed_starts  how many before this one did not come up, in a row"""
        self.startup = Startup(settings.CLUSTER_WORKERS, failed_starts)
        self.holder = f"{here()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.started_at = timezone.now()
        self.beaten_at = self.started_at - HEARTBEAT
        self.database_was_away = False
        self.swept_at = self.started_at  # when we rang for the sweep ourselves
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
        """Return why the group must be restarted, or "" when we are asked to stop."""
        while not stop.wait(TICK):
            self.clock.advance(time.monotonic(), self.group.members() if self.is_judged else ())
            if reason := self.missing() or self.neglected():
                return reason
        return ""

    @property
    def is_judged(self) -> bool:
        """Whether its time decides over it now; to measure the time costs some milliseconds."""
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
            self.wakeup_monitor.since = self.clock.seconds  # before, nobody could answer
            age, waited = self.group.age, self.group.age - self.clock.seconds
            logger.info("The cluster is up after %.1f s; it could not run for %.1f s.", age, waited)
        return self.roster.missing(titles)

    def neglected(self) -> str:
        """Ring for lanes that nobody works on; return what shows that the ringing is in vain.

        Without the database nothing can be said, and a restart would mend nothing. When it is
        back, it mends at once what django-q2 would take 10 s to notice, and more to replace.
        """
        with database_may_be_away("The watch cannot ask the database"):
            now = timezone.now()
            self.beat(now)
            if self.database_was_away:
                return "the database was away"
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
            f"no sweep for {SWEEP_SILENCE.seconds} s (if this comes again and again: "
            "`manage.py bootstrap` makes its schedule)"
        )

    @property
    def sweep_silence(self) -> timedelta:
        """Time of the group since a sweep was seen, or since the start."""
        return timedelta(seconds=self.clock.seconds - self.sweep_seen_at)

    def unanswered(self, now: datetime) -> str:
        stranded = wakeups.lanes_needing_a_worker(now)
        pending = dict(
            Lane.objects.filter(pk__in=stranded, woken_at__isnull=False).values_list(
                "pk", "woken_at"
            )
        )
        wakeups.wake_lanes(stranded)
        # by what they call themselves: a lane that only waits holds a lease, but no process
        busy = self.processing() >= settings.CLUSTER_WORKERS
        silence = self.wakeup_monitor.silence(pending, busy=busy, clock=self.clock.seconds)
        if silence <= (FROZEN_AFTER if self.startup.is_over else self.startup.limit):
            return ""
        if not self.startup.is_over:
            return f"{self.startup} after {self.group.age:.0f} s"
        woken = f"{len(pending)} lanes were woken"
        return f"{woken} and idle workers did not answer for {silence:.0f} s"

    def stop(self) -> None:
        """End at leisure: every worker finishes the request it is at."""
        # Only qcluster itself gets the signal: a worker would die of it in mid-request.
        self.stop_file.touch()
        self.group.stop(CLUSTER_STOP_SECONDS)
        self.clear()

    def end(self) -> None:
        """Kill the group, after healthy workers had a moment to finish the request they are at."""
        self.stop_file.touch()
        until = time.monotonic() + LAST_REQUEST
        while time.monotonic() < until and self.is_busy():
            time.sleep(0.05)
        self.group.kill()
        self.clear()

    def is_busy(self) -> bool:
        if self.processing():
            return True
        with database_may_be_away("Nobody can say which lanes are at work"):
            return lanes_leases.count_live_leases(self.holder, timezone.now()) > 0
        return False

    def processing(self) -> int:
        """Return how many worker processes are at a task."""
        return sum(" processing " in title(process) for process in self.group.members())

    def clear(self) -> None:
        """Give back what the dead group held."""
        self.group.close()
        self.folder.cleanup()
        with database_may_be_away("The leases of the dead cluster stay until they run out"):
            lanes_leases.release_cluster_leases(self.holder, died=not self.database_was_away)
            clear_all_wakeups()
            Heartbeat.objects.filter(name=self.heartbeat).delete()
            old = timezone.now() - FORGOTTEN
            Heartbeat.objects.filter(name__startswith="cluster ", at__lt=old).delete()


class ProcessRoster:
    """Who was ever seen in the group. With django-q2's recycling off, who leaves has died."""

    def __init__(self) -> None:
        self.seen: dict[int, str] = {}

    def missing(self, present: Titles) -> str:
        """Return who of the group is gone, as a sentence, or ""."""
        gone = [f"{name} (pid {pid})" for pid, name in self.seen.items() if pid not in present]
        # only those that named themselves: what a process calls on its way up comes and goes
        self.seen.update((pid, each) for pid, each in present.items() if "qcluster" in each)
        return f"gone: {', '.join(gone)}" if gone else ""


class WakeupMonitor:
    """Whether anybody answers when lanes are rung.

    A lease clears the lane's `woken_at`, so a bell was answered when it is gone, or when it was
    rung anew sooner than an unanswered one would have been.
    """

    def __init__(self) -> None:
        self.pending: Mapping[int, datetime] = {}
        self.since = 0.0  # monotonic; set at the first look

    def silence(self, pending: Mapping[int, datetime], *, busy: bool, clock: float) -> float:
        """Return for how many seconds lanes have waited while workers were idle.

        pending    the lanes without a worker, each with the time it was last rung
        busy    whether every worker has a lane
        clock   now, in monotonic seconds
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
    """Free the lanes of clusters of this machine that were killed together with their watch, and
    those of our own last one, if the database was away when it ended. None of ours runs now."""
    with database_may_be_away("Orphaned leases stay until they run out"):
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
    """Let every lane be rung at once: the dead had taken bells that they never answered."""
    Lane.objects.filter(woken_at__isnull=False).update(woken_at=None)


def here() -> str:
    """Return a name for this machine and its process ids: no other boot or container has it."""
    with suppress(OSError):  # macOS has neither /proc nor containers
        return f"{socket.gethostname()[:40]}/{psutil.boot_time():.0f}/{os.stat(PIDS).st_ino}"
    return f"{socket.gethostname()[:40]}/{psutil.boot_time():.0f}"


@contextmanager
def database_may_be_away(consequence: str) -> Iterator[None]:
    """Log the consequence instead of failing when the database does."""
    try:
        yield
    except DatabaseError as error:
        logger.warning("%s: %s", consequence, error)
        close_old_connections()


def title(process: psutil.Process) -> str:
    """Return what a process of django-q2 calls itself, such as "qcluster Process-1 idle"."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""
