"""Measures each figure. docs/benchmarks.md explains what each figure means.

A floor is measured right after each repetition of Penstock's figure, so that other work on the
machine affects both alike.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from statistics import median
from typing import Any

from benchmarks import floors, hurried, load, report, stack
from benchmarks.load import Load, Sent
from delivery.models import Delivery, Event

TURNS = range(3)
INGEST = {1: 2_000, 100: 20_000}  # number of events to send, by events per request
HURRIED_INGEST = {1: 500, 100: 2_000}
ANSWERS_SECONDS = 20  # duration of the load at half the rate
MEMORY_EVENTS = 100_000  # events between two readings
MEMORY_TURNS = 10
BACKLOG = 50_000
HURRIED_BACKLOG = 2_000
RATE = 500.0  # events/s of the open model
PER_REQUEST = 10  # events per request of the open model
SECONDS = 30  # duration of the open model
HURRIED_SECONDS = 2
FLOOR_TURNS = 300
WARM_UP = 500  # events, so that every worker has handled its first request
EVENT = "bench-event"  # prefix of the ids of measured messages
PATIENCE = 120.0  # seconds to wait for a queue to empty


class Wrong(Exception):
    """An event was lost or sent twice, so the measurement is void."""


def run(names: Sequence[str], *, share: float) -> None:
    """Measure and print the figures, each with this share of the events of a full run."""
    stack.prepare()
    try:
        with stack.sandbox():
            lines = [report.printed(line) for name in names for line in MEASURES[name](share)]
    finally:
        stack.forget_queues()
    report.table(lines)


# --- ingest --------------------------------------------------------------------------------------


def ingest(share: float) -> Iterator[report.Line]:
    """Events/s that the web server answers with 200 while no cluster runs."""
    ours, floor, theirs = {}, {}, {}
    with stack.web() as web:
        warm_up(web.port)  # also creates the lane that the bare server needs
        with stack.bare() as bare:
            send(bare.port, WARM_UP, prefix="warm-up-bare", per_request=1)
            for size in INGEST:
                ours[size], floor[size] = ingest_and_floor(web, bare, size, share)
    with stack.web(stack.HURRIED) as web:
        warm_up(web.port)
        for size, events in HURRIED_INGEST.items():
            theirs[size] = [stored(web.port, hurried.Event, size, events * share) for _ in TURNS]
    for size, events in INGEST.items():
        yield report.line(
            f"ingest, {size} a request",
            "events/s",
            (ours[size], floor[size], theirs[size]),
            events=round(events * share),
            hurried_events=round(HURRIED_INGEST[size] * share),
            stored="every event that was answered with 200",
        )


def ingest_and_floor(
    web: stack.Web, bare: stack.Web, size: int, share: float
) -> list[tuple[float, ...]]:
    """Return the rates of Penstock and of the floor, measured in turns.

    The floor of single events is the bare function; the floor of batches is one connection.
    """
    events = INGEST[size] * share
    turns = [
        (
            stored(web.port, Event, size, events),
            stored(bare.port, Event, 1, events) if size == 1 else floors.ingest(size),
        )
        for _ in TURNS
    ]
    return list(zip(*turns, strict=True))


def stored(port: int, model: Any, per_request: int, events: float) -> float:
    """Return events/s. Raises Wrong if an event that was answered with 200 has no row."""
    stack.clear()
    sent = send(port, round(events), per_request=per_request)
    check("events stored", model.objects.count(), round(events))
    return round(events) / sent.seconds


def answers(share: float) -> Iterator[report.Line]:
    """Seconds to the response at half the load that the web server can handle."""
    with stack.web() as web:
        warm_up(web.port)
        for size, events in INGEST.items():
            rate = median([stored(web.port, Event, size, events * share) for _ in TURNS]) / 2
            stack.clear()
            sent = send(
                web.port,
                round(rate * ANSWERS_SECONDS * share),
                per_request=size,
                rate=rate,
                connections=32,
            )
            for percent in (50, 99):
                yield report.plain(
                    f"answer at half load, {size} a request, p{percent}",
                    "seconds",
                    [percentile(sent.took, percent)],
                    offered_per_s=round(rate),
                    requests=len(sent.took),
                    max_s=round(max(sent.took), 3),
                )


def memory(share: float) -> Iterator[report.Line]:
    """Megabytes of the largest web process as it handles more and more events."""
    with stack.web() as web:
        warm_up(web.port)
        for number in range(1, MEMORY_TURNS + 1):
            stored(web.port, Event, 100, MEMORY_EVENTS * share)
            after = number * round(MEMORY_EVENTS * share)
            yield report.plain(f"memory after {after:,} events", "MB", [web.megabytes()])


# --- delivery ------------------------------------------------------------------------------------


def delivery(share: float) -> Iterator[report.Line]:
    """Deliveries/s from a backlog, between the first settled batch and the last."""
    with stack.web() as web:
        turns = [(delivered(web.port, round(BACKLOG * share)), floors.delivery()) for _ in TURNS]
    with stack.web(stack.HURRIED) as web:
        theirs = [hurried_delivered(web.port, round(HURRIED_BACKLOG * share))]
    ours, floor = zip(*turns, strict=True)
    yield report.line(
        "delivery of a backlog",
        "events/s",
        (ours, floor, theirs),
        events=round(BACKLOG * share),
        hurried_events=round(HURRIED_BACKLOG * share),
        verified="the sandbox holds each id exactly once, and the ledger closes",
    )


def delivered(port: int, events: int) -> float:
    backlog(port, events)
    with stack.cluster():
        wait_for_deliveries()
    verify(events)
    return rate(Delivery.objects.values_list("settled_at", flat=True))


def hurried_delivered(port: int, events: int) -> float:
    backlog(port, events)
    with stack.hurried_cluster():
        wait_for_hurried()
    return rate(hurried.Event.objects.values_list("delivered_at", flat=True))


def backlog(port: int, events: int) -> None:
    stack.clear()
    stack.clear_sink()
    send(port, events, per_request=100)


def rate(moments: Sequence[datetime]) -> float:
    """Return how many per second followed the first moment, which only starts the clock."""
    first, last = min(moments), max(moments)
    return sum(moment > first for moment in moments) / (last - first).total_seconds()


def verify(events: int) -> None:
    """Raises Wrong if an event is lost, arrived twice, or is not accounted for."""
    types = Counter(Event.objects.values_list("type", flat=True))
    check("deliveries", Delivery.objects.filter(state="delivered").count(), events)
    keys = stack.sink("keys")
    check("ids at the sandbox", len(keys), types["track"])
    check("copies of each id at the sandbox", set(keys.values()), {1})
    check("user updates at the sandbox", stack.sink("state")["user_updates"], types["identify"])
    check("the ledger closes", stack.ledger_closes(), True)


# --- latency -------------------------------------------------------------------------------------


def latency(share: float) -> Iterator[report.Line]:
    """Seconds from when an event was due until its delivery was settled, at a constant rate."""
    with stack.web() as web, stack.cluster():
        ours, sent = end_to_end(web.port, SECONDS * share)
    verify(len(ours) + WARM_UP)
    floor = floors.latency(PER_REQUEST, FLOOR_TURNS)
    with stack.web(stack.HURRIED) as web, stack.hurried_cluster():
        theirs = hurried_end_to_end(web.port, HURRIED_SECONDS * share)
    for percent in (50, 99):
        yield report.line(
            f"end to end, p{percent}",
            "seconds",
            [[percentile(seconds, percent)] for seconds in (ours, floor, theirs)],
            events=len(ours),
            hurried_events=len(theirs),
            offered_per_s=RATE,
            delivered=len(ours),
            lost=0,
            max_s=round(max(ours), 3),
            generator_late_s=round(sent.late, 3),
        )


def end_to_end(port: int, lasting: float) -> tuple[list[float], Sent]:
    """Return the seconds that each event took. Raises Wrong if an event is missing."""
    stack.clear()
    stack.clear_sink()
    warm_up(port)
    wait_for_deliveries()
    sent = steady(port, lasting)
    wait_for_deliveries()
    rows = Delivery.objects.values_list("event__message_id", "settled_at")
    return waits(rows, sent), sent


def hurried_end_to_end(port: int, lasting: float) -> list[float]:
    stack.clear()
    warm_up(port)
    wait_for_hurried()
    sent = steady(port, lasting)
    wait_for_hurried()
    return waits(hurried.Event.objects.values_list("message_id", "delivered_at"), sent)


def steady(port: int, lasting: float) -> Sent:
    events = round(RATE * lasting)
    return send(port, events, per_request=PER_REQUEST, rate=RATE, connections=32)


def waits(rows: Iterable[tuple[str, datetime]], sent: Sent) -> list[float]:
    """Return, for each event, the seconds from when it was due until it was settled."""
    ends = {message_id: at.timestamp() for message_id, at in rows}
    starts = {f"{EVENT}-{n}": sent.due[n // PER_REQUEST] for n in range(sent.events)}
    check("finished events", len(ends.keys() & starts.keys()), len(starts))
    return [ends[message_id] - start for message_id, start in starts.items()]


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that this percentage of the values does not exceed."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


# --- shared steps --------------------------------------------------------------------------------


def send(port: int, events: int, *, prefix: str = EVENT, **how: Any) -> Sent:
    return load.send(Load(port=port, prefix=prefix, events=events, **how))


def warm_up(port: int) -> None:
    send(port, WARM_UP, prefix="warm-up", per_request=PER_REQUEST)


def wait_for_deliveries() -> None:
    queued = Delivery.objects.filter(state="queued")
    stack.wait_until(lambda: not queued.exists(), seconds=PATIENCE, what="everything is delivered")


def wait_for_hurried() -> None:
    """Raises Wrong if the sandbox refused an event, since refusals are faster than deliveries."""
    queued = hurried.Event.objects.filter(delivered_at=None)
    stack.wait_until(lambda: not queued.exists(), seconds=PATIENCE, what="everything is delivered")
    check("refused", hurried.Event.objects.exclude(status="delivered").count(), 0)


def check(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise Wrong(f"{what}: {found}, not {expected}")


MEASURES = {
    "ingest": ingest,
    "answers": answers,
    "memory": memory,
    "delivery": delivery,
    "latency": latency,
}
