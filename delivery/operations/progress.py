"""Measure the progress of a process group: the time it could run, and whether it has come up.

A group that does nothing is either frozen or short of processor time, and only the first calls for
a restart. CPU time does not tell them apart: a frozen process and a starved one both use none. The
kernel does: in `schedstat` Linux counts for each thread how long it was ready to run and had to
wait for a processor. A frozen thread sleeps, so that its wait stays the same; the wait of a starved
one grows by a second each second. Where there is no `schedstat` (macOS, some sandboxes), the load
average tells how many processes share each processor.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

import psutil

# Seconds that one look counts for at most. A late look means that the supervisor itself, or the
# database that it asks, was short of processor time, and so was the group.
MAX_STEP_SECONDS = 1.25
# What a second counts for at least, so that no measurement can postpone a verdict for ever.
MIN_STEP_SHARE = 0.05
NANOSECOND = 1e-9

# Seconds of its own time that a group may take to come up. With each group in a row that did not
# the next one has twice as long, up to the second figure.
STARTUP_SECONDS = 15.0
MAX_STARTUP_SECONDS = 240.0
READY_TITLE = re.compile(r"^qcluster \S+ (idle|processing|monitor|pusher)\b")

ThreadTimes = dict[tuple[int, str], tuple[int, int]]  # of a thread: nanoseconds it ran, and waited
Wait = Callable[[Sequence[psutil.Process], float], float]


class GroupClock:
    """A clock for a process group: it stands still while the group waits for a processor."""

    def __init__(self, now: float, measure_wait: Wait | None = None) -> None:
        """now  in monotonic seconds, as in `advance`"""
        self.seconds = 0.0
        self.looked_at = now
        self.measure_wait = measure_wait or (
            RunQueueWait() if has_schedstat() else estimate_wait_by_load
        )

    def advance(self, now: float, members: Sequence[psutil.Process]) -> None:
        """Advance by the time since the last call in which the group could run."""
        passed = now - self.looked_at
        self.looked_at = now
        could_run = min(passed - self.measure_wait(members, passed), MAX_STEP_SECONDS)
        self.seconds += max(could_run, passed * MIN_STEP_SHARE)


class RunQueueWait:
    """How long the threads of a group waited for a processor, by the kernel's own count."""

    def __init__(self) -> None:
        self.last: ThreadTimes = {}

    def __call__(self, members: Sequence[psutil.Process], passed: float) -> float:
        """Return for how many of the seconds that passed some thread was kept waiting.

        The waits of all threads are added up, because a wake-up goes through several of them, one
        after the other. That is too much when they wait at the same time, in a group that is busy.
        """
        reading = {key: times for each in members for key, times in thread_times(each.pid)}
        last, self.last = self.last, reading
        waited = 0.0
        for thread, times in reading.items() if last else ():
            before = last.get(thread, (0, 0))
            if times != before:
                waited += (times[1] - before[1]) * NANOSECOND
            elif is_runnable(*thread):  # the kernel counts a wait when it is over
                return passed
        return min(waited, passed)


def thread_times(pid: int) -> Iterator[tuple[tuple[int, str], tuple[int, int]]]:
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                ran, waited, _ = read_file(f"/proc/{pid}/task/{thread}/schedstat").split()
                yield (pid, thread), (int(ran), int(waited))


def is_runnable(pid: int, thread: str) -> bool:
    """Return whether a thread runs, or would if it had a processor."""
    with suppress(OSError):
        # the name of the program comes before its state, and may have any characters
        return read_file(f"/proc/{pid}/task/{thread}/stat").rpartition(b")")[2].split()[0] == b"R"
    return False


def read_file(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # half of the time that Path.read_text takes
        return file.read()


def has_schedstat() -> bool:
    with suppress(OSError):
        return read_file("/proc/self/schedstat") != b"0 0 0\n"
    return False


def estimate_wait_by_load(members: Sequence[psutil.Process], passed: float) -> float:
    """Estimate the wait: with four processes for each processor, three seconds of four."""
    load, _, _ = psutil.getloadavg()
    return passed * (1.0 - min((psutil.cpu_count() or 1) / max(load, 0.01), 1.0))


class Startup:
    """The start of a django-q2 cluster, which is over when all its parts have been ready once.

    A worker, the monitor and the pusher name themselves when they are ready for work.
    """

    def __init__(self, workers: int, failed_before: int = 0):
        """failed_before  how many starts in a row did not come to this point"""
        self.parts = workers + 2
        self.ready = 0
        self.is_over = False
        self.limit = min(STARTUP_SECONDS * 2**failed_before, MAX_STARTUP_SECONDS)

    def __str__(self) -> str:
        return f"only {self.ready} of {self.parts} processes were ready"

    def ends_with(self, titles: Iterable[str]) -> bool:
        """Look at how the processes call themselves; return whether the start ends with that."""
        self.ready = sum(bool(READY_TITLE.match(each)) for each in titles)
        if self.is_over or self.ready < self.parts:
            return False
        self.is_over = True
        return True
