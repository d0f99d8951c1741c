"""Vendor behavior: statuses, silence, malformed responses, floods, and Retry-After."""

import gzip
import json
import random
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from email.utils import format_datetime
from unittest.mock import patch

from django.conf import settings
from django.utils import timezone

from delivery.models import AttemptBody, Delivery, Lane
from delivery.outbound import client, retry
from delivery.worker import drain, settle
from tests.faults.registry import POSTGRES, SQLITE, Result, RowContext, row
from tests.faults.support.in_process import (
    InProcessPenstock,
    add_ledger_to,
    in_process_penstock,
    make_tracks,
)
from tests.faults.support.raw_vendor import (
    OK_RESPONSE,
    RawVendor,
    drip_response,
    make_self_signed_certificate,
    never_respond,
    respond_in_turn,
    respond_with_bytes,
    respond_with_status,
)

BOTH = (SQLITE, POSTGRES)
RETRIED_STATUSES = {408, 425, 429, 500, 502, 503, 504}


def published_decision(code: int) -> str:
    """Return the decision that docs/delivery.md documents for a status."""
    if 200 <= code < 300:
        return "delivered"
    if code in (401, 403):
        return "paused"
    return "waits" if code < 400 or code in RETRIED_STATUSES or code >= 500 else "failed"


def decision(lane: Lane, delivery: Delivery) -> str:
    if delivery.state != Delivery.State.QUEUED:
        return delivery.state
    return "paused" if lane.paused else "waits" if lane.due_at else "nothing"


def send_and_decide(
    penstock: InProcessPenstock, vendor: RawVendor, number: int
) -> tuple[str, Lane]:
    """Send one more message; return the decision, and the lane as it was right after it."""
    penstock.send(*make_tracks(1, prefix=f"message-{number}"))
    lane = Lane.objects.get()
    penstock.drain_once(lane.pk)
    lane.refresh_from_db()
    delivery = Delivery.objects.order_by("-pk")[0]
    found = decision(lane, delivery)
    Lane.objects.all().resume()
    vendor.answer = respond_with_bytes(OK_RESPONSE)
    if delivery.state == Delivery.State.QUEUED:
        penstock.drain_once(lane.pk)
    return found, lane


@row("12a", "Every status from 200 to 599", short=40, full=400, on=BOTH, in_process=True)
def statuses(context: RowContext, result: Result) -> None:
    """The decision must be the published one. After an interim 1xx response, the final response
    must not be taken for that to the next request."""
    codes = list(range(200, 600))
    chosen = codes if context.rounds >= len(codes) else random.sample(codes, context.rounds)
    with RawVendor() as vendor, in_process_penstock(vendor.url) as penstock:
        penstock.install()
        for code in chosen:
            vendor.answer = respond_with_status(code)
            found, _ = send_and_decide(penstock, vendor, code)
            assert found == published_decision(code), (
                f"HTTP {code}: {found}, published: {published_decision(code)}"
            )
        for code in (100, 102, 103):
            hint = f"HTTP/1.1 {code} Not yet\r\nLink: </style.css>\r\n\r\n".encode()
            vendor.answer = respond_with_bytes(hint + OK_RESPONSE)
            found, _ = send_and_decide(penstock, vendor, code)
            assert found == "delivered", f"HTTP {code}, then 200: {found}"
        add_ledger_to(result)
    result.rounds = len(chosen) + 3
    result.reasons["refused with 4xx"] = result.failed


def build_response(headers: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode() + body


def drip_a_body(connection: socket.socket) -> None:
    """Send a body without an announced length, one byte every 0.1 s, without end."""
    connection.sendall(build_response(""))
    for _ in range(10_000):
        connection.sendall(b"a")
        time.sleep(0.1)


BROKEN: dict[str, Callable[[socket.socket], None]] = {
    "reset": lambda connection: connection.shutdown(socket.SHUT_RDWR),
    "silent": never_respond,
    "drips": drip_response,
    "body drips": drip_a_body,
    "body cut off": respond_with_bytes(
        build_response("Content-Length: 100\r\n", b"{}"), then_close=True
    ),
    "bad chunk": respond_with_bytes(
        build_response("Transfer-Encoding: chunked\r\n", b"zzz\r\n{}"), then_close=True
    ),
    "not HTTP": respond_with_bytes(b"SSH-2.0-OpenSSH_9.9\r\n", then_close=True),
    "status not a number": respond_with_bytes(b"HTTP/1.1 okay\r\n\r\n", then_close=True),
    "1,000 headers": respond_with_bytes(
        build_response("X-More: 1\r\n" * 1_000 + "Content-Length: 0\r\n")
    ),
    "a header of 100 KB": respond_with_bytes(
        build_response(f"X-Long: {'a' * 100_000}\r\nContent-Length: 0\r\n")
    ),
    "invalid gzip": respond_with_bytes(
        build_response("Content-Encoding: gzip\r\nContent-Length: 4\r\n", b"nope")
    ),
}


@row("12b", "No whole answer: network, TLS, nonsense", short=1, full=1, on=BOTH, in_process=True)
def broken_answers(context: RowContext, result: Result) -> None:
    """Each kind makes the lane wait and record an error that names it; the message is delivered
    afterwards."""
    errors = {}
    with (
        RawVendor() as vendor,
        in_process_penstock(vendor.url) as penstock,
        short_timeouts(context),
    ):
        penstock.install()
        for number, (kind, answer) in enumerate(BROKEN.items()):
            vendor.answer = answer
            found, lane = send_and_decide(penstock, vendor, number)
            assert found == "waits", f"{kind}: {found}"
            errors[kind] = lane.last_error
        with unreachable_urls(context) as addresses:
            for number, (kind, url) in enumerate(addresses.items()):
                found, errors[kind] = decide_unreachable(penstock, url, vendor.url, number)
                assert found == "waits", f"{kind}: {found}"
        add_ledger_to(result)
    assert all(errors.values()), errors
    result.rounds = len(errors)
    result.note = f"kinds: {', '.join(errors)}"


@contextmanager
def short_timeouts(context: RowContext) -> Iterator[None]:
    """Shorten the timeouts of delivery in the short form."""
    if context.full:
        yield
        return
    with (
        patch.multiple(client, READ_TIMEOUT=0.4, CONNECT_TIMEOUT=0.4),
        patch.dict(client.send_request.__kwdefaults__, total=1.0),
    ):
        yield


@contextmanager
def unreachable_urls(context: RowContext) -> Iterator[dict[str, str]]:
    """Yield URLs at which no request gets a response, by kind."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # more than the backlog takes, so the server accepts no more
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with RawVendor() as stopped:
            refused = stopped.url
        plain = stack.enter_context(RawVendor())
        unvouched = stack.enter_context(
            RawVendor(certificate=make_self_signed_certificate(context.folder))
        )
        yield {
            # In CI, a name server that does not respond would take longer than all other kinds.
            **({"unknown host": "http://vendor.invalid"} if context.full else {}),
            "connection refused": refused,
            "no connection": f"http://127.0.0.1:{full.getsockname()[1]}",
            "TLS: not offered": plain.url.replace("http:", "https:"),
            "TLS: self-signed certificate": unvouched.url,
        }


def decide_unreachable(
    penstock: InProcessPenstock, url: str, working_url: str, number: int
) -> tuple[str, str]:
    settings.SANDBOX_URL = url
    penstock.send(*make_tracks(1, prefix=f"away-{number}"))
    lane = Lane.objects.get()
    penstock.drain_once(lane.pk)
    lane.refresh_from_db()
    found = decision(lane, Delivery.objects.order_by("-pk")[0])
    settings.SANDBOX_URL = working_url
    Lane.objects.all().resume()
    penstock.drain_once(lane.pk)
    return found, lane.last_error


@row("11", "Retry-After, to the letter", short=60, full=500, on=BOTH, in_process=True)
def retry_after(context: RowContext, result: Result) -> None:
    """Sends seconds, dates, fractions and invalid values with 429 and 503. The retry must never be
    early and at most 2 s late."""
    dice = random.Random(7)
    early, late, worst = 0, 0, 0.0
    with RawVendor() as vendor, in_process_penstock(vendor.url) as penstock:
        penstock.install()
        for number in range(context.rounds):
            before = timezone.now()
            text, wanted = make_retry_after(dice, number, before)
            vendor.answer = respond_with_status(dice.choice([429, 503]), f"Retry-After: {text}\r\n")
            found, lane = send_and_decide(penstock, vendor, number)
            assert found == "waits", f"{text!r}: {found}"
            wait = (lane.due_at - before).total_seconds()
            early += wait < wanted
            over = wait - max(wanted, retry.RETRY_SCHEDULE[0] * (1 + retry.RETRY_JITTER))
            late, worst = late + (over > 2.0), max(worst, over)
        add_ledger_to(result)
        exact = [
            measure_lateness(penstock, vendor, seconds)
            for seconds in ((1, 2, 3, 30) if context.full else (1,))
        ]
    assert (early, late) == (0, 0), f"{early} early, {late} more than 2 s late"
    assert all(0.0 <= over <= 0.5 for over in exact), f"late by {exact} s"
    result.note = f"none early; at most {max(worst, *exact):.2f} s late; capped at 1 h"


def make_retry_after(dice: random.Random, number: int, now: datetime) -> tuple[str, float]:
    """Return a Retry-After and the seconds that it asks for, counted from now; 0 if invalid."""
    seconds = dice.choice([0, 1, 7, 30, 60, 119, 600, 3_590])
    then = (now + timedelta(seconds=seconds)).replace(microsecond=0)
    kinds = [
        (str(seconds), seconds),
        (f"{seconds}.5", seconds + 0.5),
        (format_datetime(then, usegmt=True), max((then - now).total_seconds(), 0.0)),
        (format_datetime(now - timedelta(days=1), usegmt=True), 0.0),
        (f"-{seconds}", 0.0),
        ("99999999", retry.MAX_RETRY_AFTER),
        *((nonsense, 0.0) for nonsense in ("soon", "", "1e400", "NaN", "0x10")),
    ]
    return kinds[number % len(kinds)]


def measure_lateness(penstock: InProcessPenstock, vendor: RawVendor, seconds: int) -> float:
    """Let the worker wait for a Retry-After; return how many seconds late its request came."""
    arrivals = []

    def busy(connection: socket.socket) -> None:
        arrivals.append(time.monotonic())
        respond_with_status(429, f"Retry-After: {seconds}\r\n")(connection)

    def ready(connection: socket.socket) -> None:
        arrivals.append(time.monotonic())
        connection.sendall(OK_RESPONSE)

    vendor.answer = respond_in_turn(busy, ready)
    penstock.send(*make_tracks(1, prefix=f"exact-{seconds}"))
    drain.drain_lane(Lane.objects.get().pk)
    return arrivals[1] - arrivals[0] - seconds


FLOODS = {
    "10 MB": respond_with_bytes(
        build_response(f"Content-Length: {10**7}\r\n", b"a" * 10**7), then_close=True
    ),
    "1 GB in gzip": respond_with_bytes(
        build_response("Content-Encoding: gzip\r\n", gzip.compress(bytes(10**6)) * 1_000),
        then_close=True,
    ),
    "NUL and half characters": respond_with_bytes(
        build_response("Content-Length: 6\r\n", b"\x00\xff\xfe\xc3\x00a")
    ),
    "a redirect": respond_with_status(302, "Location: http://127.0.0.1:9/elsewhere\r\n"),
    "a redirect to itself": respond_with_status(307, "Location: /api/track\r\n"),
}


@row("17", "Hostile answers", short=1, full=3, on=BOTH, in_process=True)
def hostile(context: RowContext, result: Result) -> None:
    """Memory may grow by at most 50 MB, no response longer than 64 KB may be kept, and no redirect
    may be followed."""
    with RawVendor() as vendor, in_process_penstock(vendor.url) as penstock:
        penstock.install()
        send_and_decide(penstock, vendor, 0)
        before = peak_mb()
        for number in range(context.rounds * len(FLOODS)):
            kind = list(FLOODS)[number % len(FLOODS)]
            vendor.answer, requests = FLOODS[kind], len(vendor.requests)
            started = time.monotonic()
            found, _ = send_and_decide(penstock, vendor, number + 1)
            assert time.monotonic() - started < client.TOTAL_TIMEOUT + 2.0, kind
            assert found in ("delivered", "waits"), f"{kind}: {found}"
            assert len(vendor.requests) == requests + 1 + (found == "waits"), f"{kind}: followed"
        grown = peak_mb() - before
        kept = max(
            len(text) for text in AttemptBody.objects.values_list("response_body", flat=True)
        )
        add_ledger_to(result)
    result.note = f"memory grew by {grown:.0f} MB; at most {kept:,} characters were kept"
    assert grown <= 50
    assert kept <= client.MAX_RESPONSE_BYTES


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


@row("8", "A vendor away for an hour", short=2_000, full=50_000, on=BOTH, in_process=True)
def long_outage(context: RowContext, result: Result) -> None:
    """Rounds are events. The waits are skipped; the schedule and the probes are the real ones."""
    with RawVendor(respond_with_status(503)) as vendor, in_process_penstock(vendor.url) as penstock:
        penstock.install()
        penstock.send(*make_tracks(context.rounds, users=500))
        lane, waited, opened = Lane.objects.get(), 0.0, None
        while waited < 3_600:
            penstock.drain_once(lane.pk)
            lane.refresh_from_db()
            if opened is None and lane.failures == settle.PROBE_AFTER_FAILURES:
                opened = waited
            waited += (lane.due_at - timezone.now()).total_seconds()
            penstock.make_all_due()
        request_count = len(vendor.requests)
        vendor.answer = respond_with_bytes(OK_RESPONSE)
        started = time.monotonic()
        penstock.drain_once(lane.pk)
        while Delivery.objects.filter(state="queued").exists():
            penstock.drain_once(lane.pk)
        result.recovery.append(time.monotonic() - started)
        probes = [count_events(body) for body in vendor.requests[request_count:]].count(1)
        add_ledger_to(result)
    result.note = (
        f"{request_count} requests in the hour; one event at a time after {opened:.0f} s; "
        f"{probes} probe after the return, then all events"
    )
    assert result.delivered == context.rounds
    assert probes <= 2
    assert opened is not None


def count_events(body: bytes) -> int:
    """Return how many events a request carried."""
    return len(json.loads(body)["events"])
