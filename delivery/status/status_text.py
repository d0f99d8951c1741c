"""A state as text: title, detail and fix."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StatusText:
    """A state as a person reads it.

    level   "well", "busy", "waiting", "attention", "off" or "new"; decides the colour
    title   a few words
    detail  what happened and what happens next; a TimedText if it mentions times
    fix     what the reader should do, or "" when no action is needed
    """

    level: str
    icon: str
    title: str
    detail: str = ""
    fix: str = ""
