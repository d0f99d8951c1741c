"""What became of each field of an event in what was sent; pure.

A mapping may rename, flatten, cut and drop. Nothing follows a field through it, so this compares
the two ends: fields are the same when name and value are, renamed when the value alone is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SAME, CHANGED, RENAMED, DROPPED, ADDED = "same", "changed", "renamed", "not sent", "added"
CHANGE_ORDER = (CHANGED, RENAMED, ADDED, DROPPED, SAME)  # what one looks for first
MIN_RENAMED_VALUE_CHARS = (
    3  # characters: a shorter value alone does not show that two fields are one
)


@dataclass(frozen=True, slots=True)
class FieldTrace:
    """One field. `before` and `after` are values as text, "" where there is none."""

    change: str
    path: str
    before: str = ""
    sent_as: str = ""
    after: str = ""


def trace_fields(event: Any, payload: Any) -> list[FieldTrace]:
    """Return the fate of every field of the event, and what the payload has beside them."""
    left = dict(iter_leaves(payload))
    found = [_trace_field(path, value, left) for path, value in iter_leaves(event)]
    found += [FieldTrace(ADDED, "", "", path, value_as_text(value)) for path, value in left.items()]
    return sorted(found, key=lambda each: CHANGE_ORDER.index(each.change))


def iter_leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of everything that holds no other value: `products[0].sku`."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from iter_leaves(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            yield from iter_leaves(each, f"{path}[{number}]")
    else:
        yield path, value


def _trace_field(path: str, value: Any, left: dict[str, Any]) -> FieldTrace:
    """Return what became of a field, and take what it became out of what is left."""
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
    """Say whether the shorter path is the end of the longer: `events[0].total`, `total`."""
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
