"""What vendors do to us: statuses, silence, nonsense, floods, and what they ask for."""

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
from tests.faults.registry import POSTGRES, SQLITE, Place, Result, row
from tests.faults.support.in_process import Inside, at, close_books, tracks
from tests.faults.support.raw_vendor import (
    OK,
    Wire,
    bytes_of,
    drip,
    in_turn,
    self_signed,
    silence,
    status,
)

BOTH = (SQLITE, POSTGRES)
WAITS = {408, 425, 429, 500, 502, 503, 504}


def published(code: int) -> str:
    """Return what docs/delivery.md says of a status."""
    if 200 <= code < 300:
        return "delivered"
    if code in (401, 403):
        return "paused"
    return "waits" if code < 400 or code in WAITS or code >= 500 else "failed"


def decision(lane: Lane, delivery: Delivery) -> str:
    if delivery.state != Delivery.State.QUEUED:
        return delivery.state
    return "paused" if lane.paused else "waits" if lane.due_at else "nothing"


def decided(inside: Inside, wire: Wire, number: int) -> tuple[str, Lane]:
    """Send one more message; return what was decided, with the lane as it was then."""
    inside.send(*tracks(1, prefix=f"message-{number}"))
    lane = Lane.objects.get()
    inside.once(lane.pk)
    lane.refresh_from_db()
    delivery = Delivery.objects.order_by("-pk")[0]
    found = decision(lane, delivery)
    Lane.objects.all().resume()
    wire.answer = bytes_of(OK)
    if delivery.state == Delivery.State.QUEUED:
        inside.once(lane.pk)
    return found, lane


@row("12a", "Every status from 200 to 599", short=40, full=400, on=BOTH, inside=True)
def statuses(place: Place, result: Result) -> None:
    """The decision is the published one, and the next answer is never taken for this one's."""
    codes = list(range(200, 600))
    chosen = codes if place.rounds >= len(codes) else random.sample(codes, place.rounds)
    with Wire() as wire, at(wire.url) as inside:
        inside.install()
        for code in chosen:
            wire.answer = status(code)
            found, _ = decided(inside, wire, code)
            assert found == published(code), f"HTTP {code}: {found}, published: {published(code)}"
        for code in (100, 102, 103):
            hint = f"HTTP/1.1 {code} Not yet\r\nLink: </style.css>\r\n\r\n".encode()
            wire.answer = bytes_of(hint + OK)
            found, _ = decided(inside, wire, code)
            assert found == "delivered", f"HTTP {code}, then 200: {found}"
        close_books(result)
    result.rounds = len(chosen) + 3
    result.reasons["refused with 4xx"] = result.failed


def whole(headers: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode() + body


def drip_a_body(connection: socket.socket) -> None:
    """A body of no announced length, one byte each tenth of a second, for ever."""
    connection.sendall(whole(""))
    for _ in range(10_000):
        connection.sendall(b"a")
        time.sleep(0.1)


BROKEN: dict[str, Callable[[socket.socket], None]] = {
    "reset": lambda connection: connection.shutdown(socket.SHUT_RDWR),
    "silent": silence,
    "drips": drip,
    "body drips": drip_a_body,
    "body cut off": bytes_of(whole("Content-Length: 100\r\n", b"{}"), then_close=True),
    "bad chunk": bytes_of(whole("Transfer-Encoding: chunked\r\n", b"zzz\r\n{}"), then_close=True),
    "no HTTP": bytes_of(b"SSH-2.0-OpenSSH_9.9\r\n", then_close=True),
    "no number for a status": bytes_of(b"HTTP/1.1 okay\r\n\r\n", then_close=True),
    "1,000 headers": bytes_of(whole("X-More: 1\r\n" * 1_000 + "Content-Length: 0\r\n")),
    "a header of 100 KB": bytes_of(whole(f"X-Long: {'a' * 100_000}\r\nContent-Length: 0\r\n")),
    "gzip that is none": bytes_of(
        whole("Content-Encoding: gzip\r\nContent-Length: 4\r\n", b"nope")
    ),
}


@row("12b", "No whole answer: network, TLS, nonsense", short=1, full=1, on=BOTH, inside=True)
def broken_answers(place: Place, result: Result) -> None:
    """Each kind makes the lane wait, with words that name it, and is delivered afterwards."""
    said = {}
    with Wire() as wire, at(wire.url) as inside, patience(place):
        inside.install()
        for number, (kind, answer) in enumerate(BROKEN.items()):
            wire.answer = answer
            found, lane = decided(inside, wire, number)
            assert found == "waits", f"{kind}: {found}"
            said[kind] = lane.last_error
        with unreachable(place) as addresses:
            for number, (kind, url) in enumerate(addresses.items()):
                found, said[kind] = refused_at(inside, url, wire.url, number)
                assert found == "waits", f"{kind}: {found}"
        close_books(result)
    assert all(said.values()), said
    result.rounds = len(said)
    result.note = f"kinds: {', '.join(said)}"


@contextmanager
def patience(place: Place) -> Iterator[None]:
    """In CI nobody waits as long as delivery does."""
    if place.full:
        yield
        return
    with (
        patch.multiple(client, READ=0.4, CONNECT=0.4),
        patch.dict(client.send.__kwdefaults__, total=1.0),
    ):
        yield


@contextmanager
def unreachable(place: Place) -> Iterator[dict[str, str]]:
    """Give addresses that no exchange comes of."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # more than its backlog takes: it hears no more
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with Wire() as gone:
            refused = gone.url
        plain = stack.enter_context(Wire())
        unvouched = stack.enter_context(Wire(certificate=self_signed(place.folder)))
        yield {
            # in CI a name server that does not answer would cost more than all the others
            **({"unknown host": "http://vendor.invalid"} if place.full else {}),
            "connection refused": refused,
            "no connection": f"http://127.0.0.1:{full.getsockname()[1]}",
            "TLS: none there": plain.url.replace("http:", "https:"),
            "TLS: a certificate of nobody": unvouched.url,
        }


def refused_at(inside: Inside, url: str, well: str, number: int) -> tuple[str, str]:
    settings.SANDBOX_URL = url
    inside.send(*tracks(1, prefix=f"away-{number}"))
    lane = Lane.objects.get()
    inside.once(lane.pk)
    lane.refresh_from_db()
    found = decision(lane, Delivery.objects.order_by("-pk")[0])
    settings.SANDBOX_URL = well
    Lane.objects.all().resume()
    inside.once(lane.pk)
    return found, lane.last_error


@row("11", "Retry-After, to the letter", short=60, full=500, on=BOTH, inside=True)
def retry_after(place: Place, result: Result) -> None:
    """Seconds, dates, fractions, nonsense; on 429 and 503. Never early, at most 2 s late."""
    dice = random.Random(7)
    early, late, worst = 0, 0, 0.0
    with Wire() as wire, at(wire.url) as inside:
        inside.install()
        for number in range(place.rounds):
            before = timezone.now()
            text, wanted = asking(dice, number, before)
            wire.answer = status(dice.choice([429, 503]), f"Retry-After: {text}\r\n")
            found, lane = decided(inside, wire, number)
            assert found == "waits", f"{text!r}: {found}"
            wait = (lane.due_at - before).total_seconds()
            early += wait < wanted
            over = wait - max(wanted, retry.SCHEDULE[0] * (1 + retry.JITTER))
            late, worst = late + (over > 2.0), max(worst, over)
        close_books(result)
        exact = [
            waited_for(inside, wire, seconds) for seconds in ((1, 2, 3, 30) if place.full else (1,))
        ]
    assert (early, late) == (0, 0), f"{early} early, {late} more than 2 s late"
    assert all(0.0 <= over <= 0.5 for over in exact), f"late by {exact} s"
    result.note = f"none early; at worst {max(worst, *exact):.2f} s late; longer than 1 h is 1 h"


def asking(dice: random.Random, number: int, now: datetime) -> tuple[str, float]:
    """Return a Retry-After and the seconds that it asks for, from now on; 0 when unreadable."""
    seconds = dice.choice([0, 1, 7, 30, 60, 119, 600, 3_590])
    then = (now + timedelta(seconds=seconds)).replace(microsecond=0)
    kinds = [
        (str(seconds), seconds),
        (f"{seconds}.5", seconds + 0.5),
        (format_datetime(then, usegmt=True), max((then - now).total_seconds(), 0.0)),
        (format_datetime(now - timedelta(days=1), usegmt=True), 0.0),
        (f"-{seconds}", 0.0),
        ("99999999", retry.LONGEST),
        *((nonsense, 0.0) for nonsense in ("soon", "", "1e400", "NaN", "0x10")),
    ]
    return kinds[number % len(kinds)]


def waited_for(inside: Inside, wire: Wire, seconds: int) -> float:
    """Have the worker wait it out; return how late it came, in seconds."""
    asked = []

    def busy(connection: socket.socket) -> None:
        asked.append(time.monotonic())
        status(429, f"Retry-After: {seconds}\r\n")(connection)

    def well(connection: socket.socket) -> None:
        asked.append(time.monotonic())
        connection.sendall(OK)

    wire.answer = in_turn(busy, well)
    inside.send(*tracks(1, prefix=f"exact-{seconds}"))
    drain.drain(Lane.objects.get().pk)
    return asked[1] - asked[0] - seconds


FLOODS = {
    "10 MB": bytes_of(whole(f"Content-Length: {10**7}\r\n", b"a" * 10**7), then_close=True),
    "1 GB in gzip": bytes_of(
        whole("Content-Encoding: gzip\r\n", gzip.compress(bytes(10**6)) * 1_000), then_close=True
    ),
    "NUL and half characters": bytes_of(whole("Content-Length: 6\r\n", b"\x00\xff\xfe\xc3\x00a")),
    "a redirect": status(302, "Location: http://127.0.0.1:9/elsewhere\r\n"),
    "a redirect to itself": status(307, "Location: /api/track\r\n"),
}


@row("17", "Hostile answers", short=1, full=3, on=BOTH, inside=True)
def hostile(place: Place, result: Result) -> None:
    """Memory grows by at most 50 MB, nothing longer than 64 KB is kept, nothing is followed."""
    with Wire() as wire, at(wire.url) as inside:
        inside.install()
        decided(inside, wire, 0)
        before = peak_mb()
        for number in range(place.rounds * len(FLOODS)):
            kind = list(FLOODS)[number % len(FLOODS)]
            wire.answer, requests = FLOODS[kind], len(wire.requests)
            started = time.monotonic()
            found, _ = decided(inside, wire, number + 1)
            assert time.monotonic() - started < client.TOTAL + 2.0, kind
            assert found in ("delivered", "waits"), f"{kind}: {found}"
            assert len(wire.requests) == requests + 1 + (found == "waits"), f"{kind}: followed"
        grown = peak_mb() - before
        kept = max(
            len(text) for text in AttemptBody.objects.values_list("response_body", flat=True)
        )
        close_books(result)
    result.note = f"memory grew by {grown:.0f} MB; {kept:,} characters kept at most"
    assert grown <= 50
    assert kept <= client.MAX_ANSWER


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


@row("8", "A vendor away for an hour", short=2_000, full=50_000, on=BOTH, inside=True)
def long_outage(place: Place, result: Result) -> None:
    """Rounds are events. The waits are cut short; the schedule and the probes are the real ones."""
    with Wire(status(503)) as wire, at(wire.url) as inside:
        inside.install()
        inside.send(*tracks(place.rounds, users=500))
        lane, waited, opened = Lane.objects.get(), 0.0, None
        while waited < 3_600:
            inside.once(lane.pk)
            lane.refresh_from_db()
            if opened is None and lane.failures == settle.OPEN_AFTER:
                opened = waited
            waited += (lane.due_at - timezone.now()).total_seconds()
            inside.later()
        asked = len(wire.requests)
        wire.answer = bytes_of(OK)
        started = time.monotonic()
        inside.once(lane.pk)
        while Delivery.objects.filter(state="queued").exists():
            inside.once(lane.pk)
        result.recovery.append(time.monotonic() - started)
        probes = [carried(body) for body in wire.requests[asked:]].count(1)
        close_books(result)
    result.note = (
        f"{asked} requests in the hour; one event at a time after {opened:.0f} s; "
        f"{probes} probe after the return, then all"
    )
    assert result.delivered == place.rounds
    assert probes <= 2
    assert opened is not None


def carried(body: bytes) -> int:
    """Return how many events a request carried."""
    return len(json.loads(body)["events"])
