"""Measures the progress of a process group: the time it could run, and whether it has started.

A group that does nothing is either frozen or short of processor time, and only a frozen one needs a
restart. CPU time does not tell them apart, because both use none. The kernel does: in `schedstat`,
Linux counts how long each thread was ready to run and waited for a processor. A frozen thread
sleeps, so its wait stays the same; the wait of a starved one grows by a second each second. Where
there is no `schedstat` (macOS, some sandboxes), the load average shows how many processes share
each processor.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

import psutil

# Seconds that one check counts for at most. A late check means that the supervisor itself, or the
# database that it queries, was short of processor time, and so was the group.
MAX_STEP_SECONDS = 1.25
# The least that a second counts for, so that no measurement can postpone a verdict forever.
MIN_STEP_SHARE = 0.05
NANOSECOND = 1e-9

# Seconds of its own time that a group may take to start. Each failed start in a row doubles the
# limit for the next one, up to the second figure.
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
    """Measures how long the threads of a group waited for a processor, as counted by the kernel."""

    def __init__(self) -> None:
        self.last: ThreadTimes = {}

    def __call__(self, members: Sequence[psutil.Process], passed: float) -> float:
        """Return for how many of the seconds that passed the group was kept waiting.

        The waits of all threads are added up, because a wake-up passes through several threads in
        turn. The sum is too large when threads of a busy group wait at the same time.
        """
        reading = {key: times for each in members for key, times in thread_times(each.pid)}
        last, self.last = self.last, reading
        waited = 0.0
        for thread, times in reading.items() if last else ():
            before = last.get(thread, (0, 0))
            if times != before:
                waited += (times[1] - before[1]) * NANOSECOND
            elif is_runnable(*thread):  # the kernel counts a wait only once it has ended
                return passed
        return min(waited, passed)


def thread_times(pid: int) -> Iterator[tuple[tuple[int, str], tuple[int, int]]]:
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                ran, waited, _ = read_file(f"/proc/{pid}/task/{thread}/schedstat").split()
                yield (pid, thread), (int(ran), int(waited))


def is_runnable(pid: int, thread: str) -> bool:
    """Return whether a thread is running or waiting for a processor."""
    with suppress(OSError):
        # The program's name precedes its state and may contain any characters.
        return read_file(f"/proc/{pid}/task/{thread}/stat").rpartition(b")")[2].split()[0] == b"R"
    return False


def read_file(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # takes half as long as Path.read_text
        return file.read()


def has_schedstat() -> bool:
    with suppress(OSError):
        return read_file("/proc/self/schedstat") != b"0 0 0\n"
    return False


def estimate_wait_by_load(members: Sequence[psutil.Process], passed: float) -> float:
    """Estimate the wait: with four processes per processor, it is three of four seconds."""
    load, _, _ = psutil.getloadavg()
    return passed * (1.0 - min((psutil.cpu_count() or 1) / max(load, 0.01), 1.0))


class Startup:
    """The start of a django-q2 cluster, which ends when all its processes have been ready once.

    A worker, the monitor and the pusher set their process titles when they are ready for work.
    """

    def __init__(self, workers: int, failed_before: int = 0):
        """failed_before  number of consecutive starts that did not complete"""
        self.parts = workers + 2
        self.ready = 0
        self.is_over = False
        self.limit = min(STARTUP_SECONDS * 2**failed_before, MAX_STARTUP_SECONDS)

    def __str__(self) -> str:
        return f"only {self.ready} of {self.parts} processes were ready"

    def ends_with(self, titles: Iterable[str]) -> bool:
        """Read the process titles; return whether they complete the start."""
        self.ready = sum(bool(READY_TITLE.match(each)) for each in titles)
        if self.is_over or self.ready < self.parts:
            return False
        self.is_over = True
        return True
