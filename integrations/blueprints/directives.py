"""The directives of the mapping language, each a function from its JSON to a mapper.

Results are those of Segment's mapping kit (github.com/segmentio/action-destinations,
packages/core/src/mapping-kit, seen 2026-11) but for the accidents that docs/blueprints.md lists.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import inf
from typing import Any

import msgspec

from integrations.blueprints import javascript
from integrations.blueprints.nodes import (
    Directive,
    Mapper,
    Place,
    compile_node,
    compile_root,
    kind,
    nothing,
)
from integrations.blueprints.paths import (
    MISSING,
    follow,
    follower,
    keys_in_template,
    keys_of,
)
from integrations.errors import MessageRejected

LONGEST = 10  # UTF-16 units of a pattern or a replacement
PLACEHOLDER = re.compile(r"\{\{\{([^}]+)\}\}\}|\{\{([^}]+)\}\}")
CASES: dict[str, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper}


# --- options: what stands behind a directive's name ---


def _options(
    given: Any, place: Place, required: Sequence[str] = (), optional: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Return the options of a directive, or None when they are no use; the place knows why."""
    if kind(given) != "an object":
        place.refuse(f"must be an object, and is {kind(given)}")
        return None
    for key in given.keys() - {*required, *optional}:
        place.at(key).refuse("is not an option of this directive", always=False)
        compile_node(given[key], place.at(key))  # for its problems
    missing = [key for key in required if key not in given]
    for key in missing:
        place.refuse(f'needs "{key}"')
    for key in given if missing else ():
        compile_node(given[key], place.at(key))  # for its problems
    return None if missing else dict(given)


def _text_or_directive(given: Any, place: Place) -> Mapper:
    if kind(given) not in ("a text", "a directive"):
        place.refuse(f"must be a text or a directive, and is {kind(given)}")
    return compile_node(given, place)


def _raw_or_directive(given: Any, place: Place) -> Mapper:
    return compile_node(given, place if kind(given) == "a directive" else place.unchecked())


def _object_or_directive(given: Any, place: Place) -> Mapper:
    if kind(given) not in ("an object", "a directive"):
        place.refuse(f"must be an object or a directive, and is {kind(given)}")
    return compile_node(given, place)


def _text(
    given: dict[str, Any], key: str, place: Place, *, least: int = 0, most: float = inf
) -> str:
    """Return a text of the options, "" when there is none. The limits are in UTF-16 units."""
    text, place = given.get(key, ""), place.at(key)
    if not isinstance(text, str):
        place.refuse(f"must be a text, and is {kind(text)}")
        return ""
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    if units < least:
        place.refuse("must not be empty")
    if units > most:
        place.refuse(f"must have at most {most} characters")
    return text


def _flag(given: dict[str, Any], key: str, place: Place, *, default: bool) -> bool:
    flag = given.get(key, default)
    if not isinstance(flag, bool):
        place.at(key).refuse(f"must be true or false, and is {kind(flag)}")
    return bool(flag)


def _one_of(given: dict[str, Any], key: str, place: Place, known: Sequence[str]) -> str:
    word, place = given[key], place.at(key)
    if word not in known:
        almost = isinstance(word, str) and word.lower() in known
        place.refuse(f"must be {' or '.join(known)}", always=not almost)
    return word if isinstance(word, str) else ""


# --- reading the message ---


def _path(given: Any, place: Place) -> Mapper:
    if isinstance(given, str):
        return follower(keys_of(given))
    path = _string(_text_or_directive(given, place), place)
    return lambda payload: follow(payload, keys_of(path(payload)))


def _template(given: Any, place: Place) -> Mapper:
    if isinstance(given, str):
        pieces = _pieces(given)
        return lambda payload: _filled(pieces, payload)
    template = _string(_text_or_directive(given, place), place)
    return lambda payload: _filled(_pieces(template(payload)), payload)


def _string(mapper: Mapper, place: Place) -> Mapper:
    """Return a mapper for a text that a directive makes."""

    def checked(payload: Any) -> str:
        value = mapper(payload)
        if not isinstance(value, str):
            was = "missing" if value is MISSING else kind(value)
            raise MessageRejected(f"{place.path}: must be a text, and is {was} here.")
        return value

    return checked


Pieces = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]


@lru_cache(maxsize=4_096)
def _pieces(template: str) -> Pieces:
    """Return the texts around the placeholders, and the keys that each placeholder follows."""
    texts, paths, end = [], [], 0
    for found in PLACEHOLDER.finditer(template):
        texts.append(template[end : found.start()])
        paths.append(keys_in_template((found[1] or found[2]).strip()))
        end = found.end()
    return (*texts, template[end:]), tuple(paths)


def _filled(pieces: Pieces, payload: Any) -> str:
    texts, paths = pieces
    filled = [texts[0]]
    for keys, text in zip(paths, texts[1:], strict=True):
        value = follow(payload, keys)
        filled += "" if value is MISSING else javascript.text(value), text
    return "".join(filled)


def _array_path(given: Any, place: Place) -> Mapper:
    if not isinstance(given, list):
        return place.refuse(f"must be a list of a path and a shape, and is {kind(given)}")
    path, shape = (*given, None, None)[:2]
    if len(given) > 2:
        place.refuse("takes a path and a shape, and nothing more", always=False)
    if isinstance(path, str):
        find = _path(path, place.at(0))
    else:
        find = _text_or_directive(path, place.at(0))
    shaped = compile_node(shape, place.at(1))
    if not isinstance(shape, dict) or not shape:
        return find

    def each(payload: Any) -> Any:
        found = find(payload)
        if isinstance(found, dict):
            found = [found]
        if not isinstance(found, list):
            return found
        items = [shaped(item) for item in found]
        return [None if item is MISSING else item for item in items]

    return each


# --- deciding ---


def _if(given: Any, place: Place) -> Mapper:
    options = _options(given, place, optional=("exists", "blank", "then", "else"))
    if options is None:
        return nothing
    if "exists" not in options and "blank" not in options:
        return place.refuse('needs "exists" or "blank"')
    asked = "exists" if "exists" in options else "blank"
    value = compile_node(options[asked], place.at(asked))
    then, otherwise = _branch(options, "then", place), _branch(options, "else", place)
    if options.get("else") is None:
        otherwise = nothing  # a null in "then" is kept, as in the reference
    is_blank = javascript.is_blank if asked == "blank" else _is_null

    def choose(payload: Any) -> Any:
        found = value(payload)
        return otherwise(payload) if found is MISSING or is_blank(found) else then(payload)

    return choose


def _branch(options: dict[str, Any], name: str, place: Place) -> Mapper:
    return compile_node(options[name], place.through(name)) if name in options else nothing


def _is_null(value: Any) -> bool:
    return value is None


def _exclude_when_null(given: Any, place: Place) -> Mapper:
    value = _raw_or_directive(given, place)

    def exclude(payload: Any) -> Any:
        found = value(payload)
        if found is None:
            return MISSING
        return _without_nulls(found, keeps=place.keeps) if isinstance(found, dict) else found

    return exclude


def _without_nulls(value: dict[str, Any], *, keeps: bool) -> dict[str, Any]:
    cleaned = {
        key: _without_nulls(each, keeps=False) if isinstance(each, dict) else each
        for key, each in value.items()
        if each is not None
    }
    if keeps:
        cleaned |= {key: MISSING for key, each in value.items() if each is None}
    return cleaned


def _literal(given: Any, place: Place) -> Mapper:
    return _raw_or_directive(given, place)


# --- texts ---


def _case(given: Any, place: Place) -> Mapper:
    options = _options(given, place, required=("operator",), optional=("value",))
    if options is None:
        return nothing
    operator = _text(options, "operator", place, least=1)
    convert = CASES.get(operator)
    if operator and convert is None:
        place.at("operator").refuse("must be lower or upper", always=False)
    if not javascript.is_true(options.get("value")):
        return nothing  # as in the reference
    value = _text_or_directive(options["value"], place.at("value"))

    def change(payload: Any) -> Any:
        found = value(payload)
        if not isinstance(found, str):
            return found
        if convert is None:
            raise MessageRejected(f"{place.path}/operator: must be lower or upper.")
        return convert(found)

    return change


def _replace(given: Any, place: Place) -> Mapper:
    options = _options(
        given,
        place,
        required=("pattern", "value"),
        optional=("replacement", "pattern2", "replacement2", "ignorecase", "global"),
    )
    if options is None:
        return nothing
    value = _text_or_directive(options["value"], place.at("value"))
    ignore_case = _flag(options, "ignorecase", place, default=False)
    everywhere = _flag(options, "global", place, default=True)
    replacers = [
        _replacer(*pair, ignore_case=ignore_case, everywhere=everywhere)
        for pair in (_first_pair(options, place), *_second_pair(options, place))
    ]
    if not javascript.is_true(options["value"]):
        return nothing  # as in the reference

    def replace(payload: Any) -> str:
        found = value(payload)
        if isinstance(found, bool | int | float):
            found = javascript.text(found)
        if not isinstance(found, str):
            return ""
        for replacer in replacers:
            found = replacer(found)
        return found

    return replace


def _first_pair(options: dict[str, Any], place: Place) -> tuple[str, str]:
    pattern = _text(options, "pattern", place, least=1, most=LONGEST)
    return pattern, _text(options, "replacement", place, most=LONGEST)


def _second_pair(options: dict[str, Any], place: Place) -> list[tuple[str, str]]:
    """Return the second pattern and its replacement, if there are any to use."""
    names = ("pattern2", "replacement2")
    given: dict[str, Any] = {name: options[name] or "" for name in names if name in options}
    for key, text in given.items():
        if not isinstance(text, str):
            place.at(key).refuse(f"must be a text, and is {kind(text)}", always=False)
            return []
    pattern = _text(given, "pattern2", place, most=LONGEST)
    return [(pattern, _text(given, "replacement2", place, most=LONGEST))] if pattern else []


def _replacer(
    pattern: str, replacement: str, *, ignore_case: bool, everywhere: bool
) -> Callable[[str], str]:
    if not ignore_case:
        return lambda text: text.replace(pattern, replacement, -1 if everywhere else 1)
    # Without ASCII, Python would find an "s" in "ſ" and a "k" in the sign of Kelvin.
    flags = re.IGNORECASE | (re.ASCII if pattern.isascii() else 0)
    found = re.compile(re.escape(pattern), flags)
    return lambda text: found.sub(lambda _: replacement, text, count=0 if everywhere else 1)


# --- objects ---


def _flatten(given: Any, place: Place) -> Mapper:
    options = _options(given, place, required=("value", "separator"), optional=("omitArrays",))
    if options is None:
        return nothing
    separator = _text(options, "separator", place, least=1)
    value = compile_node(options["value"], place.at("value", keeps=True))
    omit = options.get("omitArrays", False)
    if not isinstance(omit, bool):
        place.at("omitArrays").refuse(f"must be true or false, and is {kind(omit)}", always=False)
    containers = (dict,) if javascript.is_true(omit) else (dict, list)

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
    for key, each in javascript.indexed(value).items():
        _flatten_into(flat, each, f"{name}{separator}{key}" if name else key, separator, containers)


def _json(given: Any, place: Place) -> Mapper:
    options = _options(given, place, required=("mode", "value"))
    if options is None:
        return nothing
    mode = _one_of(options, "mode", place, ("encode", "decode"))
    value = compile_node(options["value"], place.at("value"))
    convert = {"encode": javascript.json, "decode": _decoded}.get(mode)
    if convert is None:
        return nothing

    def run(payload: Any) -> Any:
        found = value(payload)
        return found if found is MISSING else convert(found)

    return run


def _decoded(value: Any) -> Any:
    """Return what a text says in JSON; what says nothing stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return value


def _merge(given: Any, place: Place) -> Mapper:
    options = _options(given, place, required=("direction", "objects"))
    if options is None:
        return nothing
    direction = _one_of(options, "direction", place, ("left", "right"))
    objects, below = options["objects"], place.at("objects")
    if not isinstance(objects, list):
        return below.refuse(f"must be a list, and is {kind(objects)}")
    parts = [_object_or_directive(each, below.at(n, keeps=True)) for n, each in enumerate(objects)]
    if direction == "left":
        parts.reverse()

    def merge(payload: Any) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for part in parts:
            value = javascript.indexed(part(payload))
            if isinstance(value, dict):
                merged.update(value)
        if place.keeps:
            return merged
        return {key: value for key, value in merged.items() if value is not MISSING}

    return merge


def _transform(given: Any, place: Place) -> Mapper:
    options = _options(given, place, required=("apply", "mapping"))
    if options is None:
        return nothing
    for key in ("apply", "mapping"):
        if kind(options[key]) not in ("an object", "a directive"):
            return place.at(key).refuse(f"must be an object, and is {kind(options[key])}")
    apply = compile_root(options["apply"], place.at("apply"))
    mapping = compile_node(options["mapping"], place.through("mapping"))
    return lambda payload: mapping(apply(payload))


DIRECTIVES: dict[str, Directive] = {
    "@path": _path,
    "@template": _template,
    "@literal": _literal,
    "@if": _if,
    "@case": _case,
    "@replace": _replace,
    "@arrayPath": _array_path,
    "@flatten": _flatten,
    "@json": _json,
    "@merge": _merge,
    "@transform": _transform,
    "@excludeWhenNull": _exclude_when_null,
}
