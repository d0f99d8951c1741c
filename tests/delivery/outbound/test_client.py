"""send_request(): every call ends, with a response or with a named error."""

import math
import time
from datetime import UTC, datetime

import pytest

from delivery.outbound import client
from delivery.outbound.client import (
    CUT_NOTE,
    MAX_HEADERS_CHARS,
    MAX_RESPONSE_BYTES,
    new_session,
    parse_retry_after,
    send_request,
)
from integrations.destination import Request
from integrations.errors import VendorUnavailable
from tests.faults.support.raw_vendor import (
    RawVendor,
    make_self_signed_certificate,
    respond_in_turn,
    respond_with_bytes,
    respond_with_status,
)
from tests.support.fake_vendor import FakeVendor, reset_connection, respond_slowly

BODY_NOTE = "Only the first 65,536 bytes of the body are stored."
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _vendors_are_here(settings):
    settings.ALLOWED_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def session():
    with new_session() as session:
        yield session


def ask(vendor, session, **kwargs):
    return send_request(Request(url=f"{vendor.url}/api", body=b'{"a":1}'), session, **kwargs)


def test_an_answer_comes_back_whatever_its_status(session):
    with FakeVendor((418, {"X-Tea": "pot"}, "short and stout")) as vendor:
        answer = ask(vendor, session)
    assert (answer.status, answer.headers["X-Tea"], answer.body) == (418, "pot", "short and stout")
    [(path, headers, body)] = vendor.received
    assert (path, body) == ("/api", {"a": 1})
    assert headers["User-Agent"].startswith("Penstock/")


@pytest.mark.parametrize(
    "location", ["/elsewhere", "http://[::1", "file:///etc/passwd", "http://\xff", "\x00"]
)
def test_a_redirect_is_not_followed_and_its_body_is_kept(session, location):
    with FakeVendor((302, {"Location": location}, "Log in first")) as vendor:
        answer = ask(vendor, session)
    assert (answer.status, answer.body) == (302, "Log in first")
    assert len(vendor.received) == 1


def test_the_certificate_is_asked_for_by_name_though_the_address_was_looked_up(session, tmp_path):
    server_names = []
    with RawVendor(
        certificate=make_self_signed_certificate(tmp_path), on_sni=server_names.append
    ) as vendor:
        url = vendor.url.replace("127.0.0.1", "localhost")
        with pytest.raises(VendorUnavailable, match="certificate"):
            send_request(Request(url=url, body=b"{}"), session)
    assert server_names == ["localhost"]


def test_the_next_address_of_a_name_is_tried(session, monkeypatch):
    monkeypatch.setattr(
        client, "resolve_allowed_addresses", lambda host, port: ["127.0.0.2", "127.0.0.1"]
    )
    with FakeVendor() as vendor:
        url = vendor.url.replace("127.0.0.1", "vendor.example")
        assert send_request(Request(url=url, body=b"{}"), session).status == 200
    assert vendor.received[0][1]["Host"] == url.removeprefix("http://")


def test_connections_are_kept(session):
    ports = []
    with FakeVendor() as vendor:
        for _ in range(3):
            ask(vendor, session)
            [pool] = session.adapters["http://"].poolmanager.pools._container.values()
            ports.append(pool.num_connections)
    assert ports == [1, 1, 1]


def test_a_closed_connection_is_the_vendor_being_unavailable(session):
    with (
        FakeVendor(reset_connection) as vendor,
        pytest.raises(VendorUnavailable, match="closed|reset"),
    ):
        ask(vendor, session)


def test_nobody_listening_is_the_vendor_being_unavailable(session):
    with FakeVendor() as vendor:
        pass
    with pytest.raises(VendorUnavailable, match="refused"):
        ask(vendor, session)


def test_an_answer_that_drips_is_ended_at_the_deadline(session):
    started = time.monotonic()
    with FakeVendor(respond_slowly) as vendor, pytest.raises(VendorUnavailable, match="within 1 s"):
        ask(vendor, session, total=1)
    assert time.monotonic() - started < 3  # without the deadline it would be 100 s


@pytest.mark.parametrize(("surplus", "notes"), [(0, []), (1, [BODY_NOTE]), (99_999, [BODY_NOTE])])
def test_only_the_start_of_a_long_answer_is_kept_and_a_note_says_so(session, surplus, notes):
    with FakeVendor((200, {}, "x" * (MAX_RESPONSE_BYTES + surplus))) as vendor:
        answer = ask(vendor, session)
        assert len(answer.body) == MAX_RESPONSE_BYTES
        assert [value for name, value in answer.headers.items() if name == CUT_NOTE] == notes
        assert ask(vendor, session).body == "{}"


def test_a_nul_in_an_answer_reaches_no_text(session):
    with FakeVendor((200, {"X-Nul": "a\x00b"}, "a\x00b")) as vendor:
        answer = ask(vendor, session)
    assert (answer.headers["X-Nul"], answer.body) == ("a�b", "a�b")


def test_a_long_header_is_cut_and_headers_beyond_all_measure_are_counted(session):
    many = {f"X-{number:02}": "v" * 1_020 for number in range(40)}
    with FakeVendor((200, {"X-Long": "v" * 5_000} | many, "{}")) as vendor:
        headers = dict(ask(vendor, session).headers)
    note = headers.pop(CUT_NOTE)
    assert headers["X-Long"] == "v" * 1_024 + "… (cut; it has 5,000 characters)"
    assert sum(map(len, [*headers, *headers.values()])) <= MAX_HEADERS_CHARS
    assert "Content-Length" in headers  # it comes last and still fits
    dropped = len(many.keys() - headers.keys())
    assert dropped >= 8
    assert note.startswith(f"{dropped} headers are not stored")


def test_a_vendor_cannot_send_the_note_about_what_was_cut(session):
    answer = f"HTTP/1.1 200 OK\r\n{CUT_NOTE}: nothing\r\nContent-Length: 0\r\n\r\n".encode()
    with RawVendor(respond_with_bytes(answer, then_close=True)) as vendor:
        assert CUT_NOTE not in ask(vendor, session).headers


def test_the_text_of_an_error_is_short_and_has_no_nul(session):
    with (
        RawVendor(respond_with_bytes(b"x\x00" * 9_000 + b"\r\n", then_close=True)) as vendor,
        pytest.raises(VendorUnavailable, match="BadStatusLine") as raised,
    ):
        ask(vendor, session)
    assert len(str(raised.value)) < 400
    assert "\x00" not in str(raised.value)


def test_an_answer_that_cannot_be_read_is_an_unavailable_vendor_and_logged(
    session, monkeypatch, caplog
):
    def fail(*args, **kwargs):
        raise AssertionError("not foreseen")

    monkeypatch.setattr(client, "parse_retry_after", fail)
    with FakeVendor() as vendor, pytest.raises(VendorUnavailable, match=r"read: .*not foreseen"):
        ask(vendor, session)
    assert "AssertionError: not foreseen" in caplog.text


@pytest.mark.parametrize(
    ("asked", "wait"),
    [
        ("120", 120), ("1.5", 1.5), ("0", 0), ("-3", 0), ("", None), ("soon", None),
        ("nan", None), ("inf", None), ("1e5", None), ("1_0", None), ("9" * 400, math.inf),
        ("60, 120", 120), ("120,60", 120), ("soon, 60", 60), ("nan, 60", 60), ("60, inf", 60),
        ("Sat, 21 Nov 2026 12:01:00 GMT, 30", 60), ("90, Sat, 21 Nov 2026 12:01:00 GMT", 90),
        ("Fri, 31 Dec 9999 23:59:60 GMT", None), ("," * 60_000, None),
        ("Sat, 21 Nov 2026 12:01:00 GMT", 60), ("Sat, 21 Nov 2026 11:00:00 GMT", 0),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_date(asked, wait):
    assert parse_retry_after({"Retry-After": asked}, now=NOW) == wait


@pytest.mark.parametrize("code", [100, 102, 103])
def test_a_hint_is_not_the_answer_and_the_next_answer_is_the_next_ones(session, code):
    def hint(connection):
        connection.sendall(b"HTTP/1.1 %d Wait\r\nLink: </a>\r\n\r\n" % code)
        respond_with_status(201)(connection)

    with RawVendor(respond_in_turn(hint, respond_with_status(202))) as vendor:
        assert [ask(vendor, session).status for _ in range(2)] == [201, 202]


@pytest.mark.parametrize("code", [204, 304])
@pytest.mark.parametrize("body", ["", "2\r\n{}\r\n0\r\n\r\n"])
def test_an_answer_without_content_ends_with_its_head_whatever_that_announces(session, code, body):
    answer = f"HTTP/1.1 {code} X\r\nTransfer-Encoding: chunked\r\n\r\n{body}".encode()
    vendor = RawVendor(respond_in_turn(respond_with_bytes(answer), respond_with_status(201)))
    with vendor:
        assert [ask(vendor, session).status for _ in range(2)] == [code, 201]


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\nX-A: b", b"HTTP/1.1 200 OK\r\n"]
)
def test_a_head_that_is_cut_off_is_no_answer(session, start):
    with (
        RawVendor(respond_with_bytes(start, then_close=True)) as vendor,
        pytest.raises(VendorUnavailable, match="mid-response"),
    ):
        ask(vendor, session)


def test_a_body_of_no_announced_length_that_drips_is_no_whole_answer(session):
    def dripping(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"a")
            time.sleep(0.05)

    started = time.monotonic()
    with (
        RawVendor(dripping) as vendor,
        pytest.raises(VendorUnavailable, match="^No complete response within 0.5 s"),
    ):
        ask(vendor, session, total=0.5)
    assert time.monotonic() - started < 2.0
