"""A machine whose processors are busy with other work."""

import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.faults.registry import POSTGRES, SQLITE, Result, RowContext, row
from tests.faults.support.sdk_client import assert_delivered_once
from tests.kills.stage import Stage, assert_all_arrived_once_and_in_order, kill_all
from tests.support.processes import eventually

LOOPS = 4  # busy loops for each processor
RESTARTS = 2  # at most
# Ends when the test that started it ends, even if that is killed.
LOOP = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): pass"


@row("35", "Others take the processors while the cluster starts", short=120, full=180,
     on=(POSTGRES, SQLITE))  # fmt: skip
def starved(context: RowContext, result: Result) -> None:
    """Rounds are seconds of busy loops, four per processor. Each loop is a session of its own,
    because Linux divides the processors between sessions. The cluster and its supervisor are killed
    when the loops start. In the full form, the loops continue after the last delivery until the
    time is up. In the short form, loops and cluster share one processor, so that tests that run in
    parallel have the others. The cluster then has the same nice value as the loops, because
    otherwise a start would take a minute."""
    count = context.full_or_short(200, 20)
    nice = context.full_or_short(5, 0)
    with Stage(context.url(), PENSTOCK_CLUSTER_NICE=nice) as stage:
        processors = processors_for(stage, context)
        with busy_loops(processors) as loops:
            started = time.monotonic()
            kill_all(stage.cluster())
            stage.send(count, users=10)
            try:
                taken = eventually(lambda: stage.count_received() == count, context.rounds)
                result.recovery.append(taken)
                if context.full:
                    time.sleep(max(context.rounds - (time.monotonic() - started), 0.0))
                assert all(loop.poll() is None for loop in loops)
            finally:
                restarts = stage.up.output.count("Restarting the cluster")
                result.note = f"{len(loops)} loops, {restarts} restarts"
        assert restarts <= RESTARTS, stage.up.output
        assert_delivered_once(stage, set(stage.sent), result)
        assert_all_arrived_once_and_in_order(stage)


def processors_for(stage: Stage, context: RowContext) -> Collection[int]:
    """Return the processors to keep busy. The next cluster of the stage can use only these."""
    if context.full or not hasattr(os, "sched_setaffinity"):
        return range(psutil.cpu_count())
    one = {min(os.sched_getaffinity(0))}
    os.sched_setaffinity(stage.up.process.pid, one)
    return one


@contextmanager
def busy_loops(processors: Collection[int]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep the processors busy with loops, each in a session of its own."""
    command = [sys.executable, "-c", LOOP, str(os.getpid())]
    loops = [
        subprocess.Popen(command, start_new_session=True) for _ in range(LOOPS * len(processors))
    ]
    try:
        for loop in loops:
            with suppress(AttributeError):  # macOS
                os.sched_setaffinity(loop.pid, processors)
        yield loops
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
