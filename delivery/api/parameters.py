"""What is asked of a list: read from the address, or refused field by field."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from delivery import log
from delivery.finding import named, scope
from delivery.models import Delivery, Rejection, Replay
from delivery.search import Search, Term, parse
from integrations.api import lists
from integrations.api.errors import Unprocessable
from integrations.api.lists import USUAL


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


def _search(text: str) -> Search:
    search = parse(text)
    if search.problems:
        raise ValueError(" ".join(search.problems))
    return search


def _state(text: str) -> str:
    if text not in Delivery.State.values:
        raise ValueError(f"One of: {', '.join(Delivery.State.values)}.")
    return text


# keys of a search, and the parameters that say the same
TERMS = {
    "installation": "installation", "state": "state", "event": "event", "message": "message_id",
    "user": "user_id", "anon": "anonymous_id", "since": "since", "until": "until",
}  # fmt: skip
READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "q": ("q", _search),
    "installation": ("installation", lists.number),
    "state": ("state", _state),
    "event": ("event", lists.text),
    "message_id": ("message_id", lists.text),
    "user_id": ("user_id", lists.text),
    "anonymous_id": ("anonymous_id", lists.text),
    "since": ("since", lists.moment),
    "until": ("until", lists.moment),
    "limit": ("limit", lists.limit),
    "cursor": ("before", lists.before),
}
OF_REJECTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "source": ("source", lists.number),
    **{name: READERS[name] for name in ("since", "until", "limit", "cursor")},
}
OF_REPLAYS = {name: READERS[name] for name in ("installation", "limit", "cursor")}
OF_PAGES = {name: READERS[name] for name in ("limit", "cursor")}
