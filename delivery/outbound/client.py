"""send_request(): the only place that opens a connection to a vendor."""

import http.client
import math
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3
from requests import Session as Session  # for those who hold one
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from delivery.outbound.addresses import resolve_allowed_addresses
from integrations.destination import Request, Response
from integrations.errors import VendorUnavailable

CONNECT_TIMEOUT = 3.05  # seconds
READ_TIMEOUT = 10.0  # seconds between two bytes
TOTAL_TIMEOUT = 15.0  # seconds for the whole exchange; leases.LEASE_DURATION must outlast it
MAX_RESPONSE_BYTES = 65_536  # bytes that are read and kept of an answer
POOL_CONNECTIONS = 32  # connections to one host that are kept
USER_AGENT = "Penstock/0.1"


_thread = threading.local()  # .connections: what the exchange of this thread has opened or reused


class _ResponseHead:
    """The head of an answer, line by line: http.client takes a head cut off in the middle for
    whole, and an answer that never came for an empty one."""

    def __init__(self, file: Any):
        self.file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self.file.readline(limit)
        if not line.endswith(b"\n") and len(line) != limit:
            raise http.client.RemoteDisconnected("The connection was closed in mid-answer")
        return line


class _HTTPResponse(http.client.HTTPResponse):
    def begin(self) -> None:
        file = self.fp
        self.fp = _ResponseHead(file)  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            if isinstance(self.fp, _ResponseHead):
                self.fp = file

    def _read_status(self) -> tuple[str, int, str]:
        """http.client skips 100 only: after any other 1xx it would take the real answer for that
        to the next request of the connection."""
        version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, http.client.CONTINUE if 100 <= status < 200 else status, reason


class _Connection(urllib3.connection.HTTPConnection):
    """Leaves itself where the deadline can find its socket, and connects to what is allowed."""

    response_class = _HTTPResponse
    wire: socket.socket | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self.wire = None
        _thread.connections.append(self)
        super().request(*args, **kwargs)
        self.wire = self.sock  # http.client lets go of it while the last answer is still read

    def _new_conn(self) -> socket.socket:
        """Connect to an address that was judged: asked again, the name could say another."""
        name = self._dns_host
        try:
            *others, last = resolve_allowed_addresses(name, self.port)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        try:
            for self._dns_host in others:
                with suppress(ConnectTimeoutError, NewConnectionError):
                    return super()._new_conn()
            self._dns_host = last
            return super()._new_conn()
        finally:
            self._dns_host = name  # the certificate must be the name's


class _SecureConnection(_Connection, urllib3.connection.HTTPSConnection):
    pass


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """End an exchange that drips: a read timeout starts anew with every byte."""
    connections = _thread.connections = []
    timer = threading.Timer(seconds, _shut_down, [connections])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut_down(connections: list[_Connection]) -> None:
    for connection in connections:
        wire = connection.sock or connection.wire
        with suppress(OSError):
            if wire is not None:
                # wakes the thread that reads from it, which close() would not
                wire.shutdown(socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        http, https = urllib3.HTTPConnectionPool, urllib3.HTTPSConnectionPool
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("_Pool", (http,), {"ConnectionCls": _Connection}),
            "https": type("_SecurePool", (https,), {"ConnectionCls": _SecureConnection}),
        }


def new_session() -> Session:
    """Return a session that keeps its connections and reads no ~/.netrc or proxy variables."""
    session = Session()
    session.trust_env = False
    session.headers.clear()
    # one vendor serves many installations: a cookie of one must not reach another
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_maxsize=POOL_CONNECTIONS))
    return session


def build_headers(request: Request) -> dict[str, str]:
    """Return the headers a request is sent with; the connection adds Host and Content-Length."""
    return {"User-Agent": USER_AGENT, **request.headers}


def send_request(request: Request, session: Session, *, total: float = TOTAL_TIMEOUT) -> Response:
    """Make one exchange and return the answer, whatever its status; redirects are not followed.

    total  seconds after which the exchange is ended, however lively it drips

    Raises VendorUnavailable when no whole answer came: name, connection, timeout, reset.
    """
    started = time.monotonic()
    try:
        with _deadline(total):
            answer = session.request(
                request.method,
                request.url,
                data=request.body,
                headers=build_headers(request),
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                allow_redirects=False,
                stream=True,
            )
            body = _read_body_start(answer)
        if time.monotonic() - started >= total:  # cut, in a body of no announced length
            raise VendorUnavailable(f"No whole answer within {total:.0f} s.")
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        if time.monotonic() - started >= total:
            raise VendorUnavailable(f"No whole answer within {total:.0f} s.") from error
        raise VendorUnavailable(_describe_error(error)) from error
    return Response(
        status=answer.status_code,
        headers=dict(answer.headers),
        body=body,
        retry_after=parse_retry_after(answer.headers, now=datetime.now(UTC)),
    )


def parse_retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return what Retry-After asks for, from seconds or an HTTP date; None when unreadable."""
    asked = headers.get("Retry-After", "").strip()
    with suppress(ValueError):
        return max(float(asked), 0.0) if math.isfinite(float(asked)) else None
    try:
        at = parsedate_to_datetime(asked)
    except ValueError:
        return None
    return max((at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds(), 0.0)


def _read_body_start(answer: requests.Response) -> str:
    """Return the start of the body as text; a connection with more to come is closed."""
    with answer:
        body = answer.raw.read(MAX_RESPONSE_BYTES, decode_content=True)
    # PostgreSQL keeps no NUL in a text
    return str(body, "utf-8", "replace").replace("\x00", "�")


def _describe_error(error: Exception) -> str:
    """Return what went wrong without the noise of three libraries around it."""
    if isinstance(error, requests.ConnectTimeout):
        return f"No connection within {CONNECT_TIMEOUT} s."
    if isinstance(error, requests.Timeout | urllib3.exceptions.ReadTimeoutError):
        return f"No answer within {READ_TIMEOUT:.0f} s."
    cause: BaseException = error
    while cause.__context__ is not None:
        cause = cause.__context__
    return f"{type(cause).__name__}: {cause}"
