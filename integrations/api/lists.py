"""The parameters of the API's addresses, and its lists: read what is asked for, refuse the rest
by name, answer a page."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime

from integrations.api.errors import Unprocessable
from integrations.keyset import Page, fetch_page, filter_time_range

MAX_PAGE_SIZE = 100  # rows a page
DEFAULT_PAGE_SIZE = 50
MAX_ID = 2**63 - 1  # of an id
EARLIEST_TIME, LATEST_TIME = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)

ParameterParser = Callable[[str], Any]


def parse_query_params(
    given: Mapping[str, str], readers: Mapping[str, ParameterParser]
) -> dict[str, Any]:
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


def list_parameters(**filters: ParameterParser) -> dict[str, ParameterParser]:
    """Return the parameters of a list with these filters."""
    return {**filters, "limit": parse_limit, "cursor": parse_cursor}


def paginate(
    rows: QuerySet[Any],
    present: Callable[[Any], Any],
    *,
    limit: int = DEFAULT_PAGE_SIZE,
    cursor: int | None = None,
    at: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    **filters: Any,
) -> dict[str, Any]:
    """Return a page of the rows with these values as every list answers it, newest first.

    at  the column that since and until are about
    """
    fitting = filter_time_range(rows.filter(**filters), at, since=since, until=until)
    return serialize_page(fetch_page(fitting, limit=limit, before=cursor), present)


def pop_page_arguments(wanted: dict[str, Any]) -> dict[str, Any]:
    """Take from what is asked for which page it is, as page() of a scope wants it."""
    return {"limit": wanted.pop("limit", DEFAULT_PAGE_SIZE), "before": wanted.pop("cursor", None)}


def serialize_page(page: Page, present: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a page as every list answers it."""
    following = None
    if page.has_older:
        following = encode_cursor(page.scanned_to or page.rows[-1].pk)
    return {
        "data": [present(each) for each in page.rows],
        "next_cursor": following,
        "has_more": page.has_older,
    }


def encode_cursor(pk: int) -> str:
    """Return the text that asks for the page after the row of that id."""
    return urlsafe_b64encode(f"before:{pk}".encode()).decode().rstrip("=")


# --- what a parameter can be: each raises ValueError with the fix -------------------------------


def parse_cursor(text: str) -> int:
    try:
        name, _, number = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(":")
    except ValueError:
        name, number = "", ""
    if name != "before" or not number.isdecimal() or int(number) > MAX_ID:
        raise ValueError("Use the next_cursor of the page before, unchanged.")
    return int(number)


def parse_limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_PAGE_SIZE:
        raise ValueError(f"Must be a number from 1 to {MAX_PAGE_SIZE}.")
    return int(text)


def parse_id(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_ID:
        raise ValueError("Must be a number: the id.")
    return int(text)


def parse_text(text: str) -> str:
    if not text or "\x00" in text:
        raise ValueError("Must be a text.")
    return text


def parse_iso_time(text: str) -> datetime:
    # In an address a "+" that was not escaped arrives as a space.
    found = parse_datetime(text.replace(" ", "+") if text.count(":") > 1 else text)
    if found is None:
        raise ValueError("Must be a time such as 2026-11-21T12:00:00Z.")
    if not EARLIEST_TIME.year <= found.year <= LATEST_TIME.year:  # beyond them Python cannot count
        return EARLIEST_TIME if found.year < EARLIEST_TIME.year else LATEST_TIME
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def parse_flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false.")
    return text == "true"


def one_of(*values: str) -> ParameterParser:
    def reader(text: str) -> str:
        if text not in values:
            raise ValueError(f"One of: {', '.join(values)}.")
        return text

    return reader
