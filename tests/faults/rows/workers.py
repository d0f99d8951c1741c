"""Single workers that crash, freeze, meet a poison message, or have a wrong clock."""

import random
import re
import threading
import time
from collections import Counter, defaultdict

from tests.faults.registry import POSTGRES, SQLITE, Result, RowContext, row
from tests.faults.support.bare_penstock import BarePenstock
from tests.faults.support.in_process import make_tracks
from tests.faults.support.raw_vendor import (
    OK_RESPONSE,
    RawVendor,
    never_respond,
    respond_with_status,
)
from tests.support.processes import eventually

BOTH = (POSTGRES, SQLITE)
REQUEST_SECONDS = 0.2  # duration of a call in row 32
KEY = re.compile(rb'"idempotency_key":"([^"]+)"')
SCRIPTS = ([], [], [], [], [500, 500], [400], [429], [None], [500, 429])  # None: no response
USERS, JOBS = 50, 40  # jobs per user


class ScriptedVendor:
    """A vendor with a script of responses for each message. A request gets the worst response that
    is due for any of its messages."""

    def __init__(self, scripts: dict[str, list[int | None]]):
        self.scripts = scripts
        self.guilty = {key for key, script in scripts.items() if 400 in script}
        self.taken: list[str] = []  # in the order of first acceptance
        self.times: Counter[str] = Counter()
        self.lock = threading.Lock()

    def __call__(self, connection) -> None:
        with self.lock:
            keys = [key.decode() for key in KEY.findall(self.vendor.requests[-1])]
            due = [self.scripts[key].pop(0) for key in keys if self.scripts[key] and
                   self.scripts[key][0] != 400]  # fmt: skip
            if not due and not self.guilty.intersection(keys):
                self.taken += [key for key in keys if not self.times[key]]
                self.times.update(keys)
        if None in due:
            time.sleep(1.0)
        elif due:
            respond_with_status(max(due), "Retry-After: 0\r\n")(connection)
        elif self.guilty.intersection(keys):
            respond_with_status(400)(connection)
        else:
            connection.sendall(OK_RESPONSE)


@row("9", "Order per user, with scripted answers and kills", short=2, full=10, on=BOTH)
def order(context: RowContext, result: Result) -> None:
    """RudderStack's test: 50 users with 40 jobs each, requests of ten, and scripted responses for
    each job; in the short form 20 users with 5 jobs. In addition, the worker is killed once per
    round. Retry delays are a hundredth of the usual ones."""
    dice = random.Random(9)
    users, each_has = context.full_or_short((USERS, JOBS), (20, 5))
    jobs = [message(n, n % users, prefix="job") for n in range(users * each_has)]
    judge = ScriptedVendor({job["messageId"]: list(dice.choice(SCRIPTS)) for job in jobs})
    scaled = {"schedule": [0.01, 0.05, 0.3, 1.2], "read": 0.5, "total": 0.7}
    with RawVendor(judge) as judge.vendor:
        penstock = BarePenstock(context.url(), judge.vendor.url, PENSTOCK_BATCH_SIZE=10)
        penstock.send(*jobs)
        with penstock.worker("worker", **scaled) as worker:
            for _ in range(context.rounds):
                time.sleep(dice.uniform(*context.full_or_short((3.0, 6.0), (1.5, 3.0))))
                worker.kill()
                worker.start()
            good = len(jobs) - len(judge.guilty)
            eventually(lambda: len(judge.taken) >= good, 240.0, f"{len(judge.taken)} of {good}")
            eventually(lambda: not any(s == "queued" for s, *_ in penstock.states().values()), 60.0)
        penstock.add_ledger_to(result)
    result.reasons["refused with 400"] = len(judge.guilty)
    result.again = sum(judge.times.values()) - len(judge.times)
    assert result.failed == len(judge.guilty)
    assert set(judge.taken) == set(judge.scripts) - judge.guilty
    assert not out_of_order_keys(judge.taken), f"out of order: {out_of_order_keys(judge.taken)[:3]}"
    assert result.again <= 10 * context.rounds, "more was sent again than had been under way"


def message(number: int, user: int, *, prefix: str) -> dict[str, object]:
    return {
        "type": "track", "event": "Step", "userId": f"user-{user}",
        "messageId": f"{prefix}-{user:03}-{number:06}",
    }  # fmt: skip


def out_of_order_keys(keys: list[str]) -> list[str]:
    """Return the keys that arrived after a later message of the same user."""
    last: defaultdict[str, int] = defaultdict(int)
    found = []
    for key in keys:
        _, user, number = key.split("-")
        if int(number) < last[user]:
            found.append(key)
        last[user] = max(last[user], int(number))
    return found


@row("13", "A message that kills its worker", short=1, full=3, on=BOTH)
def poison(context: RowContext, result: Result) -> None:
    """A worker that shapes the message is killed at once. The message must fail after at most five
    claims."""
    with RawVendor() as vendor:
        penstock = BarePenstock(context.url(), vendor.url)
        for number in range(context.rounds):
            batch = make_tracks(300, users=30, prefix=f"round-{number}")
            victim = random.randrange(300)
            batch[victim]["messageId"] = f"poison-{number:06}"
            penstock.send(*batch)
            started, claims = time.monotonic(), 1
            with penstock.worker("worker", crash_on="poison") as worker:
                while time.monotonic() - started < 90.0:
                    if worker.is_dead():
                        claims += 1
                        worker.start()
                    states = penstock.states()
                    if all(state != "queued" for state, *_ in states.values()):
                        break
            state, reason, _ = states[f"poison-{number:06}"]
            assert (state, claims <= 5) == ("failed", True), f"{state} after {claims} claims"
            assert "workers crashed" in reason
            result.recovery.append(time.monotonic() - started)
        penstock.add_ledger_to(result)
        result.reasons["workers crashed on it"] = result.failed
        result.note = "four workers crash; the fifth does not process the message"
        assert result.failed == context.rounds


@row("16", "A worker that comes back from the dead", short=1, full=5, on=BOTH)
def zombie(context: RowContext, result: Result) -> None:
    """A worker is stopped with SIGSTOP during its request, until its lease has expired and another
    worker has delivered. Then it gets SIGCONT and the response. The lease is 3 s here."""
    gates: list[threading.Event] = []

    def slow_once(connection) -> None:
        gate = gates.pop() if gates else None
        if gate:
            gate.wait(60.0)
        connection.sendall(OK_RESPONSE)

    scaled = {"lease": 3.0, "read": 60.0, "total": 60.0}
    with RawVendor(slow_once) as vendor:
        penstock = BarePenstock(context.url(), vendor.url)
        for number in range(context.rounds):
            gate = threading.Event()
            gates.append(gate)
            penstock.send(*make_tracks(20, prefix=f"zombie-{number}"))
            before = len(vendor.requests)
            with penstock.worker("first", **scaled) as first:
                eventually(lambda n=before: len(vendor.requests) > n, 30.0)
                first.freeze()
                started = time.monotonic()
                with penstock.worker("second", **scaled):
                    eventually(lambda n=before: len(vendor.requests) > n + 1, 30.0)
                    eventually(lambda: is_all_settled(penstock), 30.0)
                    result.recovery.append(time.monotonic() - started)
                    gate.set()
                    first.thaw()
                    time.sleep(1.5)
            keys = [KEY.findall(body) for body in vendor.requests[before:]]
            assert keys == [keys[0]] * 2, "the second request had other keys"
            result.again += len(keys[0])
        states = penstock.states()
        assert {(state, attempts) for state, _, attempts in states.values()} == {("delivered", 1)}
        [(written,)] = penstock.read("SELECT count(*) FROM delivery_attempt")
        assert written == context.rounds, "the late worker recorded its attempt"
        penstock.add_ledger_to(result)
        result.note = "the late worker wrote nothing; both requests had the same keys"


def is_all_settled(penstock: BarePenstock) -> bool:
    return all(state == "delivered" for state, *_ in penstock.states().values())


@row("31", "The clock jumps by an hour, forth and back", short=1, full=3, on=BOTH)
def clock(context: RowContext, result: Result) -> None:
    """A worker whose clock is ahead is killed during a request. Although its lease ends only in an
    hour, another worker must continue."""
    file = context.folder / "clock"
    jumps = context.full_or_short((0, 3_600, 0, -3_600, 0), (3_600, 0, -3_600, 0))
    with RawVendor() as vendor:
        penstock = BarePenstock(context.url(), vendor.url)
        for number in range(context.rounds):
            for step, seconds in enumerate(jumps):
                file.write_text(str(seconds))
                is_ahead = seconds > 0
                vendor.answer, before = (
                    never_respond if is_ahead else respond_ok,
                    len(vendor.requests),
                )
                penstock.send(*make_tracks(20, prefix=f"clock-{number}-{step}"))
                with penstock.worker(f"worker-{number}-{step}", clock=str(file)):
                    if is_ahead:  # killed with a lease that ends in an hour and 25 s
                        eventually(lambda n=before: len(vendor.requests) > n, 30.0)
                        continue
                    started = time.monotonic()
                    eventually(lambda: is_all_settled(penstock), 60.0)
                    result.recovery.append(time.monotonic() - started)
        penstock.add_ledger_to(result)
    keys = [key for body in vendor.requests for key in KEY.findall(body)]
    result.again = len(keys) - len(set(keys))


def respond_ok(connection) -> None:
    connection.sendall(OK_RESPONSE)


@row("32", "Four lanes for a slow vendor without bulk calls", short=12, full=200, on=BOTH)
def partitions(context: RowContext, result: Result) -> None:
    """Rounds are users; linking each takes a call of its own, which lasts 200 ms. Both forms assert
    that several lanes call at once. Only the full form asserts that four lanes are three times as
    fast."""
    seconds, at_once = {}, {}
    for lanes in (1, 4):
        seconds[lanes], at_once[lanes] = linking(context, result, lanes)
    result.note = (
        f"one lane {seconds[1]:.1f} s, four {seconds[4]:.1f} s: {seconds[1] / seconds[4]:.1f} ×"
    )
    assert at_once[1] == 1, f"calls at once, by lanes: {at_once}"
    assert at_once[4] >= 3, f"calls at once, by lanes: {at_once}"
    assert not context.full or seconds[1] >= 3.0 * seconds[4]


def linking(context: RowContext, result: Result, lanes: int) -> tuple[float, int]:
    """Return the seconds from the first call to the last, and the most simultaneous calls."""
    times: list[float] = []
    under_way: list[int] = []
    most = 0

    def slow(connection) -> None:
        nonlocal most
        under_way.append(1)
        most = max(most, len(under_way))
        if b'"events"' not in vendor.requests[-1]:
            time.sleep(REQUEST_SECONDS)
        under_way.pop()
        times.append(time.monotonic())
        connection.sendall(OK_RESPONSE)

    with RawVendor(slow) as vendor:
        penstock = BarePenstock(context.url(), vendor.url, lanes=lanes)
        batch = make_tracks(context.rounds, users=context.rounds, prefix=f"lanes-{lanes}")
        penstock.send(*({**each, "anonymousId": f"visitor-{each['userId']}"} for each in batch))
        with penstock.worker("worker"):
            eventually(lambda: is_all_settled(penstock), 120.0)
        penstock.add_ledger_to(result)
    return times[-1] - times[0] + REQUEST_SECONDS, most
