"""Replays of all deliveries: cancelled, and two at once. No delivery is left out or queued twice.
Row 20 of the fault suite covers a replay that is killed midway.

PENSTOCK_REPLAYED   number of deliveries; `make kills` uses 50,000
"""

import os
import sys
import time

import pytest
import requests

from tests.kills.stage import TOKEN, Stage
from tests.support.processes import eventually

pytestmark = pytest.mark.kills

COUNT = int(os.environ.get("PENSTOCK_REPLAYED", "5000"))
# Progress at which a replay is cancelled, and the number of progress steps to see before. A short
# replay may have got that far at the first look.
MIN_PROGRESS, MIN_STEPS = (0.3, 6) if COUNT > 20_000 else (0.1, 1)


@pytest.fixture
def stage(database_url):
    with Stage(database_url) as stage:
        yield stage


def call_replays_api(stage: Stage, method: str, path: str, **body: object) -> dict:
    url = f"http://{stage.env['PENSTOCK_WEB_BIND']}/v1/admin/replays{path}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = requests.request(method, url, json=body, headers=headers, timeout=30)
    assert answer.ok, answer.text
    return answer.json()


def wait_for_progress(stage: Stage, one: str) -> list[float]:
    """Return the progress at each look, until it reaches MIN_PROGRESS."""
    seen: list[float] = []
    began = time.monotonic()
    while not seen or seen[-1] < MIN_PROGRESS:
        seen.append(call_replays_api(stage, "GET", one)["progress"])
        assert time.monotonic() - began < 300.0
        time.sleep(0.05)
    return seen


def cancel_replay(stage: Stage, one: str) -> float:
    """Cancel a replay; return how many seconds that took."""
    began = time.monotonic()
    call_replays_api(stage, "POST", f"{one}/cancel")
    eventually(
        lambda: call_replays_api(stage, "GET", one)["state"] == "cancelled", 30.0, stage.up.output
    )
    return time.monotonic() - began


def run_replays(stage: Stage, *bodies: dict) -> list[int]:
    """Run replays at the same time; return how many deliveries each queued."""
    started = [f"/{call_replays_api(stage, 'POST', '', **body)['id']}" for body in bodies]
    for each in started:
        eventually(lambda each=each: call_replays_api(stage, "GET", each)["state"] == "done", 900.0)
    return [call_replays_api(stage, "GET", each)["queued"] for each in started]


def test_a_cancelled_replay_stops_and_two_of_one_range_send_nothing_new(stage, capsys):
    stage.send(COUNT, users=500)
    eventually(lambda: stage.count_received() == COUNT, COUNT / 100 + 60, stage.up.output)
    eventually(lambda: not stage.has_queued(), 60.0)
    selection = {"installation": 1, "states": ["delivered"]}

    one = f"/{call_replays_api(stage, 'POST', '', **selection)['id']}"
    seen = wait_for_progress(stage, one)
    cancelled = cancel_replay(stage, one)
    ended = call_replays_api(stage, "GET", one)
    assert seen == sorted(seen)
    assert len(set(seen)) >= MIN_STEPS, "progress is not visible"
    assert stage.ledger_line()["delivered"] == COUNT, "taken-back deliveries were not restored"
    sent_again = sum(stage._sandbox("GET", "keys").values()) - COUNT
    assert sent_again == ended["queued"] - ended["taken_back"]

    began = time.monotonic()
    again = run_replays(stage, selection, {**selection, "event": "Step"})
    took = time.monotonic() - began
    eventually(lambda: not stage.has_queued(), 60.0)
    assert stage.ledger_line()["delivered"] == COUNT

    times = stage._sandbox("GET", "keys")
    assert set(times) == set(stage.sent), "a replay sent another idempotency key"
    assert sum(times.values()) == COUNT + sent_again + sum(again)
    assert min(times.values()) >= 2, "both replays left out a delivery"
    assert stage.count_received() == COUNT  # the sandbox counts a key once
    with capsys.disabled():
        sys.stdout.write(
            f"\n{COUNT}: progress seen {len(set(seen))} times; cancelled within {cancelled:.2f} s "
            f"at {seen[-1]:.0%}, {ended['taken_back']} taken back; two of one range queued "
            f"{again} within {took:.0f} s, and the vendor counts {stage.count_received()}\n"
        )
