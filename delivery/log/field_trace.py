"""Compares the fields of an event with those of the payload that was sent; pure.

A mapping may rename, flatten, cut and drop fields, and does not record what it did. So this
compares its input and output: a field is the same if name and value are equal, and renamed if only
the value is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SAME, CHANGED, RENAMED, DROPPED, ADDED = "same", "changed", "renamed", "not sent", "added"
CHANGE_ORDER = (CHANGED, RENAMED, ADDED, DROPPED, SAME)  # most interesting first
MIN_RENAMED_VALUE_CHARS = 3  # characters; equal shorter values may be a coincidence


@dataclass(frozen=True, slots=True)
class FieldTrace:
    """The change of one field. `before` and `after` are values as text, "" if there is none."""

    change: str
    path: str
    before: str = ""
    sent_as: str = ""
    after: str = ""


def trace_fields(event: Any, payload: Any) -> list[FieldTrace]:
    """Return the change of every field of the event, and the fields that the payload adds."""
    left = dict(iter_leaves(payload))
    found = [_trace_field(path, value, left) for path, value in iter_leaves(event)]
    found += [FieldTrace(ADDED, "", "", path, value_as_text(value)) for path, value in left.items()]
    return sorted(found, key=lambda each: CHANGE_ORDER.index(each.change))


def iter_leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every leaf, with paths such as `products[0].sku`."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from iter_leaves(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            yield from iter_leaves(each, f"{path}[{number}]")
    else:
        yield path, value


def _trace_field(path: str, value: Any, left: dict[str, Any]) -> FieldTrace:
    """Return the change of a field, and remove its counterpart from `left`."""
    named = [each for each in left if _is_same_path(each, path)]
    as_text = value_as_text(value)
    alike = [each for each in named if value_as_text(left[each]) == as_text]
    if alike:
        return FieldTrace(SAME, path, as_text, alike[0], value_as_text(left.pop(alike[0])))
    if named and len(named) == 1:
        return FieldTrace(CHANGED, path, as_text, named[0], value_as_text(left.pop(named[0])))
    moved = [
        each
        for each in left
        if len(as_text) >= MIN_RENAMED_VALUE_CHARS and value_as_text(left[each]) == as_text
    ]
    if moved:
        return FieldTrace(RENAMED, path, as_text, moved[0], value_as_text(left.pop(moved[0])))
    return FieldTrace(DROPPED, path, as_text)


def _is_same_path(one: str, other: str) -> bool:
    """Return whether the longer path ends with the shorter: `events[0].total`, `total`."""
    short, long = sorted(
        (one.rpartition("properties.")[2], other.rpartition("properties.")[2]), key=len
    )
    return short == long or long.endswith(f".{short}")


def value_as_text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
