"""Clients without a key that try to keep the events of others from being accepted."""

import gzip
import math
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import count

import requests

from tests.faults.registry import POSTGRES, SQLITE, Result, RowContext, row
from tests.faults.support.sampler import MaxSampler
from tests.faults.support.sdk_client import SdkClient, assert_delivered_once
from tests.kills.stage import Stage
from tests.support.processes import eventually

OTHERS_SECONDS = 1.0  # seconds within which a request of another client is answered
CLOSED_SECONDS = 35.0  # seconds within which an unfinished request is closed
GROWTH_MB = 10.0  # by which a body over the limit may raise the server's memory
PLAIN, CHUNKED = b"Content-Length: 1000\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n400\r\n{"
UNFINISHED = [
    *[b"POST /v1/track HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "] * 256,
    *[b"POST /v1/track HTTP/1.1\r\nHost: 127.0.0.1\r\n" + PLAIN] * 256,
    *[b"POST /v1/batch HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CHUNKED] * 64,
]


@row("36", "Bodies that are slow to parse", short=1, full=5, on=(POSTGRES, SQLITE))
def slow_to_parse(context: RowContext, result: Result) -> None:
    """Bodies of almost 5 MB, plain and compressed, with starts and repetitions that a backtracking
    parser would take days for. No write key is sent. The time is the slowest response to others."""
    starts = [b'"', b"[" * 70 + b'"', b"", b'{"a":"']
    bodies = [
        start + unit * (4_900_000 // len(unit)) for start in starts for unit in (b'\\"', b"\\")
    ]
    with Stage(context.url()) as stage:

        def attack(_: SdkClient) -> Counter[int]:
            statuses: Counter[int] = Counter()
            for body in bodies * context.rounds:
                for data, headers in (
                    (body, {}),
                    (gzip.compress(body, 1), {"Content-Encoding": "gzip"}),
                ):
                    answer = requests.post(
                        url(stage, "/v1/batch"), data, headers=headers, timeout=60
                    )
                    statuses[answer.status_code] += 1
            return statuses

        statuses = beside_others(stage, context, result, attack)
        assert set(statuses) <= {400, 401}, statuses
        result.note += f"; {statuses.total()} such bodies, each refused"


@row("37", "Hundreds of unfinished requests", short=1, full=3, on=(POSTGRES, SQLITE))
def unfinished_requests(context: RowContext, result: Result) -> None:
    """One address holds 256 unfinished heads, 256 bodies and 64 chunked bodies. The full form waits
    until the server has closed them all. The time is the slowest response to others."""
    with Stage(context.url()) as stage:
        host, _, port = stage.env["PENSTOCK_WEB_BIND"].partition(":")

        def hold(client: SdkClient) -> None:
            held = [socket.create_connection((host, int(port)), timeout=60) for _ in UNFINISHED]
            try:
                for wire, data in zip(held, UNFINISHED, strict=True):
                    wire.sendall(data)
                if context.full:
                    eventually(lambda: all(map(is_closed, held)), CLOSED_SECONDS)
                else:
                    wanted = len(client.answers) + 100
                    eventually(lambda: len(client.answers) > wanted, 60.0)
            finally:
                for wire in held:
                    wire.close()

        def attack(client: SdkClient) -> None:
            for _ in range(context.rounds):
                hold(client)

        beside_others(stage, context, result, attack)


@row("38", "Bodies over the limit", short=1, full=3, on=(POSTGRES, SQLITE))
def bodies_over_the_limit(context: RowContext, result: Result) -> None:
    """Announces 500 MB to addresses that answer anybody, 16 at once, and sends as much of it as
    the server takes, at most 20 MB each."""
    paths = ["/v1/admin/auth/login", "/v1/track", "/admin/login/", "/v1/admin/installations"]
    with Stage(context.url()) as stage:
        requests.post(url(stage, "/v1/track"), b"{}", timeout=60)  # so that all code is loaded
        before = megabytes(stage)

        def attack() -> list[bytes]:
            with ThreadPoolExecutor(16) as threads:
                return list(threads.map(lambda path: send_large(stage, path), paths * 4))

        with MaxSampler(lambda: megabytes(stage) - before, every=0.02) as growth:
            for _ in range(context.rounds):
                statuses = attack()
                assert set(statuses) <= {b"413", b""}, statuses
                assert b"413" in statuses
        result.note = f"413 before the body was read; memory grew by {growth.value:.0f} MB"
        assert growth.value <= GROWTH_MB, result.note


@row("39", "Many logins at once", short=10, full=60, on=(POSTGRES, SQLITE))
def many_logins(context: RowContext, result: Result) -> None:
    """Rounds are seconds in which 16 clients log in with ever new names, in turns to the API and
    the admin. The time is the slowest response to others."""
    with Stage(context.url()) as stage:
        numbers = count()

        def log_in(_: object) -> int:
            body = {"username": f"user-{next(numbers)}", "password": "guess"}
            answer = requests.post(url(stage, "/v1/admin/auth/login"), json=body, timeout=60)
            return answer.status_code

        def attack(_: SdkClient) -> Counter[int]:
            with ThreadPoolExecutor(16) as threads:
                return Counter(threads.map(log_in, range(context.rounds * 100)))

        statuses = beside_others(stage, context, result, attack)
        assert set(statuses) <= {401, 429}, statuses
        assert statuses[401] <= 30 + context.rounds, statuses
        result.note += f"; {statuses[401]} passwords checked, {statuses[429]} logins refused"


def beside_others(
    stage: Stage, context: RowContext, result: Result, attack: Callable[[SdkClient], object]
) -> object:
    """Run the attack while others send; assert that they are served, and return its result."""
    client = SdkClient(stage, pause=0.02)
    with client.sending(threads=4):
        eventually(lambda: len(client.answers) > 20, 30.0)
        first = len(client.answers)
        outcome = attack(client)
        answers = list(client.answers)[first:]
    seconds = sorted(each.ended - each.started for each in answers)
    slowest, p99 = seconds[-1], seconds[math.ceil(len(seconds) * 0.99) - 1]
    result.note = f"others: {len(seconds)} requests, p99 {p99:.2f} s, slowest {slowest:.2f} s"
    assert {each.status for each in answers} == {200}, client.statuses()
    assert not context.full or slowest < OTHERS_SECONDS, result.note
    assert_delivered_once(stage, client.accepted, result)
    return outcome


def send_large(stage: Stage, path: str) -> bytes:
    """Return the status of the response, or b"" if the connection was closed before it was read."""
    host, _, port = stage.env["PENSTOCK_WEB_BIND"].partition(":")
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 500000000\r\n\r\n"
    with closing(socket.create_connection((host, int(port)), timeout=60)) as wire:
        with suppress(ConnectionError):
            wire.sendall(head.encode())
            for _ in range(20):
                wire.sendall(b"a" * 1_000_000)
        with suppress(ConnectionError):
            return wire.recv(12)[9:]
    return b""


def is_closed(wire: socket.socket) -> bool:
    """Return whether the server has closed the connection, after a response or without one."""
    wire.setblocking(False)
    try:
        while wire.recv(65_536):
            pass
        return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def megabytes(stage: Stage) -> float:
    return sum(each.memory_info().rss for each in stage.web_server()) / 1e6


def url(stage: Stage, path: str) -> str:
    return f"http://{stage.env['PENSTOCK_WEB_BIND']}{path}"
