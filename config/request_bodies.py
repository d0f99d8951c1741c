"""Reads request bodies in the server's event loop, within limits of size, time and memory."""

import asyncio
from typing import Any

from granian.rsgi import HTTPProtocol, ProtocolClosed

from config.body_limits import is_ingest_path, max_body_bytes

BODY_SECONDS = 30.0  # seconds in which a whole body must arrive
SMALL_BODY_BYTES = 65_536  # larger bodies are counted
MAX_HELD_BYTES = 128_000_000  # of larger bodies in a process, until their requests are answered
# Of the bytes that are held, how many may be counted before they arrive, by their Content-Length.
# Such a body is read in one step, which takes half the time, but may never arrive.
MAX_AWAITED_BYTES = 32_000_000

Environ = dict[str, Any]


class BodyRefused(Exception):
    """A body that cannot be read. The status, code and text are the response."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status = status
        self.code = code


class HeldBytes:
    """How many bytes of large bodies this process holds. Only the event loop changes it.

    awaited  bytes of the total that were counted before they arrived
    """

    def __init__(self) -> None:
        self.total = 0
        self.awaited = 0


class RequestBody:
    """The body of one request."""

    def __init__(self, environ: Environ, protocol: HTTPProtocol, held: HeldBytes):
        self.environ = environ
        self.protocol = protocol
        self.held = held
        self.counted = 0  # bytes that are part of `held`
        self.deadline = 0.0  # by the event loop's clock

    async def read(self) -> bytes:
        """Return the body, and set CONTENT_LENGTH if it was sent in chunks.

        A body over the limit of its path is not read to its end: the result is b"", and Django
        responds 413 because of CONTENT_LENGTH. Call `release` after the response.

        Raises BodyRefused.
        """
        is_chunked = self.environ.pop("HTTP_TRANSFER_ENCODING", None) is not None
        length = int(self.environ.get("CONTENT_LENGTH") or 0)
        limit = max_body_bytes(self.environ["PATH_INFO"])
        if not is_chunked and (length == 0 or length > limit):
            return b""
        self.deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            if is_chunked:
                return await self._read_chunked(limit)
            if length <= SMALL_BODY_BYTES:
                return await self._in_time(self.protocol())
            if self.held.awaited + length <= MAX_AWAITED_BYTES:
                return await self._read_awaited(length)
            return await self._read_counted(limit, length)
        except asyncio.CancelledError:
            raise _too_slow(self.environ["PATH_INFO"]) from None
        except ProtocolClosed:
            raise BodyRefused(400, "incomplete_body", "The body is incomplete.") from None

    def release(self) -> None:
        """Stop counting the body, because its request is answered."""
        self.held.total -= self.counted
        self.counted = 0

    async def _read_awaited(self, length: int) -> bytes:
        self._count(length)
        self.held.awaited += length
        try:
            return await self._in_time(self.protocol())
        finally:
            self.held.awaited -= length

    async def _read_chunked(self, limit: int) -> bytes:
        """Return a body without a Content-Length, and set it.

        Granian does not report whether the last chunk arrived (2.8.7). That is harmless for JSON,
        plain or compressed, because its end cannot be missing unnoticed. A form could be cut.
        """
        if self.environ["PATH_INFO"].startswith("/admin/"):
            raise BodyRefused(411, "length_required", "Send the form with a Content-Length.")
        body = await self._read_counted(limit)
        if not self.counted:
            message = "The body is empty. Send Content-Length: 0 for a request without a body."
            raise BodyRefused(400, "incomplete_body", message)
        self.environ["CONTENT_LENGTH"] = str(self.counted)
        return body

    async def _read_counted(self, limit: int, length: int | None = None) -> bytes:
        """Return the body, or b"" once it is over the limit."""
        parts = []
        arriving = aiter(self.protocol)
        while part := await self._next_part(arriving):
            self._count(len(part))
            if self.counted > limit:
                return b""
            parts.append(part)
        if length is not None and self.counted < length:
            raise ProtocolClosed
        return b"".join(parts)

    def _count(self, size: int) -> None:
        self.counted += size
        self.held.total += size
        if self.held.total > MAX_HELD_BYTES:
            message = "The server is reading too many large bodies. Retry the request."
            raise BodyRefused(503, "unavailable", message)

    async def _next_part(self, arriving: Any) -> bytes:
        try:
            return bytes(await self._in_time(anext(arriving)))
        except StopAsyncIteration:
            return b""

    async def _in_time(self, reading: Any) -> bytes:
        """Await granian's future, and cancel it at the deadline, which closes the connection.

        asyncio.timeout() would not work, because granian's tasks cannot be cancelled.
        """
        timer = asyncio.get_running_loop().call_at(self.deadline, reading.cancel)
        try:
            body: bytes = await reading
            return body
        finally:
            timer.cancel()


def _too_slow(path: str) -> BodyRefused:
    """Return the refusal of a body that did not arrive in time.

    SDKs must send again what a slow network delayed, and analytics-android deletes its batch on
    every 4xx except 429. So ingest does not respond with 408.
    """
    message = f"The body was not complete after {BODY_SECONDS:.0f} s."
    if is_ingest_path(path):
        return BodyRefused(503, "unavailable", f"{message} Nothing was stored.")
    return BodyRefused(408, "incomplete_body", message)
