"""The clock of a process group, with small real processes where the kernel's counters matter."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from delivery.operations import progress
from delivery.operations.progress import (
    MAX_STEP_SECONDS,
    MIN_STEP_SHARE,
    GroupClock,
    RunQueueWait,
    Startup,
)
from tests.support.processes import eventually

needs_schedstat = pytest.mark.skipif(not progress.has_schedstat(), reason="needs schedstat")

READY = [
    "qcluster Process-1 idle",
    "qcluster Process-2 processing north-star 'delivery.tasks.drain'",
    "qcluster Process-3 monitor",
    "qcluster Process-4 pusher",
]


class TestGroupClock:
    def seconds(self, *waits: float, each: float = 1.0) -> float:
        """Return the time after checks `each` seconds apart, with these waits before them."""
        left = list(waits)
        clock = GroupClock(100.0, lambda members, passed: left.pop(0))
        for number in range(1, len(waits) + 1):
            clock.advance(100.0 + number * each, [])
        return clock.seconds

    def test_a_group_that_never_waits_has_the_time_of_the_wall_clock(self):
        assert self.seconds(0.0, 0.0, 0.0) == 3.0

    def test_waits_for_a_processor_do_not_count(self):
        assert self.seconds(0.75, 0.5, 0.0) == 1.75

    def test_a_late_look_counts_as_a_usual_one(self):
        assert self.seconds(0.0, 0.0, each=9.0) == 2 * MAX_STEP_SECONDS

    def test_no_measurement_stops_the_clock_for_ever(self):
        assert self.seconds(*[1.0] * 100) == pytest.approx(100 * MIN_STEP_SHARE)


@pytest.fixture
def python():
    """Start Python processes, all on the same processor."""
    started = []

    def start(code: str) -> psutil.Process:
        child = subprocess.Popen([sys.executable, "-c", f"print('up', flush=True)\n{code}"],
                                 stdout=subprocess.PIPE)  # fmt: skip
        started.append(child)
        os.sched_setaffinity(child.pid, {min(os.sched_getaffinity(0))})
        child.stdout.readline()
        return psutil.Process(child.pid)

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()


def asleep(process: psutil.Process) -> psutil.Process:
    eventually(lambda: process.status() == psutil.STATUS_SLEEPING, 10.0)
    return process


@needs_schedstat
class TestRunQueue:
    def waited(self, *members: psutil.Process) -> float:
        """Return the share of half a second for which the members waited."""
        queue = RunQueueWait()
        assert queue(members, 1.0) == 0.0  # there is nothing to compare it with
        started = time.monotonic()
        time.sleep(0.5)
        passed = time.monotonic() - started
        return queue(members, passed) / passed

    def test_a_process_that_sleeps_waits_for_no_processor(self, python):
        sleeper = asleep(python("import time; time.sleep(60)"))
        python("while True: pass")

        assert self.waited(sleeper) < 0.1

    def test_neither_does_one_that_was_stopped(self, python):
        frozen = python("while True: pass")
        frozen.send_signal(signal.SIGSTOP)
        eventually(lambda: frozen.status() == psutil.STATUS_STOPPED, 10.0)

        assert self.waited(frozen) == 0.0

    def test_one_that_shares_its_processor_does(self, python):
        loops = [python("while True: pass") for _ in range(4)]

        assert self.waited(loops[0]) > 0.5

    def test_a_wait_that_is_not_over_is_none_of_the_kernels_figures(self, monkeypatch):
        monkeypatch.setattr(progress, "thread_times", lambda pid: [((pid, "1"), (7, 7))])
        queue, members = RunQueueWait(), [psutil.Process()]
        queue(members, 1.0)

        monkeypatch.setattr(progress, "is_runnable", lambda pid, thread: False)
        assert queue(members, 3.0) == 0.0
        monkeypatch.setattr(progress, "is_runnable", lambda pid, thread: True)
        assert queue(members, 3.0) == 3.0

    def test_waits_of_threads_add_up_to_no_more_than_passed(self, monkeypatch):
        readings = [{"1": 0, "2": 0}, {"1": 10**9, "2": 5 * 10**8}, {"1": 9 * 10**9}]

        def thread_times(pid):
            return [((pid, name), (waited, waited)) for name, waited in readings[0].items()]

        monkeypatch.setattr(progress, "thread_times", thread_times)
        queue, members, found = RunQueueWait(), [psutil.Process()], []
        while readings:
            found.append(queue(members, 2.0))
            readings.pop(0)

        assert found == [0.0, 1.5, 2.0]

    def test_a_process_that_has_gone_is_none(self, python):
        ended = python("")
        ended.wait(10.0)

        assert self.waited(ended) == 0.0

    def test_whether_a_thread_is_runnable(self, python):
        sleeper = asleep(python("import time; time.sleep(60)"))
        loop = python("while True: pass")

        assert progress.is_runnable(loop.pid, str(loop.pid))
        assert not progress.is_runnable(sleeper.pid, str(sleeper.pid))


@pytest.mark.parametrize(("load", "waited"), [(0.0, 0.0), (2.0, 0.0), (8.0, 3.0)])
def test_without_the_kernels_figures_the_load_tells(monkeypatch, load, waited):
    monkeypatch.setattr(psutil, "getloadavg", lambda: (load, 9.0, 9.0))
    monkeypatch.setattr(psutil, "cpu_count", lambda: 2)

    assert progress.estimate_wait_by_load([], 4.0) == waited


class TestStartup:
    def test_it_is_over_when_all_parts_have_been_ready(self):
        startup = Startup(workers=2)

        assert not startup.ends_with(["qcluster MainProcess north", *READY[1:]])
        assert not startup.is_over
        assert str(startup) == "only 3 of 4 processes were ready"
        assert startup.ends_with(READY)
        assert startup.is_over

    def test_it_ends_once(self):
        startup = Startup(workers=2)
        startup.ends_with(READY)

        assert not startup.ends_with(READY[1:])
        assert not startup.ends_with(READY)
        assert startup.is_over

    def test_each_start_that_fails_doubles_the_time_of_the_next_one(self):
        limits = [Startup(2, failed).limit for failed in range(7)]

        assert limits == [15.0, 30.0, 60.0, 120.0, 240.0, 240.0, 240.0]
