"""What is asked of a list: read from the address, or refused field by field."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from delivery import log
from delivery.finding import named, scope
from delivery.models import Delivery, Rejection, Replay
from delivery.search import Search, Term, parse
from integrations.api.errors import Unprocessable

MOST = 100  # rows a page
USUAL = 50
LARGEST = 2**63 - 1  # of an id


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which deliveries are asked for; None is any. q: a search as in the admin's log."""

    q: Search = Search()
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

    def search(self) -> Search:
        """Return all that is asked as one search. Raises Unprocessable where a name is unknown."""
        given = {key: getattr(self, name) for key, name in TERMS.items()}
        terms = [Term(key, str(value)) for key, value in given.items() if value is not None]
        search = named(Search(self.q.terms + tuple(terms)))
        if search.problems:
            raise Unprocessable({"q": " ".join(search.problems)})
        return search

    def page(self) -> log.Page:
        whole = scope(self.search(), timezone.now())
        return whole.page(limit=self.limit, before=self.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRejections:
    """Which rejections are asked for; None is any."""

    source: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = USUAL
    before: int | None = None

    def page(self) -> log.Page:
        rows = Rejection.objects.select_related("source")
        if self.source is not None:
            rows = rows.filter(source=self.source)
        rows = log.arrived(rows, "received_at", since=self.since, until=self.until)
        return log.page(rows, limit=self.limit, before=self.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedReplays:
    """Which replays are asked for; None is any."""

    installation: int | None = None
    limit: int = USUAL
    before: int | None = None

    def page(self) -> log.Page:
        rows = Replay.objects.select_related("installation", "created_by")
        if self.installation is not None:
            rows = rows.filter(installation=self.installation)
        return log.page(rows, limit=self.limit, before=self.before)


def read(given: Mapping[str, str]) -> Asked:
    """Return which deliveries are asked for. Raises Unprocessable naming each wrong parameter."""
    return Asked(**_values(given, READERS))


def read_rejections(given: Mapping[str, str]) -> AskedRejections:
    """Return which rejections are asked for. Raises Unprocessable, as read() does."""
    return AskedRejections(**_values(given, OF_REJECTIONS))


def read_replays(given: Mapping[str, str]) -> AskedReplays:
    """Return which replays are asked for. Raises Unprocessable, as read() does."""
    return AskedReplays(**_values(given, OF_REPLAYS))


def read_page(given: Mapping[str, str]) -> dict[str, Any]:
    """Return `limit` and `before` of a list without filters. Raises Unprocessable, as read()."""
    return {"limit": USUAL, "before": None, **_values(given, OF_PAGES)}


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


def _search(text: str) -> Search:
    search = parse(text)
    if search.problems:
        raise ValueError(" ".join(search.problems))
    return search


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


# keys of a search, and the parameters that say the same
TERMS = {
    "installation": "installation", "state": "state", "event": "event", "message": "message_id",
    "user": "user_id", "anon": "anonymous_id", "since": "since", "until": "until",
}  # fmt: skip
READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "q": ("q", _search),
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
OF_REPLAYS = {name: READERS[name] for name in ("installation", "limit", "cursor")}
OF_PAGES = {name: READERS[name] for name in ("limit", "cursor")}
