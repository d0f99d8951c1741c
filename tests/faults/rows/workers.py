"""Single workers that die, freeze, meet what kills them, or have a wrong clock."""

import random
import re
import threading
import time
from collections import Counter, defaultdict

from tests.faults.registry import POSTGRES, SQLITE, Place, Result, row
from tests.faults.support.bare_penstock import Workshop
from tests.faults.support.in_process import tracks
from tests.faults.support.raw_vendor import OK, Wire, silence, status
from tests.support.processes import eventually

BOTH = (POSTGRES, SQLITE)
TAKES = 0.2  # seconds, a call of row 32
KEY = re.compile(rb'"idempotency_key":"([^"]+)"')
SCRIPTS = ([], [], [], [], [500, 500], [400], [429], [None], [500, 429])  # None: no answer
USERS, JOBS = 50, 40


class Judge:
    """A vendor with a script for each message: a request gets the worst that its messages have."""

    def __init__(self, scripts: dict[str, list[int | None]]):
        self.scripts = scripts
        self.guilty = {key for key, script in scripts.items() if 400 in script}
        self.taken: list[str] = []  # in the order of the first time
        self.times: Counter[str] = Counter()
        self.lock = threading.Lock()

    def __call__(self, connection) -> None:
        with self.lock:
            keys = [key.decode() for key in KEY.findall(self.wire.requests[-1])]
            due = [self.scripts[key].pop(0) for key in keys if self.scripts[key] and
                   self.scripts[key][0] != 400]  # fmt: skip
            if not due and not self.guilty.intersection(keys):
                self.taken += [key for key in keys if not self.times[key]]
                self.times.update(keys)
        if None in due:
            time.sleep(1.0)
        elif due:
            status(max(due), "Retry-After: 0\r\n")(connection)
        elif self.guilty.intersection(keys):
            status(400)(connection)
        else:
            connection.sendall(OK)


@row("9", "Order per user, with scripted answers and kills", short=2, full=10, on=BOTH)
def order(place: Place, result: Result) -> None:
    """RudderStack's test: 50 users, 40 jobs each, requests of ten, answers scripted for each job;
    in short 20 users with 5. Beyond it, rounds are kills of the worker. Delays of retries are a
    hundredth."""
    dice = random.Random(9)
    users, each_has = place.either((USERS, JOBS), (20, 5))
    jobs = [message(n, n % users, prefix="job") for n in range(users * each_has)]
    judge = Judge({job["messageId"]: list(dice.choice(SCRIPTS)) for job in jobs})
    scaled = {"schedule": [0.01, 0.05, 0.3, 1.2], "read": 0.5, "total": 0.7}
    with Wire(judge) as judge.wire:
        shop = Workshop(place.url(), judge.wire.url, PENSTOCK_BATCH_SIZE=10)
        shop.send(*jobs)
        with shop.hand("hand", **scaled) as hand:
            for _ in range(place.rounds):
                time.sleep(dice.uniform(*place.either((3.0, 6.0), (1.5, 3.0))))
                hand.kill()
                hand.start()
            good = len(jobs) - len(judge.guilty)
            eventually(lambda: len(judge.taken) >= good, 240.0, f"{len(judge.taken)} of {good}")
            eventually(lambda: not any(s == "queued" for s, *_ in shop.states().values()), 60.0)
        shop.close_books(result)
    result.reasons["refused with 400"] = len(judge.guilty)
    result.again = sum(judge.times.values()) - len(judge.times)
    assert result.failed == len(judge.guilty)
    assert set(judge.taken) == set(judge.scripts) - judge.guilty
    assert not late(judge.taken), f"out of order: {late(judge.taken)[:3]}"
    assert result.again <= 10 * place.rounds, "more was sent again than was under way"


def message(number: int, user: int, *, prefix: str) -> dict[str, object]:
    return {
        "type": "track", "event": "Step", "userId": f"user-{user}",
        "messageId": f"{prefix}-{user:03}-{number:06}",
    }  # fmt: skip


def late(keys: list[str]) -> list[str]:
    """Return what came after something of its user that was sent later."""
    last: defaultdict[str, int] = defaultdict(int)
    found = []
    for key in keys:
        _, user, number = key.split("-")
        if int(number) < last[user]:
            found.append(key)
        last[user] = max(last[user], int(number))
    return found


@row("13", "A message that kills its worker", short=1, full=3, on=BOTH)
def poison(place: Place, result: Result) -> None:
    """Whoever shapes it is killed on the spot. It fails after at most five claims."""
    with Wire() as wire:
        shop = Workshop(place.url(), wire.url)
        for number in range(place.rounds):
            batch = tracks(300, users=30, prefix=f"round-{number}")
            victim = random.randrange(300)
            batch[victim]["messageId"] = f"poison-{number:06}"
            shop.send(*batch)
            started, claims = time.monotonic(), 1
            with shop.hand("hand", dies_of="poison") as hand:
                while time.monotonic() - started < 90.0:
                    if hand.is_dead():
                        claims += 1
                        hand.start()
                    states = shop.states()
                    if all(state != "queued" for state, *_ in states.values()):
                        break
            state, reason, _ = states[f"poison-{number:06}"]
            assert (state, claims <= 5) == ("failed", True), f"{state} after {claims} claims"
            assert "workers died" in reason
            result.recovery.append(time.monotonic() - started)
        shop.close_books(result)
        result.reasons["workers died over it"] = result.failed
        result.note = "a worker dies four times, the fifth leaves the message alone"
        assert result.failed == place.rounds


@row("16", "A worker that comes back from the dead", short=1, full=5, on=BOTH)
def zombie(place: Place, result: Result) -> None:
    """SIGSTOP during the request, until the lease has run out and another worker has delivered;
    then SIGCONT and the answer. The lease is 3 s here."""
    gates: list[threading.Event] = []

    def slow_once(connection) -> None:
        gate = gates.pop() if gates else None
        if gate:
            gate.wait(60.0)
        connection.sendall(OK)

    scaled = {"lease": 3.0, "read": 60.0, "total": 60.0}
    with Wire(slow_once) as wire:
        shop = Workshop(place.url(), wire.url)
        for number in range(place.rounds):
            gate = threading.Event()
            gates.append(gate)
            shop.send(*tracks(20, prefix=f"zombie-{number}"))
            before = len(wire.requests)
            with shop.hand("first", **scaled) as first:
                eventually(lambda n=before: len(wire.requests) > n, 30.0)
                first.freeze()
                started = time.monotonic()
                with shop.hand("second", **scaled):
                    eventually(lambda n=before: len(wire.requests) > n + 1, 30.0)
                    eventually(lambda: settled(shop), 30.0)
                    result.recovery.append(time.monotonic() - started)
                    gate.set()
                    first.thaw()
                    time.sleep(1.5)
            keys = [KEY.findall(body) for body in wire.requests[before:]]
            assert keys == [keys[0]] * 2, "what was sent again had other keys"
            result.again += len(keys[0])
        states = shop.states()
        assert {(state, attempts) for state, _, attempts in states.values()} == {("delivered", 1)}
        [(written,)] = shop.read("SELECT count(*) FROM delivery_attempt")
        assert written == place.rounds, "the late worker wrote its attempt down"
        shop.close_books(result)
        result.note = "the late worker wrote nothing; both requests had the same keys"


def settled(shop: Workshop) -> bool:
    return all(state == "delivered" for state, *_ in shop.states().values())


@row("31", "The clock jumps by an hour, forth and back", short=1, full=3, on=BOTH)
def clock(place: Place, result: Result) -> None:
    """A worker is killed in a request while its clock is ahead: its lease ends in an hour, and yet
    another one goes on."""
    file = place.folder / "clock"
    jumps = place.either((0, 3_600, 0, -3_600, 0), (3_600, 0, -3_600, 0))
    with Wire() as wire:
        shop = Workshop(place.url(), wire.url)
        for number in range(place.rounds):
            for step, seconds in enumerate(jumps):
                file.write_text(str(seconds))
                is_ahead = seconds > 0
                wire.answer, before = silence if is_ahead else wire_ok, len(wire.requests)
                shop.send(*tracks(20, prefix=f"clock-{number}-{step}"))
                with shop.hand(f"hand-{number}-{step}", clock=str(file)):
                    if is_ahead:  # killed with a lease that ends in an hour and 25 s
                        eventually(lambda n=before: len(wire.requests) > n, 30.0)
                        continue
                    started = time.monotonic()
                    eventually(lambda: settled(shop), 60.0)
                    result.recovery.append(time.monotonic() - started)
        shop.close_books(result)
    held = [key for body in wire.requests for key in KEY.findall(body)]
    result.again = len(held) - len(set(held))


def wire_ok(connection) -> None:
    connection.sendall(OK)


@row("32", "Four lanes for a slow vendor without bulk calls", short=12, full=200, on=BOTH)
def partitions(place: Place, result: Result) -> None:
    """Rounds are users; each has to be linked by a call of its own, which takes 200 ms. That it is
    three times as fast is asserted in full only, that several lanes call at once in both."""
    seconds, at_once = {}, {}
    for lanes in (1, 4):
        seconds[lanes], at_once[lanes] = linking(place, result, lanes)
    result.note = (
        f"one lane {seconds[1]:.1f} s, four {seconds[4]:.1f} s: {seconds[1] / seconds[4]:.1f} ×"
    )
    assert at_once[1] == 1, f"calls at once, by lanes: {at_once}"
    assert at_once[4] >= 3, f"calls at once, by lanes: {at_once}"
    assert not place.full or seconds[1] >= 3.0 * seconds[4]


def linking(place: Place, result: Result, lanes: int) -> tuple[float, int]:
    """Return the seconds from the first call to the last, and how many there were at once."""
    times: list[float] = []
    under_way: list[int] = []
    most = 0

    def slow(connection) -> None:
        nonlocal most
        under_way.append(1)
        most = max(most, len(under_way))
        if b'"events"' not in wire.requests[-1]:
            time.sleep(TAKES)
        under_way.pop()
        times.append(time.monotonic())
        connection.sendall(OK)

    with Wire(slow) as wire:
        shop = Workshop(place.url(), wire.url, lanes=lanes)
        batch = tracks(place.rounds, users=place.rounds, prefix=f"lanes-{lanes}")
        shop.send(*({**each, "anonymousId": f"visitor-{each['userId']}"} for each in batch))
        with shop.hand("hand"):
            eventually(lambda: settled(shop), 120.0)
        shop.close_books(result)
    return times[-1] - times[0] + TAKES, most
