"""What the search box offers after a key and a colon."""

from collections import Counter
from collections.abc import Iterable

from delivery.log.search.language import KEYS
from delivery.models import Event
from integrations.models import Installation, Source

RECENT = 2_000  # events, the newest, that values are taken from
MOST = 8
COLUMNS = {"event": "name", "user": "user_id", "anon": "anonymous_id", "message": "message_id"}
TABLES = {"installation": Installation, "source": Source}


def suggestions(key: str, text: str) -> list[str]:
    """Return values of a key that contain a text: first those that begin with it, often used."""
    part = text.lower()
    values = Counter(value for value in _values(key) if part in value.lower())

    def rank(value: str) -> tuple[bool, int]:
        return not value.lower().startswith(part), -values[value]

    return sorted(values, key=rank)[:MOST]


def _values(key: str) -> Iterable[str]:
    if key in COLUMNS:
        newest = Event.objects.order_by("-pk").values_list(COLUMNS[key], flat=True)[:RECENT]
        return filter(None, newest)
    if key in TABLES:
        return TABLES[key].objects.order_by("name").values_list("name", flat=True)
    return KEYS[key].choices if key in KEYS else ()
