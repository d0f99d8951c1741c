"""Replays of the whole log that are killed midway, with live traffic to another installation."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from statistics import quantiles
from threading import Event, Thread

import requests

from delivery.replay.pace import MAX_LIVE_DELAY
from tests.faults.registry import POSTGRES, SQLITE, Result, RowContext, row
from tests.faults.rows.isolation import latencies
from tests.faults.support.sampler import largest_worker_memory, max_worker_memory
from tests.kills.stage import WRITE_KEY, Stage, kill_all
from tests.kills.test_replay import call_replays_api
from tests.support.processes import eventually

RATE, SLOW = 2_000.0, 250.0  # deliveries/s that a replay may queue, in the full and short form
LIVE_INTERVAL = 0.05  # seconds between two live events
BASELINE_SECONDS = 15.0  # seconds of live events without a replay
NOISE_SECONDS = (
    MAX_LIVE_DELAY.total_seconds()
)  # a replay pauses when live deliveries wait for longer
MAX_GROWTH_BYTES = 64_000_000  # bytes that a worker may grow by, as promised
MAX_RESENT = 2_000  # most deliveries of a replay in its lane; a kill can send them again
OTHER, OTHER_APP = 2, "7000"  # the installation without a replay, and its App ID


@row("20", "Replays of 50,000, killed at 40 %", short=1_000, full=50_000, on=(POSTGRES, SQLITE))
def replays_killed(context: RowContext, result: Result) -> None:
    """Rounds are deliveries. One replay selects by filter, one by time; each must queue every
    matching delivery exactly once. The short form has one slower replay by filter and time, and
    does not assert the waits of the other installation."""
    early = context.rounds // 10
    with Stage(context.url()) as stage:
        send(stage, early)
        since = utc_now()
        send(stage, context.rounds)
        stage.install("Other", OTHER_APP)
        live = LiveTraffic(stage)
        with live.sending():
            time.sleep(context.full_or_short(BASELINE_SECONDS, 1.0))
        without = p99(stage, live, since)

        began = utc_now()
        by_filter, by_time = {"event": "Step"}, {"event": "Step", "since": since}
        both = ((by_filter, stage.sent), (by_time, stage.sent[early:]))
        replays, rate = context.full_or_short((both, RATE), (both[1:], SLOW))
        done = [replay_and_kill(stage, live, wanted, len(ids), rate) for wanted, ids in replays]
        sent = Counter(stage.sent) + Counter([each for _, ids in replays for each in ids])
        assert_replayed_once(stage, sent, live.ids, result)
        beside = p99(stage, live, began)
    rates = " and ".join(f"{pace:,.0f}/s" for pace, _ in done)
    grown = max(grown for _, grown in done)
    result.note = (
        f"preview and replay agree; queued at {rates} where {rate:,.0f}/s were allowed, the kill "
        f"included; p99 of another installation {without:.2f} s without and {beside:.2f} s beside "
        f"a replay; the largest worker grew by {grown / 1e6:.0f} MB"
    )
    assert max(pace for pace, _ in done) <= 1.02 * rate
    assert grown <= MAX_GROWTH_BYTES
    # SQLite has one writer, so live events wait for the replay.
    if context.full and context.database == POSTGRES:
        assert beside <= max(2 * without, NOISE_SECONDS)


def send(stage: Stage, count: int) -> None:
    """Send that many events, and wait until they are delivered and settled."""
    stage.send(count, users=500)
    wanted = len(stage.sent)
    eventually(lambda: stage.count_received() == wanted, 60.0 + count / 100)
    eventually(lambda: not stage.has_queued(), 60.0)
    time.sleep(2.0)  # because `utc_now` has whole seconds


def utc_now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class LiveTraffic:
    """Events of another name for both installations: twenty per second, one per request."""

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
            while not stopped.wait(LIVE_INTERVAL):
                number = next(self.numbers)
                message = {
                    "event": "Live", "userId": f"user-{number % 50}",
                    "messageId": f"live-{number:06}",
                }  # fmt: skip
                web.post(self.url, json=message, timeout=30).raise_for_status()
                self.ids.append(message["messageId"])


def p99(stage: Stage, live: LiveTraffic, since: str) -> float:
    """Return the p99, accepted to delivered, of the installation without a replay, in seconds."""
    eventually(lambda: stage.events_by_app().get(OTHER_APP) == len(live.ids), 60.0)
    eventually(lambda: not stage.has_queued(), 60.0)
    return quantiles(latencies(stage, OTHER, since), n=100)[98]


def replay_and_kill(
    stage: Stage, live: LiveTraffic, wanted: dict[str, str], matching: int, pace: float
) -> tuple[float, float]:
    """Run the wanted replay and kill the whole cluster midway; live events arrive until shortly
    before the kill. Return how many deliveries were queued per second, and by how many bytes a
    worker grew."""
    selection = {"installation": 1, "states": ["delivered"], **wanted}
    preview = call_replays_api(stage, "POST", "/preview", **selection)
    before, started = largest_worker_memory(stage), time.monotonic()
    with max_worker_memory(stage) as memory:
        with live.sending():
            path = f"/{call_replays_api(stage, 'POST', '', **selection, rate=pace)['id']}"
            eventually(
                lambda: call_replays_api(stage, "GET", path)["queued"] >= 0.35 * matching, 300.0
            )
        eventually(lambda: call_replays_api(stage, "GET", path)["queued"] >= 0.4 * matching, 300.0)
        kill_all(stage.cluster())
        eventually(
            lambda: call_replays_api(stage, "GET", path)["queued"] >= matching,
            300.0,
            stage.up.output,
        )
        rate = matching / (time.monotonic() - started)
        eventually(
            lambda: call_replays_api(stage, "GET", path)["state"] == "done", 60.0, stage.up.output
        )
    replay = call_replays_api(stage, "GET", path)
    assert (preview["count"], preview["exact"]) == (matching, True), (
        f"preview {preview}, {matching} match"
    )
    assert replay["queued"] == matching, f"{replay['queued']} queued again, {matching} match"
    assert replay["outcome"] == {"delivered": matching}
    return rate, memory.value - before


def assert_replayed_once(
    stage: Stage, sent: Counter[str], live: Sequence[str], result: Result
) -> None:
    """Assert that the vendor received each message as often as it was sent and replayed. Only
    messages that were under way at a kill may have arrived once more."""
    eventually(lambda: not stage.has_queued(), 60.0)
    for account in stage.ledger_lines().values():
        result.add(account)
    ids = [*dict.fromkeys(sent), *live]
    result.accepted = len(ids)
    times = Counter(stage._sandbox("GET", "keys"))
    result.lost = len(set(ids) - set(times))
    wanted = sent + Counter([*live, *live])
    assert set(times) == set(ids)
    assert not wanted - times, "a message was not sent again"
    result.again = (times - wanted).total()
    received = stage.events_by_app()
    result.doubled = sum(received.values()) - len(set(sent)) - 2 * len(live)
    assert (result.lost, result.doubled) == (0, 0), f"lost {result.lost}, doubled {result.doubled}"
    assert result.again <= 2 * MAX_RESENT, f"{result.again} messages were sent too often"
