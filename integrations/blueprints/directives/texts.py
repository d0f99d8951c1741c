"""Directives that change text: `@case` and `@replace`."""

import re
from collections.abc import Callable
from typing import Any

from integrations.blueprints import javascript
from integrations.blueprints.directives.options import (
    flag_option,
    read_options,
    text_option,
    text_or_directive,
)
from integrations.blueprints.nodes import (
    Mapper,
    Place,
    check_size,
    json_type_name,
    map_to_missing,
)
from integrations.errors import MessageRejected

MAX_PATTERN_UNITS = 10  # UTF-16 units of a pattern or a replacement

CASE_FUNCTIONS: dict[str, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper}


def compile_case(given: Any, place: Place) -> Mapper:
    options = read_options(given, place, required=("operator",), optional=("value",))
    if options is None:
        return map_to_missing
    operator = text_option(options, "operator", place, least=1)
    convert = CASE_FUNCTIONS.get(operator)
    if operator and convert is None:
        place.at("operator").refuse("must be lower or upper", fatal=False)
    if not javascript.is_truthy(options.get("value")):
        return map_to_missing  # as in the reference
    value = text_or_directive(options["value"], place.at("value"))

    def change(payload: Any) -> Any:
        result = value(payload)
        if not isinstance(result, str):
            return result
        if convert is None:
            raise MessageRejected(f"{place.path}/operator: must be lower or upper.")
        return convert(result)

    return change


def compile_replace(given: Any, place: Place) -> Mapper:
    options = read_options(
        given,
        place,
        required=("pattern", "value"),
        optional=("replacement", "pattern2", "replacement2", "ignorecase", "global"),
    )
    if options is None:
        return map_to_missing
    value = text_or_directive(options["value"], place.at("value"))
    ignore_case = flag_option(options, "ignorecase", place, default=False)
    everywhere = flag_option(options, "global", place, default=True)
    replacers = [
        _replacer(*pair, ignore_case=ignore_case, everywhere=everywhere)
        for pair in (_first_pair(options, place), *_second_pair(options, place))
    ]
    if not javascript.is_truthy(options["value"]):
        return map_to_missing  # as in the reference

    def replace(payload: Any) -> str:
        result = value(payload)
        if isinstance(result, bool | int | float):
            result = javascript.to_text(result)
        if not isinstance(result, str):
            return ""
        for replacer in replacers:
            result = replacer(result)
            check_size(result)
        return result

    return replace


def _first_pair(options: dict[str, Any], place: Place) -> tuple[str, str]:
    pattern = text_option(options, "pattern", place, least=1, most=MAX_PATTERN_UNITS)
    return pattern, text_option(options, "replacement", place, most=MAX_PATTERN_UNITS)


def _second_pair(options: dict[str, Any], place: Place) -> list[tuple[str, str]]:
    """Return the second pattern and its replacement, if any."""
    names = ("pattern2", "replacement2")
    given: dict[str, Any] = {name: options[name] or "" for name in names if name in options}
    for key, text in given.items():
        if not isinstance(text, str):
            place.at(key).refuse(f"must be text, not {json_type_name(text)}", fatal=False)
            return []
    pattern = text_option(given, "pattern2", place, most=MAX_PATTERN_UNITS)
    return (
        [(pattern, text_option(given, "replacement2", place, most=MAX_PATTERN_UNITS))]
        if pattern
        else []
    )


def _replacer(
    pattern: str, replacement: str, *, ignore_case: bool, everywhere: bool
) -> Callable[[str], str]:
    if not ignore_case:
        return lambda text: text.replace(pattern, replacement, -1 if everywhere else 1)
    # Without re.ASCII, Python would match "s" with "ſ", and "k" with the Kelvin sign.
    flags = re.IGNORECASE | (re.ASCII if pattern.isascii() else 0)
    regex = re.compile(re.escape(pattern), flags)
    return lambda text: regex.sub(lambda _: replacement, text, count=0 if everywhere else 1)
