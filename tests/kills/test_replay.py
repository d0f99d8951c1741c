"""A replay of everything there is, killed in the middle: nothing left out, nothing taken twice.

PENSTOCK_REPLAYED   how many deliveries; `make kills` takes 50,000
"""

import os
import sys
import threading
import time
from contextlib import suppress

import psutil
import pytest
import requests

from tests.kills.stage import TOKEN, Stage
from tests.kills.test_kills import kill
from tests.live import eventually

pytestmark = pytest.mark.kills

COUNT = int(os.environ.get("PENSTOCK_REPLAYED", "5000"))
MEMORY = 64_000_000  # bytes a worker may grow by, promised


@pytest.fixture
def stage(database_url):
    with Stage(database_url) as stage:
        yield stage


class Memory:
    """The most that a worker of the cluster had while this was looked at."""

    def __init__(self, stage: Stage):
        self.stage, self.most, self.looking = stage, 0, True
        self.thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Memory":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.looking = False
        self.thread.join()

    def _look(self) -> None:
        while self.looking:
            with suppress(psutil.Error, ValueError):
                self.most = max(self.most, largest(self.stage))
            time.sleep(0.2)


def largest(stage: Stage) -> int:
    return max(worker.memory_info().rss for worker in stage.find("worker"))


def call(stage: Stage, method: str, path: str, **body: object) -> dict:
    url = f"http://{stage.env['PENSTOCK_WEB_BIND']}/v1/admin/replays{path}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = requests.request(method, url, json=body, headers=headers, timeout=30)
    assert answer.ok, answer.text
    return answer.json()


def test_a_replay_killed_in_the_middle_queues_each_delivery_exactly_once(stage, capsys):
    stage.send(COUNT, users=500)
    eventually(lambda: stage.received() == COUNT, COUNT / 100 + 60, stage.up.output)
    eventually(lambda: stage.account()["delivered"] == COUNT, 60.0)
    before = largest(stage)

    asked = {"installation": 1, "states": ["delivered"]}
    found = call(stage, "POST", "/preview", **asked)
    with Memory(stage) as memory:
        pk = call(stage, "POST", "", **asked)["id"]
        one = f"/{pk}"
        eventually(lambda: call(stage, "GET", one)["queued"] >= 0.4 * COUNT, 300.0)
        kill(stage.cluster())
        eventually(lambda: call(stage, "GET", one)["state"] == "done", 600.0, stage.up.output)
    replay = call(stage, "GET", one)

    assert found == {"count": COUNT, "exact": True}
    assert (replay["queued"], replay["outcome"]) == (COUNT, {"delivered": COUNT})
    times = stage._sandbox("GET", "keys")
    assert set(times) == set(stage.sent)
    assert min(times.values()) == 2, "one was not sent again"
    again = sum(number - 2 for number in times.values())
    assert again <= 2_000, "more than what was under way was sent a third time"
    assert stage.received() == COUNT  # the sandbox counts a key once
    assert stage.account()["delivered"] == COUNT
    assert memory.most - before <= MEMORY
    with capsys.disabled():
        grown = (memory.most - before) / 1e6
        sys.stdout.write(f"\n{COUNT} replayed, {again} sent thrice, grown by {grown:.0f} MB\n")
