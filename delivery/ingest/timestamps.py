"""Parses senders' timestamps and corrects their clock skew. Pure."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from integrations.formats.times import parse_date

CLOCK_TOLERANCE = timedelta(seconds=5)  # a smaller difference counts as network delay

# (smallest number, units a second): how a number is read as unix time. Seconds reach to year 5138.
UNIX_TIME_UNITS = ((10**17, 10**9), (10**14, 10**6), (10**11, 10**3), (0, 1))
UNIX_TIME_PATTERN = re.compile(r"-?\d{1,20}(\.\d+)?")


def read_time(value: Any) -> datetime | None:
    """Return a sender's timestamp as a datetime, or None when it cannot be parsed.

    Accepts unix time in s, ms, µs or ns as a number or as text, and what `parse_date` reads.
    """
    try:
        if isinstance(value, str):
            return _from_text(value.strip())
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _from_number(value)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def correct_clock_skew(at: datetime, sent_at: datetime | None, received_at: datetime) -> datetime:
    """Return a time by the server's clock: `received_at - (sent_at - at)`, as Segment does.

    When the clocks agree, `at` is returned unchanged, so that times stay as sent and slow requests
    do not change the order of a visitor's events. A time later than `sent_at` is unchanged too,
    because it was not read from the same clock as `sent_at`.

    Source: "Timestamps" in https://www.twilio.com/docs/segment/connections/spec/common (2026-11).
    """
    if (
        sent_at is None
        or abs(received_at - sent_at) <= CLOCK_TOLERANCE
        or at - sent_at > CLOCK_TOLERANCE
    ):
        return at
    try:
        return received_at - (sent_at - at)
    except OverflowError:  # the result is outside datetime's range
        return at


def _from_text(text: str) -> datetime:
    if UNIX_TIME_PATTERN.fullmatch(text) and len(text) > 8:  # 20261121 is a date
        return _from_number(float(text) if "." in text else int(text))
    return parse_date(text)


def _from_number(value: float) -> datetime:
    unit = next((unit for least, unit in UNIX_TIME_UNITS if abs(value) >= least), 1)  # 1: NaN
    return datetime.fromtimestamp(value / unit, UTC)
