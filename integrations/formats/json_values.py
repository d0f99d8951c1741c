"""JSON values that come from outside: which can be stored, and how a stored text is read again."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec

MAX_NESTING_LEVELS = 64  # of arrays and objects


def find_unstorable(
    value: Any, place: str = "", levels: int = MAX_NESTING_LEVELS
) -> Iterator[tuple[str, str]]:
    """Yield (place, problem) for each part of a JSON value that cannot be stored.

    place  the path of the value, such as "default_context.app"; "" stands for the whole body
    """
    if isinstance(value, str):
        yield from _string_problems(value, place or "body")
    elif isinstance(value, float) and not math.isfinite(value):
        yield place or "body", "The number is too large."
    elif isinstance(value, dict | list) and levels == 0:
        yield place or "body", f"It is nested deeper than {MAX_NESTING_LEVELS} levels."
    elif isinstance(value, dict):
        for key, each in value.items():
            inner = f"{place}.{readable(key)}" if place else readable(key)
            yield from find_unstorable(key, inner)
            yield from find_unstorable(each, inner, levels - 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from find_unstorable(
                each, f"{place}.{number}" if place else str(number), levels - 1
            )


def readable(text: str) -> str:
    """Return the text with "?" for each character that no response can hold."""
    return text.encode(errors="replace").decode().replace("\x00", "?")


def _string_problems(text: str, place: str) -> Iterator[tuple[str, str]]:
    if "\x00" in text:
        yield place, "Remove the NUL character."
    elif any("\ud800" <= each <= "\udfff" for each in text):
        yield place, "Contains half of a character: a surrogate without its pair."


def parse_json_or_text(text: str) -> Any:
    """Return the value of a JSON text, or the text itself if it cannot be written as JSON again.

    That is the case if it is not JSON, or has a number that is too large or very deep nesting.
    """
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text
