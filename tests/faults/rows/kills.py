"""Killed and stopped processes, and too many clusters."""

import json
import random
import time
from collections import defaultdict

import psutil

from delivery.operations.processes import STABLE_AFTER
from tests.faults.registry import POSTGRES, SQLITE, Result, RowContext, row
from tests.faults.support.sdk_client import SdkClient, assert_delivered_once
from tests.kills.stage import (
    RECOVERY_SECONDS,
    SLOW_RESPONSE,
    Stage,
    assert_all_arrived_once_and_in_order,
    kill_all,
)
from tests.support.processes import RunningCommand, eventually

LEASE = 25.0  # seconds
VICTIMS = ["idle worker", "busy worker", "monitor", "pusher", "guard", "main", "watch"]
LATE_RESPONSE = {"delay_s": 5.0, "after": True, "times": 1}
BOTH = (POSTGRES, SQLITE)


@row("1", "Web server killed in mid-request", short=1, full=20, on=BOTH)
def web_killed(context: RowContext, result: Result) -> None:
    """32 clients post, and post the same batch again when no response comes."""
    with Stage(context.url()) as stage:
        client = SdkClient(stage)
        with client.sending(threads=32):
            for _ in range(context.rounds):
                time.sleep(random.uniform(0.5, 1.0))
                kill_all(stage.web_server())
                killed_at = time.monotonic()
                taken = eventually(lambda t=killed_at: client.was_taken_after(t), RECOVERY_SECONDS)
                result.recovery.append(taken)
        cut = client.statuses()[0]
        result.note = f"{cut} requests were cut off and sent again"
        assert_delivered_once(stage, client.accepted, result)


@row("2", "Workers killed under load", short=1, full=50)
def workers_killed(context: RowContext, result: Result) -> None:
    """Kills a worker every 2 s while 10,000 events are received and delivered; in the short form
    1,000."""
    count = context.full_or_short(10_000, 1_000)
    with Stage(context.url(), PENSTOCK_BATCH_SIZE=100) as stage:
        stage.set_faults({"delay_s": 0.3, "after": True, "times": 0})
        stage.send(count, users=500)
        # The short form picks the worker that has a request under way, because its few kills would
        # hardly hit that worker by chance.
        role = context.full_or_short("worker", "busy worker")
        for _ in range(context.rounds):
            kill_all([random.choice(wait_for_processes(stage, role))])
            time.sleep(context.full_or_short(2.0, 0.5))
        stage.set_faults()
        done = eventually(
            lambda: stage.count_received() == count, LEASE + RECOVERY_SECONDS, stage.up.output
        )
        result.recovery.append(done)
        assert_delivered_once(stage, set(stage.sent), result)
        assert_all_arrived_once_and_in_order(stage)
        assert result.again <= context.rounds * 3 * 100, "more than was under way was sent again"


@row("3", "Everything killed at once but the vendor", short=1, full=10, on=BOTH)
def everything_killed(context: RowContext, result: Result) -> None:
    """Kills web server, cluster and supervisor with SIGKILL while 1,000 events per round are due.
    The short form sends requests of 100 events, so that the kill comes in the middle of them."""
    with Stage(context.url(), PENSTOCK_BATCH_SIZE=context.full_or_short(1_000, 100)) as stage:
        for _ in range(context.rounds):
            stage.set_faults(SLOW_RESPONSE)
            stage.send(1_000, users=200)
            time.sleep(random.uniform(0.0, 1.5))
            kill_all([*stage.web_server(), *stage.cluster()])
            before = stage.count_received()
            more = before < len(stage.sent)
            if more:
                moved = eventually(
                    lambda n=before: stage.count_received() > n, LEASE, stage.up.output
                )
                result.recovery.append(moved)
            stage.set_faults()
            eventually(lambda: stage.count_received() == len(stage.sent), 60.0, stage.up.output)
            eventually(stage.is_fully_running, RECOVERY_SECONDS, stage.up.output)
        assert_delivered_once(stage, set(stage.sent), result)
        assert_all_arrived_once_and_in_order(stage)


@row("4", "Parts of the queue engine killed", short=1, full=10)
def parts_killed(context: RowContext, result: Result) -> None:
    """Kills each of seven parts once per round; delivery must resume within 30 s each time. The
    short form uses Redis as the broker, because no other row kills the engine with Redis."""
    broker = "" if context.full else context.servers.redis.url
    with Stage(context.url(), BROKER_URL=broker) as stage:
        stage.send(1)
        slowest: defaultdict[str, float] = defaultdict(float)
        for _ in range(context.rounds):
            for victim in VICTIMS:
                seconds = seconds_to_recover(stage, victim)
                result.recovery.append(seconds)
                slowest[victim] = max(slowest[victim], seconds)
        assert_delivered_once(stage, set(stage.sent), result)
        assert_all_arrived_once_and_in_order(stage)
        each = ", ".join(f"{victim} {seconds:.1f}" for victim, seconds in slowest.items())
        result.note = f"{len(VICTIMS)} parts a round; slowest in s: {each}"


def seconds_to_recover(stage: Stage, victim: str) -> float:
    """Kill a process, then send one event after the other until the cluster has been replaced.

    Return how many seconds the slowest event took to arrive.
    """
    eventually(stage.is_fully_running, RECOVERY_SECONDS, stage.up.output)
    main = stage.find("main")
    # Wait until the cluster counts as stable, so that the supervisor knows all processes and
    # treats this crash as the first in a row.
    eventually(lambda: time.time() - main[0].create_time() > STABLE_AFTER + 1.0, 20.0)
    if victim == "busy worker":
        stage.set_faults(LATE_RESPONSE)
        stage.send(1)
        eventually(lambda: stage.count_received() == len(stage.sent), 20.0, stage.up.output)
    random.choice(stage.find(victim)).kill()
    slowest, until = 0.0, time.monotonic() + 2 * RECOVERY_SECONDS
    while stage.find("main") in ([], main) or not slowest:
        assert time.monotonic() < until, f"{victim}: the cluster was not replaced"
        slowest = max(slowest, seconds_to_arrive(stage, victim))
    return max(slowest, seconds_to_arrive(stage, victim))


def seconds_to_arrive(stage: Stage, victim: str) -> float:
    """Send an event; return how many seconds it took to arrive."""
    stage.send(1)
    what = f"{victim}: {stage.up.output}"
    return eventually(lambda: stage.count_received() == len(stage.sent), RECOVERY_SECONDS, what)


@row("25", "Stopped with SIGTERM under load", short=1, full=60)
def stopped_under_load(context: RowContext, result: Result) -> None:
    """Stops the cluster while it works; it must end within 15 s and send nothing twice."""
    with Stage(context.url()) as stage:
        client = SdkClient(stage, pause=0.05)
        stage.set_faults({"delay_s": 0.2, "after": True, "times": 0})
        slowest = 0.0
        with client.sending(threads=4):
            for _ in range(context.rounds):
                eventually(lambda: is_cluster_busy(stage), RECOVERY_SECONDS, stage.up.output)
                [watch] = stage.find("watch")
                everyone = [watch, *watch.children(recursive=True)]
                time.sleep(random.uniform(0.0, 0.5))
                started = time.monotonic()
                watch.terminate()
                ended, alive = psutil.wait_procs(everyone, timeout=20.0)
                slowest = max(slowest, time.monotonic() - started)
                assert not alive, f"{len(alive)} processes were left after 20 s"
        assert_delivered_once(stage, client.accepted, result)
        result.note = f"slowest end {slowest:.1f} s"
        assert slowest <= 15.0
        assert result.again == 0, f"{result.again} messages were sent twice"


@row("26", "Two clusters started by mistake", short=1, full=5)
def two_clusters(context: RowContext, result: Result) -> None:
    """Three clusters run on one database; still only one worker may deliver a lane at a time."""
    with Stage(context.url()) as stage, start_another_cluster(stage), start_another_cluster(stage):
        for _ in range(context.rounds):
            stage.send(2_000, users=100)
        eventually(lambda: stage.count_received() == len(stage.sent), 60.0, stage.up.output)
        assert_delivered_once(stage, set(stage.sent), result)
        assert_all_arrived_once_and_in_order(stage)
        assert result.again == 0, f"{result.again} messages were sent twice"


@row("27", "Rolling restart under load", short=1, full=5)
def rolling_restart(context: RowContext, result: Result) -> None:
    """Restarts two clusters in turn while events arrive steadily. In the short form, the lane may
    pause for as long as the lease of a crashed worker lasts."""
    quietly = context.full_or_short(3.0, 1.0)
    with Stage(context.url()) as stage:
        client = SdkClient(stage, pause=0.1)
        other = start_another_cluster(stage)
        try:
            with client.sending(threads=1, per_request=1):
                for _ in range(context.rounds):
                    time.sleep(quietly)
                    other.stop()
                    other = start_another_cluster(stage)
                    time.sleep(quietly)
                    [watch] = stage.find("watch")
                    watch.terminate()
                    psutil.wait_procs([watch], timeout=20.0)
                    eventually(stage.is_fully_running, RECOVERY_SECONDS, stage.up.output)
            assert_delivered_once(stage, client.accepted, result)
        finally:
            other.stop()
        times = sorted(each["received_at"] for each in stage.events())
        pause = max(b - a for a, b in zip(times, times[1:], strict=False))
        result.recovery.append(pause)
        result.note = f"longest pause of the lane {pause:.2f} s"
        assert pause <= context.full_or_short(2.0, LEASE), f"the lane paused for {pause:.1f} s"
        assert result.again == 0, f"{result.again} messages were sent twice"


def wait_for_processes(stage: Stage, role: str) -> list[psutil.Process]:
    """Wait until a role has processes, then return them."""
    processes: list[psutil.Process] = []
    eventually(
        lambda: processes.extend(stage.find(role)) or processes, RECOVERY_SECONDS, stage.up.output
    )
    return processes


def start_another_cluster(stage: Stage, **overrides: float) -> RunningCommand:
    """Start another cluster and return it once it runs.

    overrides  constants of delivery.operations.supervisor to change in the new cluster
    """
    constants = json.dumps(
        {f"delivery.operations.supervisor.{name}": value for name, value in overrides.items()}
    )
    program = (
        ("-m", "tests.faults.support.patched_command", constants) if overrides else ("manage.py",)
    )
    cluster = RunningCommand(stage.env, "cluster", program=program)
    cluster.wait_for("The cluster is up", 60.0)
    return cluster


def is_cluster_busy(stage: Stage) -> bool:
    """Return whether the cluster is complete and a worker is connected to the vendor."""
    return bool(stage.find("main") and stage.find("guard") and stage.find("busy worker"))
