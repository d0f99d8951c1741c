"""JavaScript's conversions of values, on which the mapping language is based.

Source of the rules: https://tc39.es/ecma262/#sec-numeric-types-number-tostring and
https://tc39.es/ecma262/#sec-json.stringify (seen 2026-11).
"""

from decimal import Decimal
from math import isfinite
from typing import Any

import msgspec

ALL_DIGITS_BELOW = 1e21  # from here on JavaScript writes 1e+21
FRACTION_FROM = -6  # the smallest power of ten that JavaScript writes in full: 0.000001


def to_text(value: Any) -> str:
    """Return a value as a template renders it: null as "", objects and lists as JSON.

    JavaScript would render an object as [object Object], which is of no use.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return to_json(value)


def to_json(value: Any) -> str:
    """Return a value as JSON, with numbers as JavaScript writes them."""
    return msgspec.json.encode(_with_javascript_numbers(value)).decode()


def number_to_text(value: float) -> str:
    """Return a number as JavaScript writes it: 1.0 as 1, 1e+21, 1e-7.

    A whole number keeps all its digits. Beyond 2**53 JavaScript would lose digits of an id.
    """
    if isinstance(value, int):
        return str(value)
    if not isfinite(value):
        return "null"
    if value.is_integer() and abs(value) < ALL_DIGITS_BELOW:
        return f"{Decimal(repr(value + 0)):.0f}"  # + 0 makes 0 of -0
    digits, _, power = repr(value).partition("e")
    if not power:
        return digits
    if FRACTION_FROM <= int(power) < 0:
        return f"{Decimal(repr(value)):f}"
    return f"{digits}e{int(power):+}"


def index_items(value: Any) -> Any:
    """Return a list or text as the object that JavaScript sees: `{"0": …, "1": …}`."""
    if isinstance(value, list | str):
        return {str(index): each for index, each in enumerate(value)}
    return value


def is_truthy(value: Any) -> bool:
    """Return whether JavaScript treats a value as true: all but null, false, 0 and ""."""
    return bool(value) or isinstance(value, list | dict)


def is_blank(value: Any) -> bool:
    """Return whether a value is null or, in JavaScript, loosely equal to the empty string.

    0, false and "" are, and so are lists that convert to "": [], [null], [[""]].
    """
    if isinstance(value, list):
        return not value or (len(value) == 1 and value[0] not in (0, False) and is_blank(value[0]))
    return not value and not isinstance(value, dict)


def _with_javascript_numbers(value: Any) -> Any:
    if isinstance(value, float):
        return msgspec.Raw(number_to_text(value).encode())
    if isinstance(value, dict):
        return {key: _with_javascript_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_javascript_numbers(each) for each in value]
    return value
