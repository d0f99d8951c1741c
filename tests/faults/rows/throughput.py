"""Throughput and latency that `benchmarks/` does not measure."""

import re
import time
from contextlib import ExitStack
from socket import socket
from statistics import median, quantiles

from tests.faults.registry import Result, RowContext, row
from tests.faults.rows.isolation import latencies, mark_rate, send_steadily
from tests.faults.rows.replays import utc_now
from tests.faults.rows.workers import is_all_settled
from tests.faults.support.bare_penstock import BarePenstock
from tests.faults.support.in_process import make_tracks
from tests.faults.support.raw_vendor import OK_RESPONSE, RawVendor
from tests.kills.stage import Stage
from tests.support.processes import eventually

WORKERS = 4
IDLE = 30.0  # seconds of two events a second
P50, P99 = 0.25, 1.5  # seconds from accepted to delivered
SINGLE = 500.0  # requests/s with one event each
BATCHED = 0.5  # statements per event, from ingest to settled
STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (?!BEGIN|COMMIT|SET|SELECT 1$)")


@row("24", "One request an event, an idle system, statements an event", short=1_000, full=5_000)
def speed(context: RowContext, result: Result) -> None:
    """Rounds are events. benchmarks/run.py measures ingest, bulk delivery and latency under load.
    This row measures the rest, including four lanes with calls that have no bulk form. The short
    form only counts the statements and checks that all events arrive."""
    url = context.url()
    context.servers.postgres.execute(
        f"ALTER DATABASE {url.rpartition('/')[2]} SET log_statement = 'all'"
    )
    with Stage(url, PENSTOCK_CLUSTER_WORKERS=WORKERS) as stage:
        started = utc_now()
        sent = send_steadily(stage, context.full_or_short(IDLE, 2.0), 900_000)  # ids of its own
        eventually(lambda: stage.count_received() == sent, 30.0)
        time.sleep(2.0)
        waits = latencies(stage, 1, started)

        before = statements(context)
        stage.send(context.rounds, users=500)
        eventually(lambda: stage.count_received() == sent + context.rounds, 120.0)
        each = (statements(context) - before) / context.rounds

        account = stage.ledger_line()
        result.add(account)
        result.accepted = account["in_scope"]
    a_second = linked(context, result)
    p99 = quantiles(waits, n=100)[98]
    result.note = (
        f"{a_second:,.0f} requests/s of one event each by four workers; an idle system delivers "
        f"within {median(waits):.3f} s (p50) and {p99:.3f} s (p99); {each:.2f} statements per "
        "event in requests of 100, including those of the supervisor"
    )
    assert each <= BATCHED
    if context.full:
        assert median(waits) <= P50
        assert p99 <= P99
        assert a_second >= SINGLE


def linked(context: RowContext, result: Result) -> float:
    """Link as many visitors to users as there are rounds, each with a call of its own. The vendor
    responds at once; four workers deliver one lane each. Return calls/s."""
    marks: list[tuple[float, int]] = []

    def count(connection: socket) -> None:
        if b'"events"' not in vendor.requests[-1]:
            marks.append((time.monotonic(), len(marks)))
        connection.sendall(OK_RESPONSE)

    with RawVendor(count) as vendor, ExitStack() as workers:
        penstock = BarePenstock(context.url(), vendor.url, lanes=WORKERS)
        people = context.full_or_short(context.rounds, 200)
        batch = make_tracks(people, users=people, prefix="arrival")
        penstock.send(*({**each, "anonymousId": f"visitor-{each['userId']}"} for each in batch))
        for number in range(WORKERS):
            workers.enter_context(penstock.worker(f"worker-{number}"))
        eventually(lambda: len(marks) >= people, 120.0)
        eventually(lambda: is_all_settled(penstock), 60.0)
        penstock.add_ledger_to(result)
    return mark_rate(marks, 0.1, 0.9)


def statements(context: RowContext) -> int:
    """Return how many statements were logged so far, except transaction control and the like."""
    text = (context.servers.postgres.folder / "log").read_text(errors="replace")
    return len(STATEMENT.findall(text))
