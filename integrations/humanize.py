"""Counts, durations and times as text. Pure: the sandbox uses it without Django."""

from collections.abc import Mapping
from datetime import datetime

RELATIVE_TIME_UNITS = (
    (60, 1, "s"),
    (3_600, 60, "min"),
    (86_400, 3_600, "h"),
    (7 * 86_400, 86_400, "d"),
)


def format_count(count: int, one: str, many: str) -> str:
    """Return "1 delivery" or "1,234 deliveries"."""
    return f"1 {one}" if count == 1 else f"{count:,} {many}"


def format_duration(seconds: float | None) -> str:
    """Return "80 ms", "1.2 s", "5 min", "3 h" or "4 days"; "–" when it is unknown."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{max(seconds, 0.0) * 1_000:.0f} ms"  # two machines' clocks may differ a little
    if seconds < 10:
        return f"{seconds:.1f} s"
    for limit, unit, name in ((90, 1, "s"), (5_400, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} days"


def format_relative(seconds: float) -> str:
    """Return "12 s ago" or "in 5 min"; "" beyond a week, where a date is clearer."""
    for limit, unit, name in RELATIVE_TIME_UNITS:
        if abs(seconds) < limit:
            number = f"{int(abs(seconds) / unit)} {name}"
            return f"in {number}" if seconds < 0 else f"{number} ago"
    return ""


class TimedText(str):
    """A sentence with the moments that it mentions, by the text they appear as.

    It is an ordinary string in the API and on the command line, where times are in UTC. A page
    marks the times (`formatting.mark_times`), so that the browser shows them in the reader's zone.
    """

    moments: Mapping[str, datetime] = {}


def timed_text(template: str, now: datetime, **values: object) -> TimedText:
    """Return a template, in the syntax of str.format, with its values filled in.

    A datetime is written as format_time() does. A TimedText passes its moments on.
    """
    moments: dict[str, datetime] = {}
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = shown = format_time(value, now)
            moments[shown] = value
        elif isinstance(value, TimedText):
            moments.update(value.moments)
    text = TimedText(template.format(**values))
    text.moments = moments
    return text


def format_time(moment: datetime, now: datetime) -> str:
    """Return a moment as text in UTC, with the date unless it is today."""
    shape = "%H:%M:%S UTC" if moment.date() == now.date() else "%Y-%m-%d %H:%M:%S UTC"
    return moment.strftime(shape)
