"""Isolation: the effect of one installation on the others."""

import time
from datetime import datetime
from statistics import quantiles

import requests

from tests.faults.registry import Result, RowContext, row
from tests.faults.support.sampler import largest_worker_memory, most_connections
from tests.faults.support.sdk_client import SdkClient
from tests.kills.stage import TOKEN, WRITE_KEY, Stage
from tests.support.processes import eventually

HANG = [f"9{number:03}" for number in range(10)]
DRIP = [f"8{number:03}" for number in range(3)]
HEALTHY = [f"7{number:03}" for number in range(6)]  # besides the one that the stage installs
PHASE = 30.0  # seconds
NOISE = 3.0  # seconds; a lane that is stuck behind a hanging one waits for ten or more
SEND_INTERVAL = 0.5  # seconds between two events
CONNECTIONS = 60  # with four workers


@row("10", "Ten vendors hang and three drip", short=1, full=1)
def noisy_neighbours(context: RowContext, result: Result) -> None:
    """20 installations, 4 workers, two events per second to each. The row measures the p99 of the
    seven healthy installations. The short form has 8 installations, four of them with a vendor that
    hangs or drips, 2 workers, and phases of seconds instead of half a minute."""
    hang, drip, healthy = context.full_or_short(
        (HANG, DRIP, HEALTHY), (HANG[:3], DRIP[:1], HEALTHY[:3])
    )
    with Stage(context.url(), PENSTOCK_CLUSTER_WORKERS=context.full_or_short(4, 2)) as stage:
        for app_id in hang + drip + healthy:
            stage.install(app_id)
        numbers = [1, *range(len(hang + drip) + 2, len(hang + drip + healthy) + 2)]
        all_healthy, sent = measure_p99(numbers, context, stage, 0)
        stage.set_faults(*make_faults(hang, delay_s=30), *make_faults(drip, drip_s=1))
        with_faulty, more = measure_p99(numbers, context, stage, sent)
        account = next(iter(stage.ledger_lines().values()))
    result.accepted = sent + more
    result.delivered = account["delivered"]
    result.note = (
        f"p99 from accepted to delivered {all_healthy:.2f} s while all are healthy, "
        f"{with_faulty:.2f} s with the faulty vendors; the counts are of one healthy installation"
    )
    # the few samples of the short form are noisy on a machine that is busy with other work
    assert with_faulty <= context.full_or_short(2 * all_healthy, max(2 * all_healthy, NOISE))


def make_faults(app_ids: list[str], **how: float) -> list[dict[str, object]]:
    return [{"match": f'"app_id":"{app_id}"', "times": 0, **how} for app_id in app_ids]


def measure_p99(
    healthy: list[int], context: RowContext, stage: Stage, first: int
) -> tuple[float, int]:
    """Send events for a while; return their p99 in seconds, and the number of events."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sent = send_steadily(stage, context.full_or_short(PHASE, 2.0), first)
    time.sleep(context.full_or_short(5.0, NOISE))
    waits = [wait for each in healthy for wait in latencies(stage, each, since)]
    assert len(waits) == sent * len(healthy)
    return quantiles(waits, n=100)[98], sent


def send_steadily(stage: Stage, seconds: float, first: int) -> int:
    """Send an event every SEND_INTERVAL; return the number of events."""
    started, number = time.monotonic(), 0
    with requests.Session() as web:
        while (now := time.monotonic() - started) < seconds:
            if now < number * SEND_INTERVAL:
                time.sleep(number * SEND_INTERVAL - now)
            message = {
                "event": "Step",
                "userId": f"u{number % 50}",
                "messageId": f"step-{first + number:06}",
            }
            web.post(f"http://{stage.env['PENSTOCK_WEB_BIND']}/v1/track", json=message,
                     headers={"Authorization": f"Bearer {WRITE_KEY}"}, timeout=30)  # fmt: skip
            number += 1
    return number


def latencies(stage: Stage, installation: int, since: str) -> list[float]:
    """Return the seconds from accepted to delivered for each delivery of an installation."""
    found, cursor = [], None
    while True:
        answer = requests.get(
            f"http://{stage.env['PENSTOCK_WEB_BIND']}/v1/admin/deliveries",
            params={"installation": installation, "since": since, "limit": 100}
            | ({"cursor": cursor} if cursor else {}),
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=30,
        ).json()
        found += answer["data"]
        cursor = answer["next_cursor"]
        if not cursor:
            break
    waits = [seconds_of(each) for each in found]
    assert waits
    assert all(wait is not None for wait in waits), "a healthy installation has deliveries left"
    return waits


def seconds_of(delivery: dict) -> float | None:
    if delivery["settled_at"] is None:
        return None
    settled, received = (
        datetime.fromisoformat(at)
        for at in (delivery["settled_at"], delivery["event"]["received_at"])
    )
    return (settled - received).total_seconds()


@row("29", "50 installations at once", short=1, full=1)
def fifty_installations(context: RowContext, result: Result) -> None:
    """2,000 events to each of 50 installations, which makes 100,000 deliveries. The short form
    sends 300 events to each of 10 installations, in requests so small and slow that workers would
    collide on a lane. Each vendor account must hold each event exactly once."""
    installations, events = context.full_or_short((50, 2_000), (10, 300))
    apps = [f"5{number:03}" for number in range(installations - 1)]
    pace = context.full_or_short({}, {"PENSTOCK_BATCH_SIZE": 10})
    with Stage(context.url(), PENSTOCK_CLUSTER_WORKERS=4, **pace) as stage:
        if not context.full:
            stage.set_faults({"delay_s": 0.05, "after": True, "times": 0})
        for app_id in apps:
            stage.install(app_id)
        client = SdkClient(stage)
        with client.sending(threads=2, per_request=100, most=events // 100):
            pass
        started = time.monotonic()
        each_once = [events] * installations
        eventually(lambda: list(stage.events_by_app().values()) == each_once, 300.0)
        result.recovery.append(time.monotonic() - started)
        eventually(lambda: not stage.has_queued(), 60.0)
        for account in stage.ledger_lines().values():
            result.add(account)
            assert account["delivered"] == account["in_scope"] == events
        result.accepted = len(client.accepted)
        # each account receives the same ids once
        result.again = stage.count_repeats() - (installations - 1) * events
        assert result.again == 0, f"{result.again} messages were sent twice"


@row("34", "More vendors hang than the database has connections", short=60, full=150)
def many_hang(context: RowContext, result: Result) -> None:
    """Rounds are installations, and each of their vendors hangs. If each held a connection,
    PostgreSQL would have none left for other work, because it allows 100 by default."""
    url, events = context.url(), 200
    with Stage(url, PENSTOCK_CLUSTER_WORKERS=4) as stage:
        for number in range(context.rounds - 1):
            stage.install(f"6{number:03}")
        stage.set_faults({"delay_s": 5.0, "after": True, "times": 0})
        client = SdkClient(stage)
        with most_connections(url) as most:
            with client.sending(threads=2, per_request=10, most=events // 10):
                pass
            time.sleep(context.full_or_short(20.0, 6.0))
            stage.set_faults()
            each_once = [events] * context.rounds
            eventually(lambda: list(stage.events_by_app().values()) == each_once, 120.0)
        eventually(lambda: not stage.has_queued(), 60.0)
        for account in stage.ledger_lines().values():
            result.add(account)
        result.accepted = len(client.accepted)
        result.again = stage.count_repeats() - (context.rounds - 1) * events
        result.note = f"{most.value:.0f} connections at most, {CONNECTIONS} promised"
        assert client.statuses().keys() == {200}, client.statuses()
        assert most.value <= CONNECTIONS


@row("30", "A million events wait when the vendor comes back", short=5_000, full=1_000_000)
def backlog(context: RowContext, result: Result) -> None:
    """Rounds are events. The last fifth must be delivered as fast as the first, with the same
    memory. The short form has too few events for that, so it only asserts that each is delivered
    exactly once."""
    count = context.rounds
    with Stage(context.url()) as stage:
        stage.send(1)
        eventually(lambda: stage.ledger_line()["delivered"] == 1, 30.0)
        stage.set_faults({"status": 503, "times": 0})
        context.servers.postgres.execute(PILE_SQL.format(count=count), stage.env["DATABASE_URL"])
        context.servers.postgres.execute("ANALYZE", stage.env["DATABASE_URL"])
        stage.set_faults()
        marks, memory = [(time.monotonic(), 0)], []
        while (received := stage.count_received() - 1) < count:
            marks.append((time.monotonic(), received))
            memory.append(largest_worker_memory(stage) / 2**20)
            assert time.monotonic() - marks[0][0] < 60.0 + count / 200
            time.sleep(context.full_or_short(1.0, 0.1))
        marks.append((time.monotonic(), received))
        eventually(lambda: not stage.has_queued(), 60.0)
        account = stage.ledger_line()
        result.add(account)
        result.accepted = count + 1
        result.lost = count + 1 - stage.count_received()
        result.again = stage.count_repeats()
        assert (account["delivered"], result.lost, result.again) == (count + 1, 0, 0), account
    if not context.full:
        return
    first, last = mark_rate(marks, 0.05, 0.25), mark_rate(marks, 0.75, 0.95)
    grown = max(memory[len(memory) // 2 :]) - max(memory[: max(len(memory) // 4, 1)])
    result.recovery.append(marks[-1][0] - marks[0][0])
    result.note = (
        f"{first:,.0f} events/s in the first fifth, {last:,.0f} in the last; "
        f"the largest process grew by {grown:.0f} MB between first and second half"
    )
    assert last >= 0.9 * first
    assert grown <= 32


# Inserts events as ingest stores them, with one tally for all. Their ids follow that of the first
# event.
PILE_SQL = """
WITH first AS (SELECT * FROM delivery_event ORDER BY id LIMIT 1),
new AS (
    INSERT INTO delivery_event (source_id, message_id, type, name, user_id, anonymous_id,
                                "timestamp", received_at, notes, added_context)
    SELECT source_id, 'pile-' || to_char(n, 'FM0000000'), 'track', 'Step', 'user-' || n % 5000,
           '', now(), now(), '', ''
    FROM first, generate_series(1, {count}) AS n ORDER BY n
    RETURNING id, message_id, user_id
),
bodies AS (
    INSERT INTO delivery_eventbody (event_id, text)
    SELECT id, json_build_object('type', 'track', 'event', 'Step', 'userId', user_id, 'messageId',
                                 message_id, 'properties', json_build_object('n', id))::text
    FROM new
),
deliveries AS (
    INSERT INTO delivery_delivery (event_id, installation_id, lane_id, state, queued_at, attempts,
                                   failures, error, reason, notes)
    SELECT new.id, lane.installation_id, lane.id, 'queued', now(), 0, 0, '', '', ''
    FROM new, delivery_lane AS lane ORDER BY new.id
)
INSERT INTO delivery_tally (source_id, at, events, unwanted)
SELECT first.source_id, now(), {count}, json_build_object(lane.installation_id, 0)::text
FROM first, delivery_lane AS lane
"""


def mark_rate(marks: list[tuple[float, int]], start: float, end: float) -> float:
    """Return events/s between two points, given as shares of all events."""
    most = marks[-1][1]
    within = [mark for mark in marks if start * most <= mark[1] <= end * most]
    (t0, n0), (t1, n1) = within[0], within[-1]
    return (n1 - n0) / (t1 - t0)
