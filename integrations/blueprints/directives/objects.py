"""Directives that build objects: `@flatten`, `@json`, `@merge`, `@transform`."""

from typing import Any

import msgspec

from integrations.blueprints import javascript
from integrations.blueprints.directives.options import (
    choice_option,
    object_or_directive,
    read_options,
    text_option,
)
from integrations.blueprints.nodes import (
    Mapper,
    Place,
    check_size,
    compile_node,
    compile_root,
    json_type_name,
    map_to_missing,
)
from integrations.blueprints.paths import MISSING

MAX_SEPARATOR_UNITS = 100  # UTF-16 units; it occurs in every key, once for each level


def compile_flatten(given: Any, place: Place) -> Mapper:
    options = read_options(given, place, required=("value", "separator"), optional=("omitArrays",))
    if options is None:
        return map_to_missing
    separator = text_option(options, "separator", place, least=1, most=MAX_SEPARATOR_UNITS)
    value = compile_node(options["value"], place.at("value", keeps_missing=True))
    omit = options.get("omitArrays", False)
    if not isinstance(omit, bool):
        place.at("omitArrays").refuse(
            f"must be true or false, not {json_type_name(omit)}", fatal=False
        )
    containers = (dict,) if javascript.is_truthy(omit) else (dict, list)

    def flatten(payload: Any) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        _flatten_into(flat, value(payload), "", separator, containers)
        return flat

    return flatten


def _flatten_into(
    flat: dict[str, Any], value: Any, name: str, separator: str, containers: tuple[type, ...]
) -> None:
    if not isinstance(value, containers):
        if value is not MISSING:
            flat[name] = value
        return
    for key, each in javascript.index_items(value).items():
        _flatten_into(flat, each, f"{name}{separator}{key}" if name else key, separator, containers)


def compile_json(given: Any, place: Place) -> Mapper:
    options = read_options(given, place, required=("mode", "value"))
    if options is None:
        return map_to_missing
    mode = choice_option(options, "mode", place, ("encode", "decode"))
    value = compile_node(options["value"], place.at("value"))
    convert = {"encode": javascript.to_json, "decode": _decode_json}.get(mode)
    if convert is None:
        return map_to_missing

    def run(payload: Any) -> Any:
        result = value(payload)
        if result is MISSING:
            return result
        check_size(result)  # each level of encoding doubles the escapes of the one within
        return convert(result)

    return run


def _decode_json(value: Any) -> Any:
    """Decode JSON text. Any other value is returned unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return value


def compile_merge(given: Any, place: Place) -> Mapper:
    options = read_options(given, place, required=("direction", "objects"))
    if options is None:
        return map_to_missing
    direction = choice_option(options, "direction", place, ("left", "right"))
    objects, below = options["objects"], place.at("objects")
    if not isinstance(objects, list):
        return below.refuse(f"must be a list, not {json_type_name(objects)}")
    parts = [
        object_or_directive(each, below.at(n, keeps_missing=True)) for n, each in enumerate(objects)
    ]
    if direction == "left":
        parts.reverse()

    def merge(payload: Any) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for part in parts:
            value = javascript.index_items(part(payload))
            if isinstance(value, dict):
                merged.update(value)
        if place.keeps_missing:
            return merged
        return {key: value for key, value in merged.items() if value is not MISSING}

    return merge


def compile_transform(given: Any, place: Place) -> Mapper:
    options = read_options(given, place, required=("apply", "mapping"))
    if options is None:
        return map_to_missing
    for key in ("apply", "mapping"):
        if json_type_name(options[key]) not in ("an object", "a directive"):
            return place.at(key).refuse(f"must be an object, not {json_type_name(options[key])}")
    apply = compile_root(options["apply"], place.at("apply"))
    mapping = compile_node(options["mapping"], place.through("mapping"))
    return lambda payload: mapping(apply(payload))
