"""The parameters of the API's addresses, and its lists: read what is asked for, refuse the rest
by name, answer a page."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime

from integrations.api.errors import Unprocessable
from integrations.keyset import Page, arrived, page

MOST = 100  # rows a page
USUAL = 50
LARGEST = 2**63 - 1  # of an id
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)

Reader = Callable[[str], Any]


def asked(given: Mapping[str, str], readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Return what the address asks for. Raises Unprocessable, by name."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, text in given.items():
        if name not in readers:
            wrong[name] = f"Not a parameter; there are: {', '.join(readers) or 'none'}."
            continue
        try:
            values[name] = readers[name](text)
        except ValueError as error:
            wrong[name] = str(error)
    if wrong:
        raise Unprocessable(wrong)
    return values


def paged(**filters: Reader) -> dict[str, Reader]:
    """Return the parameters of a list with these filters."""
    return {**filters, "limit": limit, "cursor": before}


def answered(
    rows: QuerySet[Any],
    present: Callable[[Any], Any],
    *,
    limit: int = USUAL,
    cursor: int | None = None,
    at: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    **filters: Any,
) -> dict[str, Any]:
    """Return a page of the rows with these values as every list answers it, newest first.

    at  the column that since and until are about
    """
    fitting = arrived(rows.filter(**filters), at, since=since, until=until)
    return as_answered(page(fitting, limit=limit, before=cursor), present)


def place(wanted: dict[str, Any]) -> dict[str, Any]:
    """Take from what is asked for which page it is, as page() of a scope wants it."""
    return {"limit": wanted.pop("limit", USUAL), "before": wanted.pop("cursor", None)}


def as_answered(found: Page, present: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a page as every list answers it."""
    following = None
    if found.has_older:
        following = cursor_after(found.looked_to or found.rows[-1].pk)
    return {
        "data": [present(each) for each in found.rows],
        "next_cursor": following,
        "has_more": found.has_older,
    }


def cursor_after(pk: int) -> str:
    """Return the text that asks for the page after the row of that id."""
    return urlsafe_b64encode(f"before:{pk}".encode()).decode().rstrip("=")


# --- what a parameter can be: each raises ValueError with the fix -------------------------------


def before(text: str) -> int:
    try:
        name, _, number = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(":")
    except ValueError:
        name, number = "", ""
    if name != "before" or not number.isdecimal() or int(number) > LARGEST:
        raise ValueError("Use the next_cursor of the page before, unchanged.")
    return int(number)


def limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise ValueError(f"Must be a number from 1 to {MOST}.")
    return int(text)


def number(text: str) -> int:
    if not text.isdecimal() or int(text) > LARGEST:
        raise ValueError("Must be a number: the id.")
    return int(text)


def text(text: str) -> str:
    if not text or "\x00" in text:
        raise ValueError("Must be a text.")
    return text


def moment(text: str) -> datetime:
    # In an address a "+" that was not escaped arrives as a space.
    found = parse_datetime(text.replace(" ", "+") if text.count(":") > 1 else text)
    if found is None:
        raise ValueError("Must be a time such as 2026-11-21T12:00:00Z.")
    if not FIRST.year <= found.year <= LAST.year:  # beyond them Python cannot count
        return FIRST if found.year < FIRST.year else LAST
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false.")
    return text == "true"


def one_of(*values: str) -> Reader:
    def reader(text: str) -> str:
        if text not in values:
            raise ValueError(f"One of: {', '.join(values)}.")
        return text

    return reader
