"""Sends streamed responses no faster than their clients read them.

Granian queues whatever it is given, without a limit (2.8.7, measured 2026-11-29), so that a slow
reader would fill the memory. Linux tells how much the client has acknowledged; on other systems
there is no limit.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from struct import Struct
from typing import Any

import psutil
from django.http.response import HttpResponseBase, StreamingHttpResponse
from granian.rsgi import HTTPProtocol, ProtocolClosed

STALL_SECONDS = 30.0  # seconds without progress until a reader is given up
MAX_UNREAD_BYTES = 2_000_000  # of one response
BLOCK_BYTES = 65_536  # parts are joined to about this size
POLL_SECONDS = 0.02
ESTABLISHED = 1  # the state of a connection whose client is there, in tcp_info
TCP_INFO = Struct("<B119xQ")  # tcpi_state and tcpi_bytes_acked of linux/tcp.h

# Key of the other end of the connection; behind a trusted proxy, REMOTE_ADDR is the client's.
CONNECTION = "penstock.connection"

Environ = dict[str, Any]

logger = logging.getLogger(__name__)


def send_stream(
    response: StreamingHttpResponse,
    environ: Environ,
    protocol: HTTPProtocol,
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Send a streamed response. Runs on a thread.

    If it fails or its reader stalls, the connection is cut, because granian would end the response
    as if it were complete.
    """
    with closing(response), client_connection(environ) as connection:
        reader = Reader(connection)
        try:
            transport = protocol.response_stream(response.status_code, list_headers(response))
            for block in join_parts(response):
                asyncio.run_coroutine_threadsafe(send_block(transport, block), loop).result()
                reader.wait_for_room(len(block))
        except (ProtocolClosed, ConnectionError):
            return  # the reader is gone
        except BaseException as error:
            reader.cut()
            if not isinstance(error, TimeoutError):
                raise
            logger.warning("%s: cut, because its reader stalled.", environ["PATH_INFO"])


async def send_block(transport: Any, block: bytes) -> None:
    await transport.send_bytes(block)


class Reader:
    """The client that reads a response."""

    def __init__(self, connection: socket.socket | None):
        self.connection = connection
        self.is_measurable = connection is not None and hasattr(socket, "TCP_INFO")
        self.acknowledged = self._bytes_acknowledged()
        self.unread = 0  # bytes

    def wait_for_room(self, sent: int) -> None:
        """Wait until little of what was sent is unread. Raises TimeoutError, ConnectionError."""
        self.unread += sent
        progress_at = time.monotonic()
        while self.is_measurable and self.unread > MAX_UNREAD_BYTES:
            acknowledged = self._bytes_acknowledged()
            if acknowledged > self.acknowledged:
                self.unread -= acknowledged - self.acknowledged
                self.acknowledged = acknowledged
                progress_at = time.monotonic()
            elif time.monotonic() - progress_at > STALL_SECONDS:
                raise TimeoutError
            else:
                time.sleep(POLL_SECONDS)

    def cut(self) -> None:
        """Close the connection, so that the client sees an incomplete response."""
        if self.connection is not None:
            self.connection.shutdown(socket.SHUT_RDWR)

    def _bytes_acknowledged(self) -> int:
        if self.connection is None or not self.is_measurable:
            return 0
        info = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
        state, acknowledged = TCP_INFO.unpack(info)
        if state != ESTABLISHED:
            raise ConnectionResetError
        return int(acknowledged)


@contextmanager
def client_connection(environ: Environ) -> Iterator[socket.socket | None]:
    """Find the connection of a request among those of this process; granian does not tell."""
    connection = find_connection(environ[CONNECTION])
    try:
        yield connection
    finally:
        if connection is not None:
            connection.close()


def find_connection(client: tuple[str, int]) -> socket.socket | None:
    """Return a copy of the connection to that address and port, or None if there is none."""
    for each in psutil.Process().net_connections("tcp"):
        if each.raddr and tuple(each.raddr) == client:
            # The client may have left since, and another file may have its number.
            connection = copy_socket(each.fd)
            if connection is not None:
                if peer_of(connection) == client:
                    return connection
                connection.close()
    return None


def copy_socket(number: int) -> socket.socket | None:
    """Return a copy of the socket with that file number, or None if it is no socket."""
    try:
        copy = os.dup(number)
    except OSError:
        return None
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None


def peer_of(connection: socket.socket) -> tuple[str, int] | None:
    """Return the address and port of the other end, or None if there is none."""
    try:
        host, port, *_ = connection.getpeername()
    except OSError:
        return None
    return host, port


def list_headers(response: HttpResponseBase) -> list[tuple[str, str]]:
    cookies = (("Set-Cookie", morsel.OutputString()) for morsel in response.cookies.values())
    return [*response.items(), *cookies]


def join_parts(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Join parts into blocks, because sending has a cost for each block."""
    block = bytearray()
    for part in parts:
        block += part
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
