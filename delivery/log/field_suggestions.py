"""Suggests fields and event names from recent events for triggers and mappings."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from delivery.models import Event
from delivery.transform.stored_messages import STORED_MESSAGE_COLUMNS, decode_stored_message
from integrations.blueprints import build_message_view
from integrations.blueprints.trigger_syntax import TRIGGER_FIELDS as FIELDS_OF_TRIGGERS

VOCABULARY_EVENTS = 100  # newest events that are read
MAX_SUGGESTED_FIELDS = 400
MAX_FIELD_DEPTH = 6  # levels of nested objects
MAX_EXAMPLE_CHARS = 40
DOTTED_KEY = re.compile(r"[A-Za-z_$][\w$]*")  # a key that may follow a dot without quotes


@dataclass(frozen=True, slots=True)
class FieldSuggestion:
    """A field of a recent event.

    trigger, path  the field in a trigger and in a mapping: `properties.total`,
                   `$.properties.total`; "" where that language cannot express it
    example        a value, shortened
    """

    trigger: str
    path: str
    example: str


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Fields, and names of tracked events, pages and screens."""

    fields: list[FieldSuggestion]
    names: list[str]


def build_vocabulary() -> Vocabulary:
    """Return the fields and names of the newest events, with the newest example of each field."""
    rows = (
        Event.objects.filter(body__isnull=False)
        .order_by("-pk")
        .values_list(*STORED_MESSAGE_COLUMNS)[:VOCABULARY_EVENTS]
    )
    found: dict[tuple[str, ...], FieldSuggestion] = {}
    names: dict[str, None] = {}
    for message in (decode_stored_message(*row) for row in rows):
        names.setdefault(message.name)
        for keys, value in _leaves(build_message_view(message)):
            if keys not in found and len(found) < MAX_SUGGESTED_FIELDS:
                found[keys] = FieldSuggestion(
                    _trigger_path(keys), _mapping_path(keys), _shortened_example(value)
                )
    return Vocabulary([found[keys] for keys in sorted(found)], sorted(filter(None, names)))


def _leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value with the keys that lead to it; of a list, the list and its first item."""
    if isinstance(value, list) and keys:
        yield keys, value
        value = {"0": value[0]} if value and isinstance(value[0], dict) else {}
    if not isinstance(value, dict):
        yield keys, value
    elif len(keys) < MAX_FIELD_DEPTH:
        for key, each in value.items():
            yield from _leaves(each, (*keys, key))


def _trigger_path(keys: tuple[str, ...]) -> str:
    first, *others = keys
    if first not in FIELDS_OF_TRIGGERS or any(each in key for key in others for each in '"\\'):
        return ""
    return first + "".join(_path_step(key, '"') for key in others)


def _mapping_path(keys: tuple[str, ...]) -> str:
    first, *others = keys
    if any(each in key for key in keys for each in ".'[]"):  # mapping paths split at these
        return ""
    return f"$.{first}" + "".join(_path_step(key, "'") for key in others)


def _path_step(key: str, quote: str) -> str:
    if key.isdecimal():
        return f"[{key}]"
    return f".{key}" if DOTTED_KEY.fullmatch(key) else f"[{quote}{key}{quote}]"


def _shortened_example(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_EXAMPLE_CHARS else f"{text[: MAX_EXAMPLE_CHARS - 1]}…"
