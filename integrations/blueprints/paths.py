"""Paths: `$.context.page.url`, `products[0].sku`, `traits['first name']`."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

MISSING: Any = object()  # the result of a path without a value; such keys are left out

# Brackets separate only around a number or a quoted key: `a[b]` is a single key.
PATH_SEPARATOR = re.compile(r"""\[(?=["'0-9])|\.|(?<=["'0-9])\]+""")
QUOTES = str.maketrans("", "", "'\"")


@lru_cache(maxsize=4_096)
def parse_path(path: str) -> tuple[str, ...]:
    """Return the keys of a path, or none for the whole message: "", "." or "$."."""
    parts = PATH_SEPARATOR.split(path.replace("$.", "", 1))
    return tuple(part.translate(QUOTES) for part in parts if part)


@lru_cache(maxsize=4_096)
def parse_template_path(path: str) -> tuple[str, ...]:
    """Return the keys of a path between braces, where "$." has no special meaning."""
    return tuple(part.translate(QUOTES) for part in PATH_SEPARATOR.split(path) if part)


def follow_path(value: Any, keys: tuple[str, ...]) -> Any:
    """Return the value at the end of the keys, or MISSING.

    A value that JavaScript treats as false (null, false, 0, "") ends the path and is the result.
    """
    for key in keys:
        if type(value) is dict:
            value = value.get(key, MISSING)
        elif type(value) is list:
            value = _list_item(value, key)
        else:
            return MISSING if value else value
        if value is MISSING:
            return value
    return value


def path_getter(keys: tuple[str, ...]) -> Callable[[Any], Any]:
    """Return a function that follows these keys from a value."""
    if len(keys) == 1:
        [key] = keys

        def look_up(value: Any) -> Any:
            return value.get(key, MISSING) if type(value) is dict else follow_path(value, keys)

        return look_up
    return lambda value: follow_path(value, keys)


def _list_item(value: list[Any], key: str) -> Any:
    if not (key.isascii() and key.isdecimal() and len(key) < 10) or key != str(int(key)):
        return MISSING
    return value[int(key)] if int(key) < len(value) else MISSING
