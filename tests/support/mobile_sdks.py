"""What Segment's SDKs for Android and Kotlin put on the wire, sent by a socket of our own.

The facts are from the sources of analytics-android 4.11 and analytics-kotlin 1.13 (2026-11). Both
use Java's HttpURLConnection with `setChunkedStreamingMode(0)` and write through a GZIPOutputStream,
so that no request has a Content-Length. Newer versions of analytics-kotlin use OkHttp and send one
(https://github.com/segmentio/analytics-kotlin/pull/281).
"""

import gzip
import json
import socket
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

SENT_AT = "2026-11-28T10:00:00.000Z"


@dataclass(frozen=True)
class MobileSdk:
    """One SDK on one platform.

    settings_path  what it fetches first, with {key}
    headers        of an upload, in the order of the wire, with {basic} and {length}
    end            the end of its batch, with {key}
    chunk_bytes    the largest chunk: 8,192 is OkHttp's segment, on Android; 4,096 less the chunk's
                   own frame is the JDK's; 0 for a body with a length
    """

    name: str
    settings_path: str
    path: str
    headers: tuple[tuple[str, str], ...]
    end: str
    chunk_bytes: int

    @property
    def fetch_headers(self) -> list[tuple[str, str]]:
        """Return the headers of a request without a body and without a key."""
        of_uploads = ("Authorization", "Content-Encoding", "Transfer-Encoding", "Content-Length")
        return [each for each in self.headers if each[0] not in of_uploads]

    def batch(self, messages: Sequence[dict[str, Any]], key: str) -> bytes:
        texts = ",".join(json.dumps(each, separators=(",", ":")) for each in messages)
        return (f'{{"batch":[{texts}' + self.end.replace("{key}", key)).encode()

    def request(self, messages: Sequence[dict[str, Any]], key: str) -> Iterator[bytes]:
        """Yield the parts of an upload as the SDK writes them."""
        packed = gzip.compress(self.batch(messages, key))
        known = {"basic": b64encode(f"{key}:".encode()).decode(), "length": len(packed)}
        lines = [f"{name}: {value.format(**known)}" for name, value in self.headers]
        yield "\r\n".join([f"POST {self.path} HTTP/1.1", *lines, "", ""]).encode()
        if not self.chunk_bytes:
            yield packed
            return
        yield frame(packed[:10])  # GZIPOutputStream writes its header when it is opened
        for at in range(10, len(packed), self.chunk_bytes):
            yield frame(packed[at : at + self.chunk_bytes])
        yield b"0\r\n\r\n"


def frame(part: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(part), part)


ANDROID = MobileSdk(
    name="analytics-android",
    settings_path="/v1/projects/{key}/settings",
    path="/v1/import",
    headers=(
        ("Content-Type", "application/json"),
        ("User-Agent", "analytics-android/4.11.3"),
        ("Authorization", "Basic {basic}"),
        ("Content-Encoding", "gzip"),
        ("Transfer-Encoding", "chunked"),
        ("Host", "127.0.0.1"),
        ("Connection", "Keep-Alive"),
        ("Accept-Encoding", "gzip"),
    ),
    end=f'],"sentAt":"{SENT_AT}"}}',
    chunk_bytes=8_192,
)
KOTLIN = MobileSdk(
    name="analytics-kotlin",
    settings_path="/v1/projects/{key}/settings",
    path="/v1/b",
    headers=(
        ("User-Agent", "analytics-kotlin/1.13.3"),
        ("Content-Type", "text/plain"),
        ("Content-Encoding", "gzip"),
        ("Host", "127.0.0.1"),
        ("Accept", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"),
        ("Connection", "keep-alive"),
        ("Transfer-Encoding", "chunked"),
    ),
    end=f'],"sentAt":"{SENT_AT}","writeKey":"{{key}}"}}',
    chunk_bytes=4_088,
)
KOTLIN_ON_OKHTTP = replace(
    KOTLIN,
    name="analytics-kotlin-okhttp",
    headers=(
        ("User-Agent", "analytics-kotlin/1.13.3"),
        ("Content-Encoding", "gzip"),
        ("Content-Type", "text/plain"),
        ("Content-Length", "{length}"),
        ("Host", "127.0.0.1"),
        ("Connection", "Keep-Alive"),
        ("Accept-Encoding", "gzip"),
    ),
    chunk_bytes=0,
)
SDKS = (ANDROID, KOTLIN, KOTLIN_ON_OKHTTP)


def fetch(wire: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one response; return its status, its headers in lower case, and its body."""
    with wire.makefile("rb") as lines:
        status = int(lines.readline().split()[1])
        headers = {}
        while line := lines.readline().strip().decode():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, lines.read(int(headers["content-length"]))


def upload(
    sdk: MobileSdk, port: int, key: str, messages: Sequence[dict[str, Any]]
) -> tuple[int, dict[str, str], bytes]:
    """Upload a batch, each part in a packet of its own; return the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in sdk.request(messages, key):
            wire.sendall(part)
        return fetch(wire)
