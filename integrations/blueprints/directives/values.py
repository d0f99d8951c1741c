"""Directives that return values: `@path`, `@template`, `@arrayPath`, `@literal`."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from integrations.blueprints import javascript
from integrations.blueprints.directives.options import raw_or_directive, text_or_directive
from integrations.blueprints.nodes import (
    MAX_OUTPUT_CHARS,
    Mapper,
    Place,
    compile_node,
    json_type_name,
)
from integrations.blueprints.paths import (
    MISSING,
    follow_path,
    parse_path,
    parse_template_path,
    path_getter,
)
from integrations.errors import MessageRejected


def compile_path(given: Any, place: Place) -> Mapper:
    if isinstance(given, str):
        return path_getter(parse_path(given))
    path = _require_text(text_or_directive(given, place), place)
    return lambda payload: follow_path(payload, parse_path(path(payload)))


def compile_template(given: Any, place: Place) -> Mapper:
    if isinstance(given, str):
        pieces = _split_template(given)
        return lambda payload: _fill_template(pieces, payload)
    template = _require_text(text_or_directive(given, place), place)
    return lambda payload: _fill_template(_split_template(template(payload)), payload)


def _require_text(mapper: Mapper, place: Place) -> Mapper:
    """Return a mapper that requires the result of a directive to be text."""

    def checked(payload: Any) -> str:
        value = mapper(payload)
        if not isinstance(value, str):
            was = "missing" if value is MISSING else json_type_name(value)
            raise MessageRejected(f"{place.path}: must be text, but is {was} in this message.")
        return value

    return checked


TemplatePieces = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]


@lru_cache(maxsize=4_096)
def _split_template(template: str) -> TemplatePieces:
    """Return the texts around the placeholders, and the keys of each placeholder's path."""
    texts, paths, done = [], [], 0
    for start, path, end in _placeholders(template):
        texts.append(template[done:start])
        paths.append(parse_template_path(path.strip()))
        done = end
    return (*texts, template[done:]), tuple(paths)


def _placeholders(template: str) -> Iterator[tuple[int, str, int]]:
    """Yield the start, path and end of each `{{path}}` and `{{{path}}}`.

    A regular expression would take quadratic time for a text of many opening braces.
    """
    start = template.find("{{")
    while start >= 0 and (close := template.find("}", start)) >= 0:
        end = close
        for braces in (3, 2):
            path = template[start + braces : close]
            if (
                path
                and template.startswith("{" * braces, start)
                and template.startswith("}" * braces, close)
            ):
                end = close + braces
                yield start, path, end
                break
        start = template.find("{{", end)


def _fill_template(pieces: TemplatePieces, payload: Any) -> str:
    texts, paths = pieces
    filled, chars = [texts[0]], 0
    for keys, text in zip(paths, texts[1:], strict=True):
        value = follow_path(payload, keys)
        filled += "" if value is MISSING else javascript.to_text(value), text
        chars += len(filled[-2])
        if chars > MAX_OUTPUT_CHARS:
            raise MessageRejected(f"@template makes more than {MAX_OUTPUT_CHARS:,} characters.")
    return "".join(filled)


def compile_array_path(given: Any, place: Place) -> Mapper:
    if not isinstance(given, list):
        return place.refuse(f"must be a list of a path and a shape, not {json_type_name(given)}")
    path, shape = (*given, None, None)[:2]
    if len(given) > 2:
        place.refuse("takes only a path and a shape", fatal=False)
    if isinstance(path, str):
        find = compile_path(path, place.at(0))
    else:
        find = text_or_directive(path, place.at(0))
    shaped = compile_node(shape, place.at(1))
    if not isinstance(shape, dict) or not shape:
        return find

    def each(payload: Any) -> Any:
        result = find(payload)
        if isinstance(result, dict):
            result = [result]
        if not isinstance(result, list):
            return result
        items = [shaped(item) for item in result]
        return [None if item is MISSING else item for item in items]

    return each


def compile_literal(given: Any, place: Place) -> Mapper:
    return raw_or_directive(given, place)
