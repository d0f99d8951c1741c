"""Process groups, tested with small real processes."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from delivery.operations.processes import (
    RESTART_DELAYS,
    STABLE_AFTER,
    Backoff,
    ProcessGroup,
    living,
)

# A command whose child ignores SIGTERM and outlives the command.
WITH_CHILD = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", '''
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
'''])
time.sleep(60)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def start():
    groups = []

    def start(code: str, **how) -> ProcessGroup:
        groups.append(ProcessGroup(python(code), output=subprocess.PIPE, **how))
        return groups[-1]

    yield start
    for group in groups:
        group.kill()
        group.close()


def wait_until(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition was not met in time"
        time.sleep(0.02)


def test_a_group_has_its_own_session_and_knows_its_members(start):
    group = start(WITH_CHILD)
    group.output.readline()

    assert len(group.members()) == 3  # leash, command, child
    assert {os.getsid(each.pid) for each in group.members()} == {group.leash.pid}
    assert group.is_running()


def test_a_group_that_gives_way_does_so_with_all_its_members(start):
    before = os.nice(0)
    group = start(WITH_CHILD, nice=before + 3)
    group.output.readline()
    assert {each.nice() for each in group.members()} == {before + 3}
    assert {each.nice() for each in start(WITH_CHILD).members()} == {before}


def test_stop_lets_the_command_end_by_itself(start):
    group = start(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    group.output.readline()

    group.stop(10.0)

    assert group.leash.returncode == 3


def test_stop_kills_what_does_not_end_in_time(start):
    group = start(WITH_CHILD)
    group.output.readline()

    group.stop(0.3)

    assert not group.members()


def test_kill_reaches_the_orphans_of_a_dead_command(start):
    group = start(WITH_CHILD)
    group.output.readline()
    [leash, command, _] = sorted(group.members(), key=lambda each: each.pid)
    command.kill()
    wait_until(lambda: not group.is_running())
    assert len(group.members()) == 1

    group.kill()

    assert not group.members()


def test_a_group_dies_with_its_starter_even_of_sigkill():
    starter = subprocess.Popen(
        python(
            "import subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-m', 'delivery.operations.die_with_parent',"
            " sys.executable, '-c', 'import time; time.sleep(60)'], stdin=subprocess.PIPE,"
            " start_new_session=True)\n"
            "print(child.pid, flush=True)\ntime.sleep(60)"
        ),
        stdout=subprocess.PIPE,
    )
    with starter:
        leash = psutil.Process(int(starter.stdout.readline()))
        wait_until(leash.children)
        pids = [leash.pid, leash.children()[0].pid]
        starter.send_signal(signal.SIGKILL)

        wait_until(lambda: not list(living(pids)))


def test_a_crash_loop_is_slowed_down_and_a_long_life_forgives():
    backoff = Backoff()

    waits = [backoff.delay(lived=1.0) for _ in range(8)]

    assert waits == [*RESTART_DELAYS, RESTART_DELAYS[-1], RESTART_DELAYS[-1]]
    assert backoff.delay(lived=STABLE_AFTER) == RESTART_DELAYS[0]


def test_a_life_without_ever_having_come_up_forgives_nothing():
    backoff = Backoff()

    waits = [backoff.delay(lived=60.0, came_up=False) for _ in range(3)]

    assert waits == list(RESTART_DELAYS[:3])
