"""Suggests values for the search box after a key and a colon."""

from collections import Counter
from collections.abc import Iterable

from delivery.log.search.language import SEARCH_KEYS
from delivery.models import Event
from integrations.models import Installation, Source

SUGGESTION_EVENTS = 2_000  # newest events that values are taken from
MAX_SUGGESTIONS = 8
SUGGESTED_COLUMNS = {
    "event": "name",
    "user": "user_id",
    "anon": "anonymous_id",
    "message": "message_id",
}
SUGGESTED_MODELS = {"installation": Installation, "source": Source}


def suggest_values(key: str, text: str) -> list[str]:
    """Return a key's values that contain a text, prefix matches and frequent values first."""
    part = text.lower()
    values = Counter(value for value in _candidate_values(key) if part in value.lower())

    def rank(value: str) -> tuple[bool, int]:
        return not value.lower().startswith(part), -values[value]

    return sorted(values, key=rank)[:MAX_SUGGESTIONS]


def _candidate_values(key: str) -> Iterable[str]:
    if key in SUGGESTED_COLUMNS:
        newest = Event.objects.order_by("-pk").values_list(SUGGESTED_COLUMNS[key], flat=True)[
            :SUGGESTION_EVENTS
        ]
        return filter(None, newest)
    if key in SUGGESTED_MODELS:
        return SUGGESTED_MODELS[key].objects.order_by("name").values_list("name", flat=True)
    return SEARCH_KEYS[key].choices if key in SEARCH_KEYS else ()
