"""A vendor that answers with any bytes at any time, and a generator of such answers.

`hostile_answers()` puts an answer together from a status line, headers, a framing, a coding of the
body, a length at which it is cut, and an ending. While every part is sound, the answer's `status`
is known. An answer with an unsound part has the status UNSURE, and one without a complete status
line the status NONE.
"""

import gzip
import socket
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.faults.support.raw_vendor import OK_RESPONSE, RawVendor

NONE, UNSURE = 0, -1  # instead of a status
KEEP, CLOSE, RESET, STALL, ENDLESS = "keep", "close", "reset", "stall", "endless"

STATUSES = (
    200, 201, 202, 204, 205, 206, 226, 299, 300, 301, 302, 303, 304, 307, 308, 399, 400, 401, 402,
    403, 404, 407, 408, 409, 410, 411, 413, 414, 418, 421, 422, 425, 426, 428, 429, 431, 451, 499,
    500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 599, 600, 777, 999,
)  # fmt: skip
MALFORMED_STATUS_LINES = (
    b"", b"\n", b"\x00", b"{}", b"<html>", b"HTTP", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 abc OK",
    b"HTTP/1.1 99 Low", b"HTTP/1.1 1000 High", b"HTTP/1.1 -200 No", b"HTTP/1.1 2_0_0 OK",
    b"HTTP/1.1 \xb2\x00\x00 OK", b"HTTP/0.9 200 OK", b"HTTP/2 200", b"HTTP/9.9 200 OK",
    b"ICY 200 OK", b"http/1.1 200 ok", b"HTTP/1.1 200OK", b"HTTP/1.1\t200\tOK",
    b"\x00\x01\xff\xfe secret", b"HTTP/1.1 \x00", b"HTTP/1.1 2" + b"0" * 70_000, b"a" * 65_536,
    b"x\x00" * 32_000, b"\x15\x03\x01\x00\x02\x02\x46", b"SSH-2.0-OpenSSH_9.6",
)  # fmt: skip
REASONS = (b"OK", b"", b"\xff\xfe", b"\x00", b"Gr\xc3\xbc\xc3\x9fe", b"r" * 60_000)

# Each with the seconds that it asks for; None when it cannot be read.
RETRY_AFTERS: dict[bytes, float | None] = {
    b"7": 7, b" 7 ": 7, b"1.5": 1.5, b"0": 0, b"-3": 0, b"+7": 7, b"007": 7,
    b"86400": 86_400, b"9" * 400: 1e9, b"9" * 5_000: 1e9, b"-" + b"9" * 400: 0,
    b"": None, b"soon": None, b"nan": None, b"inf": None, b"-inf": None, b"1e5": None,
    b"1_000": None, b"0x10": None, b"\xb2": None, b"7 s": None, b"\x00": None, b"\xff\xfe": None,
    b"120, 60": 120, b"60, 120": 120, b"60,soon": 60, b"soon, 60": 60, b"nan, 60": 60,
    b"60, nan": 60, b"inf, 60": 60, b",60,,": 60, b",": None, b"," * 60_000: None,
    b"60," * 20_000: 60, b"Fri, 31 Dec 9999 23:59:60 GMT": None,
    b"Fri, 31 Dec 9999 23:59:59 GMT": 1e9, b"Mon, 01 Jan 0001 00:00:00 GMT": 0,
    b"Thu, 01 Jan 1970 00:00:00 GMT": 0, b"9999-12-31T23:59:59-23:59": None,
    b"0001-01-01T00:00:00+23:59": None, b"Fri, 31 Dec 99999 23:59:59 GMT": None,
    b"Fri, 31 Dec 9999 23:59:59 GMT, 60": 1e9, b"60, Fri, 31 Dec 9999 23:59:59 GMT": 1e9,
    b"Thu, 01 Jan 1970 00:00:00 GMT, 60": 60, b"Wed, 32 Foo 2026 25:61:61 XYZ": None,
}  # fmt: skip

LOCATIONS = (
    b"/api", b"", b"//", b"http://", b"http://[::1", b"http://[v1.x]/", b"file:///etc/passwd",
    b"gopher://x/", b"javascript:alert(1)", b"http://\xff\xfe/", b"\xff\xfe", b"http://a:b:c@d:e/",
    b"http://127.0.0.1:99999/", b"?" * 5_000, b"\x00", b"http://169.254.169.254/latest/meta-data",
)  # fmt: skip
HEADER_NAMES = (
    b"Set-Cookie", b"Set-Cookie2", b"Content-Type", b"Date", b"Expires", b"WWW-Authenticate",
    b"Link", b"Vary", b"X-Same", b"X-Same", b"(Penstock)", b"X-" + b"n" * 3_000, b"Refresh",
    b"Keep-Alive", b"Upgrade", b"Trailer", b"Content-Range", b"Content-Disposition",
)  # fmt: skip
HEADER_VALUES = (
    b"", b"a", b"Gr\xfc\xdfe", b"\xf0\x9f\x98\x80", b"\x00", b"a\x00b", b"\x1b[31m", b"v" * 1_024,
    b"v" * 1_025, b"v" * 60_000, b"=?utf-8?q?=ff=fe?=", b"<script>", b"a=b; Expires=Thu, 99 Foo 9",
    b"a=b; Max-Age=1e999; Domain=..; Path=\x00", b";" * 9_000, b"text/html; charset=nonsense",
    b"text/plain; charset*=utf-8'%ff'", b'"' * 5_000, b"=" * 9_000, b"close", b"h2c",
)  # fmt: skip
BODIES = (
    b"", b"{}", b"ok", b"\x00", b"a\x00b", b"\xff\xfe\xfd", b"\xed\xa0\x80", b'"\\ud800"',
    b'{"error":"\\ud800\\u0000"}', b"[" * 60_000, b"[" * 63 + b"]" * 63, b"[" * 300 + b"]" * 300,
    b"[" * 400 + b"]" * 400, b'{"a":' * 900 + b"1" + b"}" * 900, b"[1e999,-1e999,NaN]",
    b"9" * 6_000, b'{"status":401,"error":"no"}', b"\xef\xbb\xbf{}", b"</script><script>",
    b"e" * 65_535, b"e" * 65_536, b"e" * 65_537, "€".encode() * 40_000, b"\xff" * 70_000,
    b"=cmd|' /C calc'!A0", b"***",
)  # fmt: skip
BOMB = gzip.compress(b"\x00" * 30_000_000)
NESTED_BOMB = gzip.compress(BOMB)
DEFLATE_BOMB = zlib.compress(b"\x00" * 30_000_000)
EMPTY_MEMBERS = gzip.compress(b"") * 3_000

# Headers and body of a message whose end cannot be found, or whose body cannot be decoded.
BROKEN_FRAMINGS = (
    (b"Content-Length: -1\r\n", b"{}"), (b"Content-Length: two\r\n", b"{}"),
    (b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{}"), (b"Content-Length: 2, 2\r\n", b"{}"),
    (b"Content-Length: " + b"9" * 5_000 + b"\r\n", b"{}"), (b"Content-Length: 1_0\r\n", b"{}"),
    (b"Content-Length: \r\n", b"{}"), (b"Content-Length: 500\r\n", b"{}"),
    (b"Content-Length: 1\r\n", b"{}" + OK_RESPONSE),
    (b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    *(
        (b"Transfer-Encoding: chunked\r\n", body)
        for body in (
            b"", b"\r\n", b"{}", b"zz\r\n{}\r\n", b"-1\r\n{}\r\n", b"2\r\n{}\r\n", b"2\r\n{}",
            b"2\r\n{}XX0\r\n\r\n", b"f" * 60 + b"\r\n", b"5\r\n{}\r\n0\r\n\r\n", b"1" * 90_000,
            b"2;" + b"x" * 90_000, b"0\r\n" + b"X: y\r\n" * 300, b"0\r\n" + b"t" * 90_000,
            b"0x2\r\n{}\r\n0\r\n\r\n", b" 2 \r\n{}\r\n0\r\n\r\n", b"2\n{}\n0\n\n",
        )
    ),
    (b"Transfer-Encoding: gzip, chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: nonsense\r\n", b"{}"),
    *(
        (b"Content-Encoding: " + name + b"\r\n", body)
        for name, body in (
            (b"gzip", b"{}"), (b"gzip", gzip.compress(b"{}" * 99)[:-9]), (b"gzip", BOMB),
            (b"gzip", BOMB[:-4]), (b"gzip, gzip", NESTED_BOMB), (b"gzip", EMPTY_MEMBERS),
            (b"gzip", gzip.compress(b"{}") + b"junk"), (b"deflate", b"\xff" * 99),
            (b"deflate", DEFLATE_BOMB), (b"br", b"\x1b\x00\xf8"),
            (b"zstd", b"\x28\xb5\x2f\xfd\xff"), (b"gzip, " * 9 + b"gzip", b"{}"),
            (b"nonsense", b"{}"), (b"\xff", b"{}"), (b"", b"{}"), (b"identity", b"{}"),
        )
    ),
    (b"X-Many: y\r\n" * 99, b"{}"), (b"X-Many: y\r\n" * 5_000, b"{}"),
    (b"X: " + b"v" * 70_000 + b"\r\n", b"{}"), (b"X: y\r\n" + b" folded\r\n" * 9_000, b"{}"),
    (b"no colon\r\n", b"{}"), (b": no name\r\n", b"{}"), (b"X\x00Y: z\r\n", b"{}"),
    (b" leading: space\r\n", b"{}"), (b"X: a\rY: b\r\n", b"{}"), (b"X: a\nY: b\r\n", b"{}"),
    (b"From nobody\r\n", b"{}"), (b"(cut by Penstock): none\r\n", b"{}"),
    (b"\xff: \xff\r\n", b"{}"), (b"X: y\x85Z: 1\x0bW: 2\r\n", b"{}"),
)  # fmt: skip


@dataclass(frozen=True)
class HostileAnswer:
    """What the vendor does about each request.

    sent         the bytes that it sends
    ending       what it does then; ENDLESS repeats the last 1,000 bytes until the client leaves
    status       the status of the answer, NONE or UNSURE
    retry_after  the seconds that it asks for; None when it asks for none
    is_early     whether it answers before it reads the request
    """

    sent: bytes
    ending: str = KEEP
    status: int = UNSURE
    retry_after: float | None = None
    is_early: bool = False

    @property
    def may_stall(self) -> bool:
        return self.ending in (STALL, ENDLESS)

    def __repr__(self) -> str:
        sent = self.sent if len(self.sent) < 400 else self.sent[:200] + b" ... " + self.sent[-200:]
        return (
            f"HostileAnswer({sent!r}, {self.ending!r}, {self.status}, {self.retry_after}, "
            f"is_early={self.is_early})  # {len(self.sent):,} bytes"
        )


class HostileVendor(RawVendor):
    """Gives `hostile_answer` to each request."""

    hostile_answer = HostileAnswer(OK_RESPONSE)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while self._exchange(connection):
                pass

    def _exchange(self, connection: socket.socket) -> bool:
        """Answer one request; return whether the connection may carry another."""
        if not self.hostile_answer.is_early and not self._read(connection):
            return False
        answer = self.hostile_answer
        connection.sendall(answer.sent)
        while answer.ending == ENDLESS:
            connection.sendall(answer.sent[-1_000:])
        if answer.ending == STALL:  # until the client leaves or makes its next request
            return bool(connection.recv(1, socket.MSG_PEEK))
        if answer.ending == RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif answer.is_early:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):  # closing with unread bytes would reset the connection
                pass
        return answer.ending == KEEP and not answer.is_early


def lines(*headers: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"%s: %s\r\n" % each for each in headers)


def in_chunks(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in parts) + b"0\r\n\r\n"


@st.composite
def sound_answers(draw: st.DrawFn) -> HostileAnswer:
    """An answer whose status is certain, however odd its headers and body are."""
    status, body = draw(st.sampled_from(STATUSES)), draw(st.sampled_from(BODIES) | st.binary())
    hints = b"HTTP/1.1 103 Hint\r\nLink: </a>\r\n\r\n" * draw(st.sampled_from([0, 0, 0, 1, 30]))
    head = b"HTTP/1.%d %d %s\r\n" % (
        draw(st.integers(0, 1)),
        status,
        draw(st.sampled_from(REASONS)),
    )
    header = st.tuples(st.sampled_from(HEADER_NAMES), st.sampled_from(HEADER_VALUES))
    head += lines(*draw(st.lists(header, max_size=60)))
    asked = draw(st.none() | st.sampled_from(sorted(RETRY_AFTERS)))
    if asked is not None:
        head += lines((b"Retry-After", asked))
    for location in draw(st.lists(st.sampled_from(LOCATIONS), max_size=2)):
        head += lines((b"Location", location))
    coding = draw(st.sampled_from([b"", b"", b"gzip", b"deflate"]))
    if coding and status not in (204, 304):
        head += lines((b"Content-Encoding", coding))
        body = gzip.compress(body) if coding == b"gzip" else zlib.compress(body)
    framing = draw(st.sampled_from(["length", "lengths", "chunked", "close"]))
    if framing == "chunked":
        head += lines((b"Transfer-Encoding", b"chunked"))
        body = in_chunks(body, draw(st.sampled_from([1_000, 70_000])))
    elif framing != "close":
        head += lines((b"Content-Length", b"%d" % len(body))) * (1 + (framing == "lengths"))
    is_early = draw(st.sampled_from([False, False, False, True]))
    ending = CLOSE if framing == "close" else draw(st.sampled_from([KEEP, CLOSE]))
    wait = RETRY_AFTERS[asked] if asked is not None else None
    return HostileAnswer(hints + head + b"\r\n" + body, ending, status, wait, is_early)


@st.composite
def broken_answers(draw: st.DrawFn) -> HostileAnswer:
    """An answer with a malformed status line, an unsound framing or an unsound coding."""
    line = b"HTTP/1.1 %d X" % draw(st.sampled_from(STATUSES))
    framing, body = draw(st.sampled_from(BROKEN_FRAMINGS))
    if draw(st.booleans()):
        line = draw(st.sampled_from(MALFORMED_STATUS_LINES) | st.binary())
    sent = line + b"\r\n" + framing + b"\r\n" + body
    return HostileAnswer(sent, draw(st.sampled_from([CLOSE, CLOSE, RESET, STALL])))


@st.composite
def cut_answers(draw: st.DrawFn) -> HostileAnswer:
    """An answer that ends, or stalls, at any byte."""
    answer = draw(sound_answers() | broken_answers())
    head = answer.sent.index(b"\r\n\r\n") if b"\r\n\r\n" in answer.sent else 0
    at = draw(st.integers(0, len(answer.sent)) | st.integers(0, head))
    ending = draw(st.sampled_from([CLOSE, CLOSE, RESET, STALL]))
    is_hint = answer.sent.startswith(b"HTTP/1.1 103")
    status = NONE if at <= head or is_hint and at <= 30 else UNSURE
    return HostileAnswer(answer.sent[:at], ending, status, None, answer.is_early)


@st.composite
def endless_answers(draw: st.DrawFn) -> HostileAnswer:
    """An answer that does not end: its head, its hints, its chunks, its trailers, its body."""
    status = draw(st.sampled_from([200, 302, 500]))
    head = b"HTTP/1.1 %d X\r\n" % status
    chunked = head + b"Transfer-Encoding: chunked\r\n"
    start, rest = draw(
        st.sampled_from(
            [
                (b"", b"a" * 1_000), (b"", b"\r\n" * 500), (head, b"a" * 1_000),
                (head, b"X: yz\r\n\t\r\n" * 100), (b"", b"HTTP/1.1 100 C\r\n\r\nHT" * 50),
                (b"", (b"HTTP/1.1 103 Hi\r\nX: %s\r\n\r\n" % (b"y" * 978))),
                (head + b"\r\n", b"\xff" * 1_000), (head + b"Location: /api\r\n\r\n", b"a" * 1_000),
                (chunked + b"\r\n", b"1\r\na\r\n" * 166 + b"\r\n\r\n"),
                (chunked + b"\r\n", b"1\r\na\r\n" * 125 + b"1;" + b"x" * 248),
                (chunked + b"\r\n", b"5" * 1_000), (chunked + b"\r\n0\r\n", b"X: yzyz\r\n" * 100),
                (head + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"") * 50),
                (head + b"Content-Encoding: gzip\r\nLocation: /\r\n\r\n", gzip.compress(b"") * 50),
            ]
        )
    )  # fmt: skip
    return HostileAnswer(start + rest.ljust(1_000, b"\n"), ENDLESS)


def hostile_answers() -> st.SearchStrategy[HostileAnswer]:
    return sound_answers() | sound_answers() | broken_answers() | cut_answers() | endless_answers()
