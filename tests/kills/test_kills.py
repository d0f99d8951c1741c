"""Kill anything, at any time: nothing is lost, nothing counts twice, and it goes on by itself.

PENSTOCK_KILL_ROUNDS   how often each part is killed; `make kills` takes 10. With 1, as in CI, each
                       is killed once and on one database only
"""

import os
import random
import sys
import time
from collections import defaultdict
from contextlib import suppress
from statistics import median

import psutil
import pytest

from delivery.processes import STABLE_AFTER
from delivery.watch import STARTUP
from tests.kills.stage import Stage
from tests.live import eventually

pytestmark = pytest.mark.kills

ROUNDS = int(os.environ.get("PENSTOCK_KILL_ROUNDS", "2"))
RECOVERY = 30.0  # seconds, promised
EVENTS = 20_000
USERS = 1_000
VICTIMS = ["idle worker", "busy worker", "monitor", "pusher", "guard", "main", "watch"]
SLOWLY = {"delay_s": 1.0, "after": True, "times": 0}  # applied at once, answered later
LATE = {"delay_s": 5.0, "after": True, "times": 1}


ORM = ["sqlite", "postgres"]  # with django-q2's queue in the same database
BRIEFLY = ROUNDS == 1  # as CI asks: each way to die once, on one of the databases
VICTIMS_ON = ["postgres and redis"] if BRIEFLY else [*ORM, "postgres and redis"]
FROZEN_ON = ["sqlite"] if BRIEFLY else ORM


@pytest.fixture
def stage(request, tmp_path):
    database, _, broker = request.param.partition(" and ")
    url = f"sqlite:///{tmp_path}/penstock.sqlite3"
    if database == "postgres":
        url = request.getfixturevalue("postgres_url")
    broker_url = request.getfixturevalue("redis_url") if broker else ""
    with Stage(url, BROKER_URL=broker_url) as stage:
        yield stage


def assert_all_arrived_once_and_in_order(stage: Stage) -> None:
    """Each message id is at the vendor exactly once, in each user's order, and accounted for."""
    last: defaultdict[str, int] = defaultdict(lambda: -1)
    ids = []
    for each in stage.events():
        number = each["properties"]["number"]
        assert number > last[each["identity"]], f"{each['identity']} got {number} too late"
        last[each["identity"]] = number
        ids.append(each["idempotency_key"])
    assert sorted(ids) == sorted(stage.sent)
    account = stage.account()
    assert account["delivered"] == account["in_scope"] == len(stage.sent)


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # its leash was quicker
            process.kill()


@pytest.mark.parametrize("stage", ORM, indirect=True)
def test_the_whole_cluster_killed_five_times_loses_and_doubles_nothing(stage, capsys):
    stage.trouble(SLOWLY)
    stage.send(EVENTS, users=USERS)
    resumed = []
    for _ in range(5):
        before = stage.received()
        kill(stage.cluster())
        assert before < EVENTS, "it was over before it could be killed"
        resumed.append(eventually(lambda b=before: stage.received() > b, RECOVERY, stage.up.output))
        time.sleep(random.uniform(0.0, 1.0))

    stage.trouble()
    eventually(lambda: stage.account()["delivered"] == EVENTS, 120.0, stage.up.output)

    assert_all_arrived_once_and_in_order(stage)
    report(capsys, {"whole cluster": resumed}, stage)


@pytest.mark.parametrize("stage", VICTIMS_ON, indirect=True)
def test_whatever_dies_delivery_goes_on_by_itself(stage, capsys):
    seconds: dict[str, list[float]] = {victim: [] for victim in VICTIMS}
    stage.send(1)
    for _ in range(ROUNDS):
        for victim in random.sample(VICTIMS, len(VICTIMS)):
            seconds[victim].append(recovery(stage, victim))

    assert_all_arrived_once_and_in_order(stage)
    report(capsys, seconds, stage)


@pytest.mark.parametrize("stage", FROZEN_ON, indirect=True)
def test_a_cluster_that_freezes_with_all_its_processes_alive_is_replaced(stage, capsys):
    [pusher] = stage.find("pusher")
    eventually(lambda: time.time() - pusher.create_time() > STARTUP, 20.0)

    pusher.suspend()

    report(capsys, {"frozen": [arrival(stage, "frozen pusher")]}, stage)
    assert "idle workers did not answer" in stage.up.output


def recovery(stage: Stage, victim: str) -> float:
    """Kill it, and send one event after the other until the cluster was replaced.

    Return how many seconds the slowest of them took to arrive.
    """
    eventually(stage.is_whole, RECOVERY, stage.up.output)
    main = stage.find("main")
    # stable, so that the watch knows them all and takes this for the first death of its kind
    eventually(lambda: time.time() - main[0].create_time() > STABLE_AFTER + 1.0, 20.0)
    if victim == "busy worker":
        stage.trouble(LATE)
        stage.send(1)
        eventually(lambda: stage.received() == len(stage.sent), 20.0, stage.up.output)
    random.choice(stage.find(victim)).kill()
    slowest = 0.0
    while stage.find("main") in ([], main) or not slowest:
        slowest = max(slowest, arrival(stage, victim))
    return max(slowest, arrival(stage, victim))


def arrival(stage: Stage, victim: str) -> float:
    """Send an event; return how many seconds it took to arrive."""
    stage.send(1)
    what = f"{victim}: {stage.up.output}"
    return eventually(lambda: stage.received() == len(stage.sent), RECOVERY, what)


def report(capsys, seconds: dict[str, list[float]], stage: Stage) -> None:
    lines = [f"{'slowest event after a kill, seconds':36}{'min':>8}{'median':>8}{'max':>8}{'n':>5}"]
    for victim, each in seconds.items():
        figures = f"{min(each):8.1f}{median(each):8.1f}{max(each):8.1f}{len(each):5}"
        lines.append(f"{victim:36}{figures}")
    lines.append(f"{len(stage.sent)} events; {stage.repeats()} were sent twice and counted once")
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
