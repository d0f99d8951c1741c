"""Dates from outside: the right moment, or none."""

import json
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.models import Event
from integrations.formats.times import MAX_DATE_CHARS, parse_date
from tests.support.factories import make_source

AT = datetime(2026, 11, 28, 9, tzinfo=UTC)
WITH_MICROSECONDS = AT + timedelta(microseconds=123_456)

READ = [
    # JavaScript: toISOString, toJSON, toUTCString, toString in three browsers
    ("2026-11-28T09:00:00.000Z", AT),
    ("Sat, 28 Nov 2026 09:00:00 GMT", AT),
    ("Sat Nov 28 2026 10:00:00 GMT+0100 (Central European Standard Time)", AT),
    ("Sat Nov 28 2026 10:00:00 GMT+0100 (CET)", AT),
    ("Sat Nov 28 2026 10:00:00 GMT+0100", AT),
    ("Sat Nov 28 2026 10:00:00 GMT+01:00", AT),
    ("Sat Nov 28 2026 03:30:00 GMT-0530 (Somewhere)", AT),
    # Java: Instant, OffsetDateTime, LocalDateTime, Date, DateFormat in English
    ("2026-11-28T09:00:00.123456789Z", WITH_MICROSECONDS),
    ("2026-11-28T10:00+01:00", AT),
    ("2026-11-28T09:00", AT),
    ("Sat Nov 28 09:00:00 UTC 2026", AT),
    ("Sat Nov 28 09:00:00 GMT 2026", AT),
    ("Sat Nov 28 04:00:00 EST 2026", AT),
    ("Nov 28, 2026 9:00:00 AM", AT),
    ("Nov 28, 2026, 9:00:00 PM", AT + timedelta(hours=12)),
    ("Nov 28, 2026 12:00:00 AM", AT - timedelta(hours=9)),
    ("November 28, 2026 12:30 PM", AT + timedelta(hours=3.5)),
    # Ruby and Rails
    ("2026-11-28 10:00:00 +0100", AT),
    ("2026-11-28 10:00:00.123456 +0100", WITH_MICROSECONDS),
    ("2026-11-28 09:00:00 UTC", AT),
    # PHP: DATE_ATOM, DATE_RFC2822, DATE_COOKIE, the format of MySQL
    ("2026-11-28T10:00:00+01:00", AT),
    ("Sat, 28 Nov 2026 10:00:00 +0100", AT),
    ("Saturday, 28-Nov-2026 09:00:00 GMT", AT),
    ("2026-11-28 09:00:00", AT),
    # Go: JSON, String, RFC 850, ANSI C, Unix
    ("2026-11-28T09:00:00.123456Z", WITH_MICROSECONDS),
    ("2026-11-28 09:00:00.123456 +0000 UTC", WITH_MICROSECONDS),
    ("Saturday, 28-Nov-26 09:00:00 GMT", AT),
    ("Sat Nov 28 09:00:00 2026", AT),
    # .NET: JSON, "r", "u"
    ("2026-11-28T09:00:00.1234567Z", WITH_MICROSECONDS),
    ("2026-11-28 09:00:00Z", AT),
    # Swift's Date and Python's datetime
    ("2026-11-28 09:00:00 +0000", AT),
    ("2026-11-28 10:00:00.123456+01:00", WITH_MICROSECONDS),
    # further forms of ISO 8601 and RFC 3339
    ("20261128T090000Z", AT),
    ("2026-11-28t09:00:00z", AT),
    ("2026-11-28T09:00:00,5Z", AT + timedelta(seconds=0.5)),
    ("2026-11-28", AT.replace(hour=0)),
    ("20261128", AT.replace(hour=0)),
    ("2026-W48-6", AT.replace(hour=0)),
    ("  2026-11-28T09:00:00Z\n", AT),
]
# Their moment is unknown, or depends on the reader.
REFUSED = [
    "Sat Nov 28 10:00:00 JST 2026",
    "Sat Nov 28 10:00:00 CET 2026",
    "Sat Nov 28 10:00:00 IST 2026",
    "Sat Nov 28 10:00:00 CST 2026",  # Chicago or Shanghai
    "Sat Nov 28 10:00:00 PST 2026",  # Los Angeles or Manila
    "2026-11-28T10:00:00[Europe/Berlin]",
    "11/28/2026 9:00:00 AM",  # .NET, and toLocaleString
    "11/12/2026, 09:00:00",
    "28/11/2026",
    "28.11.2026 09:00:00",
    "2026-11-28+10:00",  # a date of XML Schema with an offset, no time of day
    "2026-11-28-10:00",
    "/Date(1795856400000)/",
    "Nov 28, 2026 13:00:00 PM",
    "Nov 28, 2026 0:00:00 AM",
    "Sat Nov 28 2026 10:00:00 GMT+0100 +0200",
    "Sat Nov 28 2026 10:00:00 EST-0500",
    "Sat Nov 28 2026 10:00:00 GMT+0199",
    "Sat Nov 28 2026 10:00:00 GMT+2500",
    "Sat Nov 28 2026",
    "Sat Nov 31 2026 10:00:00",
    "Sat Nov 2026 10:00:00",
    "Nov 12345 10:00:00",
    "Nov 2026 10:00:0028",
    "2026-11-28 10:00:00 2027",
    "2026-02-30T00:00:00Z",
    "2026-11-28T25:00:00Z",
    "Fri Dec 31 9999 23:59:60 GMT",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "10:00:00",
    "tomorrow",
    "",
    "2" * (MAX_DATE_CHARS + 1),
]


def read(text):
    """Return the moment of a text, or None if it is refused."""
    try:
        return parse_date(text)
    except ValueError:
        return None


@pytest.mark.parametrize(("text", "at"), READ)
def test_a_date_is_read_as_its_language_prints_it(text, at):
    assert parse_date(text) == at


@pytest.mark.parametrize("text", REFUSED)
def test_a_date_that_has_no_certain_moment_is_refused(text):
    assert read(text) is None


MOMENTS = st.datetimes(
    min_value=datetime(1000, 1, 2),
    max_value=datetime(9999, 12, 30),
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m))),
)
FORMATS = [
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%Y-%m-%d %H:%M:%S.%f %z",
    "%Y/%m/%d %H:%M:%S.%f %z",
    "%a %b %d %Y %H:%M:%S.%f GMT%z",
    "%a %b %d %H:%M:%S.%f %z %Y",
    "%a, %d %b %Y %I:%M:%S.%f %p %z",
    "%B %d, %Y, %I:%M:%S.%f %p %z",
    "%A, %d-%b-%Y %H:%M:%S.%f %z",
]


@given(MOMENTS, st.sampled_from(FORMATS))
def test_every_moment_is_read_in_every_form(moment, form):
    assert parse_date(moment.strftime(form)) == moment


@given(MOMENTS)
def test_iso_8601_and_rfc_5322_are_read_to_the_last_digit(moment):
    assert parse_date(moment.isoformat()) == moment
    assert parse_date(format_datetime(moment)) == moment.replace(microsecond=0)


MINUTES_AHEAD = {
    "": 0, "Z": 0, "GMT": 0, "UTC": 0, "+0100": 60, "GMT+01:00": 60, "-05:30": -330, "EST": -300,
    "PDT": -420, "CST": None, "PST": None, "JST": None, "CET": None, "IST": None, "+9900": None,
}  # fmt: skip
TOO_MUCH = ["", "2027", "29", "0", "Dec", "11:00", "2026-11-28", "12345", "x", "JST", "-", "00"]


@given(
    st.permutations(["Sat", "Nov", "28", "2026", "10:00:00"]),
    st.sampled_from(list(MINUTES_AHEAD)),
    st.sampled_from(TOO_MUCH),
    st.integers(0, 6),
    st.integers(0, 6),
    st.sampled_from([" ", " ", ", ", ""]),
)
def test_parts_in_any_order_give_their_moment_or_none(
    parts, zone, further, zone_place, further_place, separator
):
    parts.insert(zone_place, zone)
    parts.insert(further_place, further)
    moment = read(separator.join(part for part in parts if part))
    if moment is None:
        return
    assert not further
    assert moment == datetime(2026, 11, 28, 10, tzinfo=UTC) - timedelta(minutes=MINUTES_AHEAD[zone])


@given(st.text(st.characters(codec="utf-8"), max_size=MAX_DATE_CHARS + 5))
def test_any_other_text_is_refused_with_a_value_error(text):
    moment = read(text)
    assert moment is None or moment.tzinfo is UTC


@pytest.mark.django_db
@pytest.mark.parametrize("text", REFUSED[:6])
def test_an_event_without_a_certain_time_has_that_of_its_receipt_and_a_note(client, text):
    make_source(write_key="wk_shop")
    body = {"event": "Seen", "userId": "ada", "timestamp": text}
    client.post("/v1/track?writeKey=wk_shop", json.dumps(body), content_type="application/json")
    event = Event.objects.get()
    assert event.timestamp == event.received_at
    assert event.notes == json.dumps(
        [f"timestamp {text!r} names no certain time; the time of receipt is used."],
        ensure_ascii=False,
        separators=(",", ":"),
    )
