"""Parses the filters of the list of deliveries into a search of the log."""

from collections.abc import Mapping
from typing import Any

from delivery.log.search.language import Search, Term, parse_search
from delivery.log.search.names import resolve_names
from delivery.models import Delivery
from integrations.api.errors import Unprocessable
from integrations.api.lists import one_of, parse_id, parse_iso_time, parse_text

# keys of a search, and the parameters that mean the same
PARAMETERS_BY_SEARCH_KEY = {
    "installation": "installation", "state": "state", "event": "event", "message": "message_id",
    "user": "user_id", "anon": "anonymous_id", "since": "since", "until": "until",
}  # fmt: skip


def parse_search_parameter(text: str) -> Search:
    """Return a search written as in the admin's log. Raises ValueError."""
    typed = parse_search(text)
    if typed.problems:
        raise ValueError(" ".join(typed.problems))
    return typed


def build_delivery_search(wanted: Mapping[str, Any]) -> Search:
    """Return all filters as one search. Raises Unprocessable if a name is unknown."""
    typed = wanted.get("q", Search())
    terms = [
        Term(key, str(wanted[name]))
        for key, name in PARAMETERS_BY_SEARCH_KEY.items()
        if name in wanted
    ]
    search = resolve_names(Search(typed.terms + tuple(terms)))
    if search.problems:
        raise Unprocessable({"q": " ".join(search.problems)})
    return search


DELIVERY_FILTERS = {
    "q": parse_search_parameter,
    "installation": parse_id,
    "state": one_of(*Delivery.State.values),
    "event": parse_text,
    "message_id": parse_text,
    "user_id": parse_text,
    "anonymous_id": parse_text,
    "since": parse_iso_time,
    "until": parse_iso_time,
}
