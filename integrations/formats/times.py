"""Reads dates that come from outside: ISO 8601, HTTP and email headers, what languages print. Pure.

A date is read completely or not at all: an unknown zone name must not turn into UTC unnoticed.
"""

import re
from datetime import UTC, datetime, timedelta, timezone

MAX_DATE_CHARS = 80
EARLIEST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_TIME = datetime(9000, 1, 1, tzinfo=UTC)
MONTHS = {
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6,
    "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
WEEKDAYS = frozenset({"mon", "tue", "wed", "thu", "fri", "sat", "sun"})
LONG_NAMES = frozenset(
    {
        *("january", "february", "march", "april", "june", "july", "august", "september", "sept"),
        *("october", "november", "december", "monday", "tuesday", "wednesday", "thursday"),
        *("friday", "saturday", "sunday", "tues", "thurs"),
    }
)
# Hours from UTC, of the names in RFC 5322 §4.3 that have one meaning. CST is also China's and
# Cuba's, CDT Cuba's, and PST the Philippines'; Java's `Date.toString` prints them there.
ZONES = {
    "z": 0, "ut": 0, "utc": 0, "gmt": 0,
    "est": -5, "edt": -4, "mst": -7, "mdt": -6, "pdt": -7,
}  # fmt: skip
# `datetime.fromisoformat` would take any separator, and so read the offset of "2026-11-28+10:00",
# a date of XML Schema, as the time of day.
ISO_8601 = re.compile(r"\d{4}(?:-?\d\d-?\d\d|-?W\d\d(?:-?\d)?)(?:[Tt ].+)?")
COMMENT = re.compile(r"\([^()]*\)$")  # "(Central European Standard Time)", as JavaScript prints it
TOKEN = re.compile(
    r"(?:(?P<iso>\d{4}[-/]\d{1,2}[-/]\d{1,2})"
    r"|(?P<dashed>\d{1,2}-[a-z]{3}-(?:\d{4}|\d\d))"
    r"|(?P<clock>\d{1,2}:\d\d(?::\d\d(?:\.\d{1,9})?)?)"
    r"|(?P<offset>[+-]\d\d:?[0-5]\d)"
    r"|(?P<number>\d{1,4}))(?![\d:])"
    r"|(?P<word>[a-z]+)\.?"
)


def parse_date(text: str) -> datetime:
    """Return an aware datetime in UTC; a date without a zone is in UTC. Raises ValueError.

    Reads ISO 8601, the three formats of RFC 9110 §5.6.7, RFC 5322, and what `toString` of
    JavaScript, Java and Ruby prints, also with AM or PM.
    """
    text = text.strip()
    if len(text) > MAX_DATE_CHARS:
        raise ValueError("too long for a date")
    try:
        at = _read_iso(text) or _Spoken(text).read()
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError(f"out of range: {text}") from None


def _read_iso(text: str) -> datetime | None:
    if not ISO_8601.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper())  # RFC 3339 allows "t" and "z"
    except ValueError:
        return None


def clamp_time(moment: datetime) -> datetime:
    """Return the moment, or the nearer of EARLIEST_TIME and LATEST_TIME if it is beyond them.

    Arithmetic with a time near the ends of Python's range would raise OverflowError. Some clients
    send the year 1 for "no time".
    """
    if not EARLIEST_TIME.year <= moment.year < LATEST_TIME.year:
        return EARLIEST_TIME if moment.year < EARLIEST_TIME.year else LATEST_TIME
    return moment


class _Spoken:
    """The parts of a date with words, each of which may occur once."""

    def __init__(self, text: str):
        self.text = text
        self.found: dict[str, str] = {}
        self.numbers: list[str] = []

    def read(self) -> datetime:
        at, text = 0, COMMENT.sub("", self.text.lower()).rstrip()
        while at < len(text):
            if text[at] in " ,":
                at += 1
                continue
            token = TOKEN.match(text, at)
            if token is None:
                raise ValueError(f"no date: {self.text}")
            self._take(token.lastgroup or "", token[token.lastgroup or 0])
            at = token.end()
        return self._assemble()

    def _take(self, kind: str, value: str) -> None:
        if kind == "number":
            self.numbers.append(value)
            return
        if kind == "word":
            kind, value = self._word(value)
        if kind in self.found:
            raise ValueError(f"two of one part: {self.text}")
        self.found[kind] = value

    def _word(self, word: str) -> tuple[str, str]:
        short = word[:3] if len(word) == 3 or word in LONG_NAMES else word
        if short in MONTHS:
            return "month", short
        if short in WEEKDAYS:
            return "weekday", short
        if word in ("am", "pm"):
            return "half", word
        if word in ZONES:
            return "zone", word
        raise ValueError(f"unknown word {word!r}")

    def _assemble(self) -> datetime:
        year, month, day = self._day()
        hour, minute, second = self._clock()
        at = datetime(year, month, day, hour, minute, tzinfo=self._zone())
        return at + timedelta(seconds=second)

    def _day(self) -> tuple[int, int, int]:
        if "iso" in self.found:
            self._refuse_more(self.numbers)
            year, month, day = re.split("[-/]", self.found["iso"])
            return int(year), int(month), int(day)
        if "dashed" in self.found:
            self._refuse_more(self.numbers)
            day, name, year = self.found["dashed"].split("-")
            return _whole_year(year), MONTHS.get(name, 0), int(day)
        years = [each for each in self.numbers if len(each) == 4]
        days = [each for each in self.numbers if len(each) <= 2]
        if len(years) != 1 or len(days) != 1 or len(self.numbers) != 2:
            raise ValueError(f"no day: {self.text}")
        return int(years[0]), MONTHS.get(self.found.get("month", ""), 0), int(days[0])

    def _refuse_more(self, numbers: list[str]) -> None:
        if numbers:
            raise ValueError(f"too many numbers: {self.text}")

    def _clock(self) -> tuple[int, int, float]:
        if "clock" not in self.found:
            raise ValueError(f"no time of day: {self.text}")
        hour, minute, second = (float(each) for each in f"{self.found['clock']}:0".split(":")[:3])
        if second >= 61 or ("half" in self.found and not 1 <= hour <= 12):  # 60: a leap second
            raise ValueError(f"no time of day: {self.text}")
        if "half" in self.found:
            hour = hour % 12 + (12 if self.found["half"] == "pm" else 0)
        return int(hour), int(minute), second

    def _zone(self) -> timezone:
        ahead = timedelta(hours=ZONES[self.found.get("zone", "utc")])
        if offset := self.found.get("offset"):
            if ahead:
                raise ValueError(f"two zones: {self.text}")
            size = timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:]))
            ahead = -size if offset[0] == "-" else size
        return timezone(ahead)


def _whole_year(text: str) -> int:
    year = int(text)
    if len(text) == 4:
        return year
    return year + (2000 if year < 70 else 1900)
