"""Sockets: HTTP/1.1 with keep-alive, each response in one send, resets and slow responses."""

import os
import socket
import struct
import sys
import zlib
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from threading import Event
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from integrations.destinations.heap.sandbox.exchange import CallRejected, SandboxAnswer, SandboxCall

MAX_BODY_BYTES = 64 * 2**20  # bytes, unpacked; Heap documents no limit
IDLE_TIMEOUT = 300  # seconds until an idle connection is closed


class Listener(ThreadingMixIn, TCPServer):
    """Serves each connection in a thread that ends with the process.

    Not http.server's HTTPServer, because that one looks up its own host name, which can take
    seconds.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self, host: str, port: int, answer: Callable[[SandboxCall], SandboxAnswer], closing: Event
    ) -> None:
        self.answer, self.closing = answer, closing
        self._open: set[Any] = set()
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close(self) -> None:
        """Stop listening and close every connection."""
        self.server_close()
        for connection in tuple(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # already closed

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors, except from clients that hang up, as tests often do."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_TIMEOUT
    server: Listener

    def do_GET(self) -> None:
        try:
            answer = self.server.answer(self._call())
        except CallRejected as refusal:
            # The rest of the body may still arrive and must not be read as a request.
            self.close_connection = True
            answer = SandboxAnswer.text(str(refusal), status=refusal.status)
        self._reset() if answer.cut else self._send(answer)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815, names of the base class

    def _call(self) -> SandboxCall:
        """Read the request. Raises CallRejected; Heap documents none of these errors."""
        url = urlsplit(self.path)
        return SandboxCall(
            method=self.command,
            path=url.path,
            query=dict(parse_qsl(url.query)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self._body(),
            base_url=f"http://{self.headers.get('Host', 'localhost')}",
        )

    def _body(self) -> bytes:
        if "Transfer-Encoding" in self.headers:
            raise CallRejected("The sandbox requires a Content-Length", status=411)
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal():
            raise CallRejected("Bad Content-Length")
        if int(length) > MAX_BODY_BYTES:
            raise CallRejected(f"The sandbox accepts at most {MAX_BODY_BYTES} bytes", status=413)
        body = self.rfile.read(int(length))
        return decompress_gzip(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, answer: SandboxAnswer) -> None:
        payload = self._payload(answer)
        if not answer.drip_s:
            self.connection.sendall(payload)
            return
        for byte in payload:
            if self.server.closing.wait(answer.drip_s):
                return
            self.connection.sendall(bytes([byte]))

    def _payload(self, answer: SandboxAnswer) -> bytes:
        """Return head and body as one piece: a second send would wait for an ACK (40 ms)."""
        body = b"" if answer.status in (204, 304) else answer.body
        headers = {
            "Date": formatdate(usegmt=True),
            "Server": "penstock-heap-sandbox",
            "Content-Type": answer.content_type,
            "Content-Length": str(len(body)),
            **({"Connection": "close"} if self.close_connection else {}),
            **{name.title(): value for name, value in answer.headers.items()},
        }
        if headers.get("Connection") == "close":
            self.close_connection = True
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return (
            f"HTTP/1.1 {answer.status} {reason_phrase(answer.status)}\r\n{head}\r\n".encode() + body
        )

    def _reset(self) -> None:
        """Close so that the client receives an RST instead of the end of a stream."""
        linger_not = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        os.close(self.connection.detach())
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing, because /_sandbox/ shows the requests."""


def reason_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def decompress_gzip(body: bytes) -> bytes:
    """Unpack a gzip body. Raises CallRejected. Heap does not document that it accepts gzip."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise CallRejected(f"The body is not gzip: {error}") from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise CallRejected("The gzip body is truncated, or too large when unpacked", status=413)
    return plain
