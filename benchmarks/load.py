"""The load generator, which runs as its own process: `python -m benchmarks.load '{"port": …}'`.

All requests are built before the clock starts. Without a rate, every connection sends its next
request as soon as it has the response to the last one. With a rate, requests are due at that rate
whatever the server does (an open model), so the time to wait for a free connection counts.
"""

import json
import os
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from benchmarks.events import messages

AHEAD = 0.5  # seconds before the first request of a constant rate is due
SILENCE = 60.0  # seconds to wait for a response before giving up


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load to send.

    prefix   beginning of the message ids, which are numbered from 0
    rate     events/s, or 0 for as fast as the server answers
    """

    port: int
    prefix: str
    events: int
    per_request: int
    connections: int = 8
    rate: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The result of a load. Every request was answered with 200.

    due   for each request, the Unix time at which it was due
    took  for each request, in no particular order, the seconds from then to its response
    late  the longest delay after `due`, in seconds, because no connection was free
    """

    events: int
    seconds: float
    due: list[float]
    took: list[float]
    late: float


class NotAccepted(Exception):
    """A request was not answered with 200."""


def send(load: Load) -> Sent:
    """Send a load from another process. Raises CalledProcessError if a request was not accepted."""
    command = [sys.executable, "-m", "benchmarks.load", json.dumps(asdict(load))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return Sent(**json.loads(done.stdout))


# --- in the other process ------------------------------------------------------------------------


def main(load: Load) -> None:
    every = messages(load.prefix, load.events)
    calls = [_call(load, group) for group in _groups(every, load.per_request)]
    lines = [Line(load.port) for _ in range(load.connections)]
    start = time.time() + (AHEAD if load.rate else 0.0)
    gap = load.per_request / load.rate if load.rate else 0.0
    due = [start + n * gap for n in range(len(calls))]
    queue = iter(zip(due, calls, strict=True))
    with ThreadPoolExecutor(len(lines)) as pool:
        late = list(pool.map(lambda line: line.work(queue), lines))
    took = [seconds for line in lines for seconds in line.took]
    seconds = time.time() - start
    sent = Sent(events=load.events, seconds=seconds, due=due, took=took, late=max(late))
    print(json.dumps(asdict(sent)))


def _groups(every: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (every[at : at + size] for at in range(0, len(every), size))


def _call(load: Load, group: Sequence[dict[str, Any]]) -> bytes:
    """Return the bytes of a request. A single message goes to the address of its type."""
    if load.per_request == 1:
        path, body = f"/v1/{group[0]['type']}", msgspec.json.encode(group[0])
    else:
        path, body = "/v1/batch", msgspec.json.encode({"batch": group})
    key = b64encode(f"{os.environ['PENSTOCK_WRITE_KEY']}:".encode()).decode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\nAuthorization: Basic {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Line:
    """A persistent connection. It is a plain socket because all processes share two cores."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SILENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.took: list[float] = []

    def work(self, queue: Iterator[tuple[float, bytes]]) -> float:
        """Send requests from the queue until it is empty; return the longest delay in seconds."""
        late = 0.0
        for due, call in queue:
            wait = due - time.time()
            if wait > 0:
                time.sleep(wait)
            late = max(late, -wait)
            self.exchange(call)
            self.took.append(time.time() - due)
        return late

    def exchange(self, call: bytes) -> None:
        """Raises NotAccepted."""
        self.socket.sendall(call)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._more()
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self._more()
        if head.split(maxsplit=2)[1] != b"200":
            raise NotAccepted((head + body).decode(errors="replace"))

    def _more(self) -> bytes:
        received = self.socket.recv(65_536)
        if not received:
            raise NotAccepted("The server closed the connection.")
        return received


if __name__ == "__main__":
    main(Load(**json.loads(sys.argv[1])))
