"""Sentences that mention times."""

from collections.abc import Mapping
from datetime import datetime


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
