"""Conditional directives: `@if` and `@excludeWhenNull`."""

from typing import Any

from integrations.blueprints import javascript
from integrations.blueprints.directives.options import raw_or_directive, read_options
from integrations.blueprints.nodes import Mapper, Place, compile_node, map_to_missing
from integrations.blueprints.paths import MISSING


def compile_if(given: Any, place: Place) -> Mapper:
    options = read_options(given, place, optional=("exists", "blank", "then", "else"))
    if options is None:
        return map_to_missing
    if "exists" not in options and "blank" not in options:
        return place.refuse('needs "exists" or "blank"')
    asked = "exists" if "exists" in options else "blank"
    value = compile_node(options[asked], place.at(asked))
    then, otherwise = (
        _compile_branch(options, "then", place),
        _compile_branch(options, "else", place),
    )
    if options.get("else") is None:
        otherwise = map_to_missing  # a null in "then" is kept, as in the reference
    is_blank = javascript.is_blank if asked == "blank" else _is_null

    def choose(payload: Any) -> Any:
        result = value(payload)
        return otherwise(payload) if result is MISSING or is_blank(result) else then(payload)

    return choose


def _compile_branch(options: dict[str, Any], name: str, place: Place) -> Mapper:
    return compile_node(options[name], place.through(name)) if name in options else map_to_missing


def _is_null(value: Any) -> bool:
    return value is None


def compile_exclude_when_null(given: Any, place: Place) -> Mapper:
    value = raw_or_directive(given, place)

    def exclude(payload: Any) -> Any:
        result = value(payload)
        if result is None:
            return MISSING
        return (
            _without_nulls(result, keeps_missing=place.keeps_missing)
            if isinstance(result, dict)
            else result
        )

    return exclude


def _without_nulls(value: dict[str, Any], *, keeps_missing: bool) -> dict[str, Any]:
    cleaned = {
        key: _without_nulls(each, keeps_missing=False) if isinstance(each, dict) else each
        for key, each in value.items()
        if each is not None
    }
    if keeps_missing:
        cleaned |= {key: MISSING for key, each in value.items() if each is None}
    return cleaned
