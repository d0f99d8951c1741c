"""The HTTP client for vendors; no other module opens a connection to a vendor."""

import http.client
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests import Session as Session  # re-exported for annotations
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from delivery.outbound.addresses import resolve_allowed_addresses
from integrations.destination import Request, Response
from integrations.errors import VendorUnavailable
from integrations.formats.storable_text import storable_text
from integrations.formats.times import parse_date

CONNECT_TIMEOUT = 3.05  # seconds
READ_TIMEOUT = 10.0  # seconds between two bytes
TOTAL_TIMEOUT = 15.0  # seconds for the whole exchange; leases.LEASE_DURATION must outlast it
MAX_RESPONSE_BYTES = 65_536  # bytes of a response body that are read and stored
MAX_HEADER_CHARS = 1_024  # characters of a response header's value that are stored
MAX_HEADERS_CHARS = 32_768  # characters of all response headers that are stored
MAX_CAUSE_CHARS = 300  # characters of an error's text, which can quote what the vendor sent
POOL_CONNECTIONS = 32  # connections to one host that are kept open
USER_AGENT = "Penstock/0.1"
# Stands among the headers of a response for what was cut. No vendor can send it, because the name
# of a header that is read never contains a space.
CUT_NOTE = "(cut by Penstock)"
SECONDS = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")

logger = logging.getLogger(__name__)
_thread = threading.local()  # .connections: opened or reused by this thread's exchange


class _ResponseHead:
    """Reads the head of a response and raises if the connection closes within it.

    http.client would accept a truncated head as complete, and a missing response as an empty one.
    """

    def __init__(self, file: Any):
        self.file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self.file.readline(limit)
        if not line.endswith(b"\n") and len(line) != limit:
            raise http.client.RemoteDisconnected("The connection was closed in mid-response")
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
        if self.status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED):
            # They end with their head (RFC 9112 §6.3), also if it announces a chunked body, for
            # which http.client would wait.
            self.chunked, self.length = False, 0

    def _read_status(self) -> tuple[str, int, str]:
        """Report every 1xx status as 100, because http.client skips only 100.

        After any other 1xx it would take the final response for that of the connection's next
        request.
        """
        version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, http.client.CONTINUE if 100 <= status < 200 else status, reason


class _Connection(urllib3.connection.HTTPConnection):
    """Connects only to allowed addresses, and registers itself so the deadline can close it."""

    response_class = _HTTPResponse
    wire: socket.socket | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self.wire = None
        _thread.connections.append(self)
        super().request(*args, **kwargs)
        self.wire = self.sock  # http.client drops it before the last response is read

    def _new_conn(self) -> socket.socket:
        """Connect to a checked address; resolving the name again could return another."""
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
            self._dns_host = name  # the certificate is checked against the name


class _SecureConnection(_Connection, urllib3.connection.HTTPSConnection):
    pass


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Abort an exchange after `seconds`; a read timeout alone restarts with every byte."""
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
                # Unlike close(), this wakes the thread that reads from the socket.
                wire.shutdown(socket.SHUT_RDWR)


class _Session(Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Ignore Location: requests would read the whole body first, and fail on odd URLs."""


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        http, https = urllib3.HTTPConnectionPool, urllib3.HTTPSConnectionPool
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("_Pool", (http,), {"ConnectionCls": _Connection}),
            "https": type("_SecurePool", (https,), {"ConnectionCls": _SecureConnection}),
        }


def new_session() -> Session:
    """Return a session that keeps connections open and ignores ~/.netrc and proxy variables."""
    session = _Session()
    session.trust_env = False
    session.headers.clear()
    # Installations of one vendor share the session; a cookie of one must not reach another.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_maxsize=POOL_CONNECTIONS))
    return session


def build_headers(request: Request) -> dict[str, str]:
    """Return the headers of a request; the connection adds Host and Content-Length."""
    return {"User-Agent": USER_AGENT, **request.headers}


def send_request(request: Request, session: Session, *, total: float | None = None) -> Response:
    """Make one exchange and return the response, whatever its status. Redirects are not followed.

    total  time limit (s) of the exchange, even while bytes still arrive; TOTAL_TIMEOUT when None

    Raises VendorUnavailable when no complete response arrived: DNS, connection, timeout or reset.
    """
    started, total = time.monotonic(), total or TOTAL_TIMEOUT
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
        if time.monotonic() - started >= total:  # aborted in a body without Content-Length
            raise TimeoutError
        return _build_response(answer, body)
    except Exception as error:
        # Whatever a vendor sends must leave an attempt in the log, and the lane alive.
        if time.monotonic() - started >= total:
            raise VendorUnavailable(f"No complete response within {total:g} s.") from error
        if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError | OSError):
            raise VendorUnavailable(_describe_error(error)) from error
        logger.exception("The response of %s cannot be read", urlsplit(request.url).hostname)
        raise VendorUnavailable(f"The response cannot be read: {_describe_error(error)}") from error


def parse_retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return the seconds of Retry-After (seconds or an HTTP date); None when it is unreadable.

    Of several, which the HTTP library joins with commas, the longest counts. A number of seconds
    can be too large for a float, and is then infinite.
    """
    asked = headers.get("Retry-After", "")[:MAX_HEADER_CHARS]
    # A date contains a comma too, but is readable without the weekday in front of it.
    found = [_read_retry_after(each.strip(), now) for each in (asked, *asked.split(","))]
    return max((each for each in found if each is not None), default=None)


def _read_retry_after(text: str, now: datetime) -> float | None:
    if SECONDS.fullmatch(text):
        return max(float(text), 0.0)
    with suppress(ValueError):
        return max((parse_date(text) - now).total_seconds(), 0.0)
    return None


def _build_response(answer: requests.Response, body: bytes) -> Response:
    headers = _bound_headers(answer.headers)
    notes = []
    if dropped := len(answer.headers) - len(headers):
        notes.append(
            f"{dropped} headers are not stored, because all of them are too long together."
        )
    if len(body) > MAX_RESPONSE_BYTES:
        notes.append(f"Only the first {MAX_RESPONSE_BYTES:,} bytes of the body are stored.")
    if notes:
        headers[CUT_NOTE] = " ".join(notes)
    return Response(
        status=answer.status_code,
        headers=headers,
        body=storable_text(str(body[:MAX_RESPONSE_BYTES], "utf-8", "replace")),
        retry_after=parse_retry_after(answer.headers, now=datetime.now(UTC)),
    )


def _bound_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with long values cut, and without those beyond MAX_HEADERS_CHARS."""
    kept: dict[str, str] = {}
    left = MAX_HEADERS_CHARS
    for name, value in headers.items():
        text = storable_text(value, MAX_HEADER_CHARS)
        if (size := len(name) + len(text)) <= left:
            kept[name], left = text, left - size
    return kept


def _read_body_start(answer: requests.Response) -> bytes:
    """Return the start of the body; a connection with unread bytes is closed.

    One byte more than MAX_RESPONSE_BYTES is read, which tells whether the body goes on.
    """
    with answer:
        body: bytes = answer.raw.read(MAX_RESPONSE_BYTES + 1, decode_content=True)
    return body


def _describe_error(error: Exception) -> str:
    """Return the root cause of an error, without the wrappers of three libraries."""
    if isinstance(error, requests.ConnectTimeout):
        return f"No connection within {CONNECT_TIMEOUT} s."
    if isinstance(error, requests.Timeout | urllib3.exceptions.ReadTimeoutError):
        return f"No response within {READ_TIMEOUT:g} s."
    cause: BaseException = error
    while cause.__context__ is not None:
        cause = cause.__context__
    return storable_text(f"{type(cause).__name__}: {cause}", MAX_CAUSE_CHARS)
