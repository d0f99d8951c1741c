"""Replays of the whole log, killed in the middle, beside live traffic of others."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from statistics import quantiles
from threading import Event, Thread

import requests

from delivery.replay.pace import LATE
from tests.faults.registry import POSTGRES, SQLITE, Place, Result, row
from tests.faults.rows.isolation import latencies
from tests.faults.support.sampler import largest, memory_of_workers
from tests.kills.stage import WRITE_KEY, Stage, kill
from tests.kills.test_replay import call
from tests.support.processes import eventually

RATE, SLOW = 2_000.0, 250.0  # deliveries a second that a replay may queue, in full and in short
EVERY = 0.05  # seconds between two live events
QUIET = 15.0  # seconds of live events without a replay
NOISE = LATE.total_seconds()  # a replay steps back when live deliveries wait for longer
MEMORY = 64_000_000  # bytes a worker may grow by, promised
UNDER_WAY = 2_000  # what a replay has in its lane at most: may be sent again after a kill
OTHER, OTHER_APP = 2, "7000"  # the installation that nothing is replayed to, and its App ID


@row("20", "Replays of 50,000, killed at 40 %", short=1_000, full=50_000, on=(POSTGRES, SQLITE))
def replays_killed(place: Place, result: Result) -> None:
    """Rounds are deliveries. Once by filter, once by time: each is queued again exactly once. In
    short by both at once, slower, and what others wait meanwhile is not asserted."""
    early = place.rounds // 10
    with Stage(place.url()) as stage:
        send(stage, early)
        since = utc_now()
        send(stage, place.rounds)
        stage.install("Other", OTHER_APP)
        live = Live(stage)
        with live.sending():
            time.sleep(place.either(QUIET, 1.0))
        without = p99(stage, live, since)

        began = utc_now()
        by_filter, by_time = {"event": "Step"}, {"event": "Step", "since": since}
        both = ((by_filter, stage.sent), (by_time, stage.sent[early:]))
        asked, rate = place.either((both, RATE), (both[1:], SLOW))
        done = [killed_replay(stage, live, wanted, len(them), rate) for wanted, them in asked]
        sent = Counter(stage.sent) + Counter([each for _, them in asked for each in them])
        reckon(stage, sent, live.ids, result)
        beside = p99(stage, live, began)
    rates = " and ".join(f"{pace:,.0f}/s" for pace, _ in done)
    grown = max(grown for _, grown in done)
    result.note = (
        f"preview and replay agree; queued at {rates} where {rate:,.0f}/s were allowed, the kill "
        f"included; p99 of another installation {without:.2f} s without and {beside:.2f} s beside "
        f"a replay; the largest worker grew by {grown / 1e6:.0f} MB"
    )
    assert max(pace for pace, _ in done) <= 1.02 * rate
    assert grown <= MEMORY
    # SQLite has one writer, which live events wait for
    if place.full and place.database == POSTGRES:
        assert beside <= max(2 * without, NOISE)


def send(stage: Stage, count: int) -> None:
    """Send that many, and wait until they are delivered and written down."""
    stage.send(count, users=500)
    wanted = len(stage.sent)
    eventually(lambda: stage.received() == wanted, 60.0 + count / 100)
    eventually(lambda: not stage.has_queued(), 60.0)
    time.sleep(2.0)  # times of the API are whole seconds here


def utc_now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Live:
    """Events of another name, twenty a second, one a request; for both installations."""

    def __init__(self, stage: Stage):
        self.url = f"http://{stage.env['PENSTOCK_WEB_BIND']}/v1/track"
        self.numbers = count()
        self.ids: list[str] = []

    @contextmanager
    def sending(self) -> Iterator[None]:
        stopped = Event()
        thread = Thread(target=self._send, args=[stopped], daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join(30.0)

    def _send(self, stopped: Event) -> None:
        with requests.Session() as web:
            web.headers["Authorization"] = f"Bearer {WRITE_KEY}"
            while not stopped.wait(EVERY):
                number = next(self.numbers)
                message = {
                    "event": "Live", "userId": f"user-{number % 50}",
                    "messageId": f"live-{number:06}",
                }  # fmt: skip
                web.post(self.url, json=message, timeout=30).raise_for_status()
                self.ids.append(message["messageId"])


def p99(stage: Stage, live: Live, since: str) -> float:
    """Return the seconds from accepted to delivered of the installation without a replay."""
    eventually(lambda: stage.held().get(OTHER_APP) == len(live.ids), 60.0)
    eventually(lambda: not stage.has_queued(), 60.0)
    return quantiles(latencies(stage, OTHER, since), n=100)[98]


def killed_replay(
    stage: Stage, live: Live, wanted: dict[str, str], matching: int, pace: float
) -> tuple[float, float]:
    """Replay what is wanted, and kill the whole cluster in the middle of it. Live events come
    until then. Return how many were queued a second, and by how many bytes a worker grew."""
    asked = {"installation": 1, "states": ["delivered"], **wanted}
    found = call(stage, "POST", "/preview", **asked)
    before, started = largest(stage), time.monotonic()
    with memory_of_workers(stage) as memory:
        with live.sending():
            path = f"/{call(stage, 'POST', '', **asked, rate=pace)['id']}"
            eventually(lambda: call(stage, "GET", path)["queued"] >= 0.35 * matching, 300.0)
        eventually(lambda: call(stage, "GET", path)["queued"] >= 0.4 * matching, 300.0)
        kill(stage.cluster())
        eventually(lambda: call(stage, "GET", path)["queued"] >= matching, 300.0, stage.up.output)
        rate = matching / (time.monotonic() - started)
        eventually(lambda: call(stage, "GET", path)["state"] == "done", 60.0, stage.up.output)
    replay = call(stage, "GET", path)
    assert (found["count"], found["exact"]) == (matching, True), (
        f"preview {found}, {matching} match"
    )
    assert replay["queued"] == matching, f"{replay['queued']} queued again, {matching} match"
    assert replay["outcome"] == {"delivered": matching}
    return rate, memory.value - before


def reckon(stage: Stage, sent: Counter[str], live: Sequence[str], result: Result) -> None:
    """Each is at the vendor as often as it should be, but for what was under way at the kills."""
    eventually(lambda: not stage.has_queued(), 60.0)
    for account in stage.accounts().values():
        result.add(account)
    ids = [*dict.fromkeys(sent), *live]
    result.accepted = len(ids)
    times = Counter(stage._sandbox("GET", "keys"))
    result.lost = len(set(ids) - set(times))
    wanted = sent + Counter([*live, *live])
    assert set(times) == set(ids)
    assert not wanted - times, "one was not sent again"
    result.again = (times - wanted).total()
    held = stage.held()
    result.doubled = sum(held.values()) - len(set(sent)) - 2 * len(live)
    assert (result.lost, result.doubled) == (0, 0), f"lost {result.lost}, doubled {result.doubled}"
    assert result.again <= 2 * UNDER_WAY, f"{result.again} were sent once more than replayed"
