"""Replays of everything there is, cancelled, two at once: nothing left out, nothing twice. That one
is killed in the middle is row 20 of the fault suite.

PENSTOCK_REPLAYED   how many deliveries; `make kills` takes 50,000
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
# how far a replay is let go before it is cancelled, and in how many steps; a short one may be there
# at the first look
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
    """Return the progress at each look, until it is FAR."""
    seen: list[float] = []
    began = time.monotonic()
    while not seen or seen[-1] < MIN_PROGRESS:
        seen.append(call_replays_api(stage, "GET", one)["progress"])
        assert time.monotonic() - began < 300.0
        time.sleep(0.05)
    return seen


def cancel_replay(stage: Stage, one: str) -> float:
    """Return the seconds until a replay was cancelled."""
    began = time.monotonic()
    call_replays_api(stage, "POST", f"{one}/cancel")
    eventually(
        lambda: call_replays_api(stage, "GET", one)["state"] == "cancelled", 30.0, stage.up.output
    )
    return time.monotonic() - began


def run_replays(stage: Stage, *bodies: dict) -> list[int]:
    """Start replays together; return how many deliveries each queued when all are done."""
    started = [f"/{call_replays_api(stage, 'POST', '', **body)['id']}" for body in bodies]
    for each in started:
        eventually(lambda each=each: call_replays_api(stage, "GET", each)["state"] == "done", 900.0)
    return [call_replays_api(stage, "GET", each)["queued"] for each in started]


def test_a_cancelled_replay_stops_and_two_of_one_range_send_nothing_new(stage, capsys):
    stage.send(COUNT, users=500)
    eventually(lambda: stage.count_received() == COUNT, COUNT / 100 + 60, stage.up.output)
    eventually(lambda: not stage.has_queued(), 60.0)
    asked = {"installation": 1, "states": ["delivered"]}

    one = f"/{call_replays_api(stage, 'POST', '', **asked)['id']}"
    seen = wait_for_progress(stage, one)
    cancelled = cancel_replay(stage, one)
    ended = call_replays_api(stage, "GET", one)
    assert seen == sorted(seen)
    assert len(set(seen)) >= MIN_STEPS, "progress is not visible"
    assert stage.ledger_line()["delivered"] == COUNT, "what was taken back is not as before"
    sent_again = sum(stage._sandbox("GET", "keys").values()) - COUNT
    assert sent_again == ended["queued"] - ended["taken_back"]

    began = time.monotonic()
    again = run_replays(stage, asked, {**asked, "event": "Step"})
    took = time.monotonic() - began
    eventually(lambda: not stage.has_queued(), 60.0)
    assert stage.ledger_line()["delivered"] == COUNT

    times = stage._sandbox("GET", "keys")
    assert set(times) == set(stage.sent), "a replay sent another idempotency key"
    assert sum(times.values()) == COUNT + sent_again + sum(again)
    assert min(times.values()) >= 2, "each left one to the other"
    assert stage.count_received() == COUNT  # the sandbox counts a key once
    with capsys.disabled():
        sys.stdout.write(
            f"\n{COUNT}: progress seen {len(set(seen))} times; cancelled within {cancelled:.2f} s "
            f"at {seen[-1]:.0%}, {ended['taken_back']} taken back; two of one range queued "
            f"{again} within {took:.0f} s, and the vendor counts {stage.count_received()}\n"
        )
