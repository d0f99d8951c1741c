"""A state as text: title, detail and fix."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StatusText:
    """A state as a person reads it.

    level   "well", "busy", "waiting", "attention", "off" or "new"; decides the colour
    title   a few words
    detail  what happened and what happens next
    fix     what the reader should do, or "" when no action is needed
    """

    level: str
    icon: str
    title: str
    detail: str = ""
    fix: str = ""


def format_time(moment: datetime, now: datetime) -> str:
    """Return a moment as text in UTC, with the date unless it is today."""
    shape = "%H:%M:%S UTC" if moment.date() == now.date() else "%Y-%m-%d %H:%M:%S UTC"
    return moment.strftime(shape)
