"""Query parameters and lists: parse parameters, reject unknown ones by name, return a page."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime

from integrations.api.errors import Unprocessable
from integrations.formats.times import clamp_time
from integrations.keyset import Page, fetch_page, filter_time_range

MAX_PAGE_SIZE = 100  # rows per page
DEFAULT_PAGE_SIZE = 50
MAX_ID = 2**63 - 1  # the largest id that the database can store

ParameterParser = Callable[[str], Any]


def parse_query_params(
    params: Mapping[str, str], readers: Mapping[str, ParameterParser]
) -> dict[str, Any]:
    """Return the parsed parameters. Raises Unprocessable, which names each invalid one."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, text in params.items():
        if name not in readers:
            wrong[name] = f"Unknown parameter. Known parameters: {', '.join(readers) or 'none'}."
            continue
        try:
            values[name] = readers[name](text)
        except ValueError as error:
            wrong[name] = str(error)
    if wrong:
        raise Unprocessable(wrong)
    return values


def list_parameters(**filters: ParameterParser) -> dict[str, ParameterParser]:
    """Return the parameters of a list: its filters, `limit` and `cursor`."""
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
    """Return a page of the rows that match the filters, newest first, as serialize_page() does.

    at  the column that since and until apply to
    """
    fitting = filter_time_range(rows.filter(**filters), at, since=since, until=until)
    return serialize_page(fetch_page(fitting, limit=limit, before=cursor), present)


def pop_page_arguments(wanted: dict[str, Any]) -> dict[str, Any]:
    """Remove `limit` and `cursor` from the parameters; return them as arguments of page()."""
    return {"limit": wanted.pop("limit", DEFAULT_PAGE_SIZE), "before": wanted.pop("cursor", None)}


def serialize_page(page: Page, present: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a page as all lists do: {"data", "next_cursor", "has_more"}."""
    following = None
    if page.has_older:
        following = encode_cursor(page.scanned_to or page.rows[-1].pk)
    return {
        "data": [present(each) for each in page.rows],
        "next_cursor": following,
        "has_more": page.has_older,
    }


def encode_cursor(pk: int) -> str:
    """Return the cursor of the page that follows the row with this id."""
    return urlsafe_b64encode(f"before:{pk}".encode()).decode().rstrip("=")


# --- parsers of parameters; each raises ValueError with the fix ---------------------------------


def parse_cursor(text: str) -> int:
    try:
        name, _, number = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(":")
    except ValueError:
        name, number = "", ""
    if name != "before" or not number.isdecimal() or int(number) > MAX_ID:
        raise ValueError("Use the next_cursor of the previous page, unchanged.")
    return int(number)


def parse_limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_PAGE_SIZE:
        raise ValueError(f"Must be a number from 1 to {MAX_PAGE_SIZE}.")
    return int(text)


def parse_id(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_ID:
        raise ValueError("Must be a numeric id.")
    return int(text)


def parse_text(text: str) -> str:
    if not text or "\x00" in text:
        raise ValueError("Must not be empty or contain NUL characters.")
    return text


def parse_iso_time(text: str) -> datetime:
    # An unescaped "+" in a URL arrives as a space.
    time = parse_datetime(text.replace(" ", "+") if text.count(":") > 1 else text)
    if time is None:
        raise ValueError("Must be a time such as 2026-11-21T12:00:00Z.")
    return clamp_time(time if time.tzinfo else time.replace(tzinfo=UTC))


def parse_flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("Must be true or false.")
    return text == "true"


def one_of(*values: str) -> ParameterParser:
    def reader(text: str) -> str:
        if text not in values:
            raise ValueError(f"Must be one of: {', '.join(values)}.")
        return text

    return reader
