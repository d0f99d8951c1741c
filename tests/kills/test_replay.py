"""Replays of everything there is, killed, cancelled, two at once: nothing left out, nothing twice.

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
# how far a replay is let go before it is cancelled, and in how many steps; a short one may be there
# at the first look
FAR, STEPS = (0.3, 6) if COUNT > 20_000 else (0.1, 1)
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

    assert (found["count"], found["exact"]) == (COUNT, True)
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


def watched(stage: Stage, one: str) -> list[float]:
    """Return the progress at each look, until it is FAR."""
    seen: list[float] = []
    began = time.monotonic()
    while not seen or seen[-1] < FAR:
        seen.append(call(stage, "GET", one)["progress"])
        assert time.monotonic() - began < 300.0
        time.sleep(0.05)
    return seen


def test_a_cancelled_replay_stops_and_two_of_one_range_send_nothing_new(stage, capsys):
    stage.send(COUNT, users=500)
    eventually(lambda: stage.received() == COUNT, COUNT / 100 + 60, stage.up.output)
    eventually(lambda: stage.account()["delivered"] == COUNT, 60.0)
    asked = {"installation": 1, "states": ["delivered"]}

    one = f"/{call(stage, 'POST', '', **asked)['id']}"
    seen = watched(stage, one)
    called = time.monotonic()
    call(stage, "POST", f"{one}/cancel")
    eventually(lambda: call(stage, "GET", one)["state"] == "cancelled", 30.0, stage.up.output)
    cancelled = time.monotonic() - called
    ended = call(stage, "GET", one)
    assert seen == sorted(seen)
    assert len(set(seen)) >= STEPS, "progress is not visible"
    assert stage.account()["delivered"] == COUNT, "what was taken back is not as before"
    sent_again = sum(stage._sandbox("GET", "keys").values()) - COUNT
    assert sent_again == ended["queued"] - ended["taken_back"]

    began = time.monotonic()
    both = [
        f"/{call(stage, 'POST', '', **asked, **more)['id']}" for more in ({}, {"event": "Step"})
    ]
    for each in both:
        eventually(lambda each=each: call(stage, "GET", each)["state"] == "done", 900.0)
    took = time.monotonic() - began
    again = [call(stage, "GET", each)["queued"] for each in both]
    eventually(lambda: stage.account()["delivered"] == COUNT, 60.0)

    times = stage._sandbox("GET", "keys")
    assert set(times) == set(stage.sent), "a replay sent another idempotency key"
    assert sum(times.values()) == COUNT + sent_again + sum(again)
    assert min(times.values()) >= 2, "each left one to the other"
    assert stage.received() == COUNT  # the sandbox counts a key once
    with capsys.disabled():
        sys.stdout.write(
            f"\n{COUNT}: progress seen {len(set(seen))} times; cancelled within {cancelled:.2f} s "
            f"at {seen[-1]:.0%}, {ended['taken_back']} taken back; two of one range queued "
            f"{again} within {took:.0f} s, and the vendor counts {stage.received()}\n"
        )
