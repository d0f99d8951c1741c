"""A state as text: title, detail and fix."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StatusText:
    """A state to read.

    level   "well", "busy", "waiting", "attention", "off" or "new": the colour, for those who see it
    title   a few words
    detail  what happened and what happens next
    fix     what a person should do, or "" when there is nothing to do
    """

    level: str
    icon: str
    title: str
    detail: str = ""
    fix: str = ""


def format_time(moment: datetime, now: datetime) -> str:
    """Return a time of today as a time, and of another day with its date; always UTC."""
    shape = "%H:%M:%S UTC" if moment.date() == now.date() else "%Y-%m-%d %H:%M:%S UTC"
    return moment.strftime(shape)
