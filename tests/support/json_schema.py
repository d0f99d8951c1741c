"""The part of JSON Schema that the blueprint's schema uses, to compare it with the code.

Source: https://json-schema.org/draft/2020-12/json-schema-validation (seen 2026-11).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}
CHECKED_KEYWORDS = {
    "$ref", "type", "const", "enum", "anyOf", "oneOf", "required", "properties", "items",
    "patternProperties", "additionalProperties", "prefixItems", "minItems", "maxItems",
    "minLength", "maxLength", "pattern",
}  # fmt: skip
ANNOTATION_KEYWORDS = {"$schema", "$id", "$defs", "title", "description", "default"}


def first_problem(data: Any, schema: Any, root: Any = None) -> str | None:
    """Return the first problem of the data, or None."""
    return next(_iter_problems(data, schema, root or schema), None)


def _iter_problems(data: Any, schema: Any, root: Any) -> Iterator[str]:
    if schema is False:
        yield "no value is allowed here"
        return
    assert schema.keys() <= CHECKED_KEYWORDS | ANNOTATION_KEYWORDS
    if "$ref" in schema:
        yield from _iter_problems(data, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    kinds = schema.get("type", [])
    if kinds and not any(
        _is(data, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)
    ):
        yield f"{data!r} is not of type {kinds}"
        return
    if "const" in schema and (data != schema["const"] or isinstance(data, bool)):
        yield f"{data!r} is not {schema['const']!r}"
    if "enum" in schema and data not in schema["enum"]:
        yield f"{data!r} is none of {schema['enum']}"
    fits = [not first_problem(data, each, root) for each in schema.get("anyOf", [])]
    if fits and not any(fits):
        yield f"{data!r} fits none of {schema['anyOf']}"
    fits = [not first_problem(data, each, root) for each in schema.get("oneOf", [])]
    if fits and sum(fits) != 1:
        yield f"{data!r} fits {sum(fits)} of {schema['oneOf']}"
    yield from _iter_nested_problems(data, schema, root)


def _is(data: Any, kind: str) -> bool:
    if kind == "number":
        return isinstance(data, int | float) and not isinstance(data, bool)
    return isinstance(data, TYPES[kind])


def _iter_nested_problems(data: Any, schema: Mapping[str, Any], root: Any) -> Iterator[str]:
    if isinstance(data, dict):
        yield from (f"{key} is missing" for key in schema.get("required", []) if key not in data)
        for key, value in data.items():
            yield from _iter_problems(value, _property(key, schema), root)
    if isinstance(data, list):
        if not schema.get("minItems", 0) <= len(data) <= schema.get("maxItems", len(data)):
            yield f"{len(data)} items"
        prefix = schema.get("prefixItems", [])
        for each, part in zip(data, prefix, strict=False):
            yield from _iter_problems(each, part, root)
        for each in data[len(prefix) :]:
            yield from _iter_problems(each, schema.get("items", {}), root)
    if isinstance(data, str):
        if not schema.get("minLength", 0) <= len(data) <= schema.get("maxLength", len(data)):
            yield f"{data!r} has {len(data)} characters"
        if not re.search(schema.get("pattern", ""), data):
            yield f"{data!r} does not fit {schema['pattern']}"


def _property(key: str, schema: Mapping[str, Any]) -> Any:
    for pattern, part in schema.get("patternProperties", {}).items():
        if re.search(pattern, key):
            return part
    return schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
