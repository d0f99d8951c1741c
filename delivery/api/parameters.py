"""What is asked of a list: read from the address, or refused field by field."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime

from delivery import log
from delivery.models import Delivery, Rejection
from integrations.api.errors import Unprocessable

MOST = 100  # rows a page
USUAL = 50
LARGEST = 2**63 - 1  # of an id


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which deliveries are asked for; None is any."""

    installation: int | None = None
    state: str | None = None
    event: str | None = None
    message_id: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = USUAL
    before: int | None = None

    def rows(self) -> QuerySet[Delivery]:
        rows = log.deliveries()
        if self.installation is not None:
            rows = rows.filter(installation=self.installation)
        if self.state is not None:
            rows = rows.filter(state=self.state)
        if self.event is not None:
            rows = rows.filter(log.named(self.event, "event__"))
        for name in ("message_id", "user_id", "anonymous_id"):
            if (value := getattr(self, name)) is not None:
                rows = log.about(rows, log.with_id(name, value))
        return log.received(rows, since=self.since, until=self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRejections:
    """Which rejections are asked for; None is any."""

    source: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = USUAL
    before: int | None = None

    def rows(self) -> QuerySet[Rejection]:
        rows = Rejection.objects.select_related("source")
        if self.source is not None:
            rows = rows.filter(source=self.source)
        return log.arrived(rows, "received_at", since=self.since, until=self.until)


def read(given: Mapping[str, str]) -> Asked:
    """Return which deliveries are asked for. Raises Unprocessable naming each wrong parameter."""
    return Asked(**_values(given, READERS))


def read_rejections(given: Mapping[str, str]) -> AskedRejections:
    """Return which rejections are asked for. Raises Unprocessable, as read() does."""
    return AskedRejections(**_values(given, OF_REJECTIONS))


def _values(
    given: Mapping[str, str], readers: Mapping[str, tuple[str, Callable[[str], Any]]]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, text in given.items():
        if name not in readers:
            wrong[name] = f"Not a parameter; there are: {', '.join(readers)}."
            continue
        field, reader = readers[name]
        try:
            values[field] = reader(text)
        except ValueError as error:
            wrong[name] = str(error)
    if wrong:
        raise Unprocessable(wrong)
    return values


def cursor(before: int) -> str:
    """Return the text that asks for the page after the row of that id."""
    return urlsafe_b64encode(f"before:{before}".encode()).decode().rstrip("=")


def _cursor(text: str) -> int:
    try:
        name, _, number = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(":")
    except ValueError:
        name, number = "", ""
    if name != "before" or not number.isdecimal():
        raise ValueError("Use the next_cursor of the page before, unchanged.")
    return int(number)


def _id(text: str) -> int:
    if not text.isdecimal() or int(text) > LARGEST:
        raise ValueError("Must be a number: the id.")
    return int(text)


def _state(text: str) -> str:
    if text not in Delivery.State.values:
        raise ValueError(f"One of: {', '.join(Delivery.State.values)}.")
    return text


def _text(text: str) -> str:
    if not text or "\x00" in text:
        raise ValueError("Must be a text.")
    return text


def _moment(text: str) -> datetime:
    # In an address a "+" that was not escaped arrives as a space.
    moment = parse_datetime(text.replace(" ", "+") if text.count(":") > 1 else text)
    if moment is None:
        raise ValueError("Must be a time such as 2026-11-21T12:00:00Z.")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise ValueError(f"Must be a number from 1 to {MOST}.")
    return int(text)


READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "installation": ("installation", _id),
    "state": ("state", _state),
    "event": ("event", _text),
    "message_id": ("message_id", _text),
    "user_id": ("user_id", _text),
    "anonymous_id": ("anonymous_id", _text),
    "since": ("since", _moment),
    "until": ("until", _moment),
    "limit": ("limit", _limit),
    "cursor": ("before", _cursor),
}
OF_REJECTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "source": ("source", _id),
    **{name: READERS[name] for name in ("since", "until", "limit", "cursor")},
}
