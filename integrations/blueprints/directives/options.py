"""Reads and checks the options of a directive."""

from collections.abc import Sequence
from math import inf
from typing import Any

from integrations.blueprints.nodes import Mapper, Place, compile_node, json_type_name


def read_options(
    given: Any, place: Place, required: Sequence[str] = (), optional: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Return the options of a directive, or None if they are unusable; the place records why."""
    if json_type_name(given) != "an object":
        place.refuse(f"must be an object, not {json_type_name(given)}")
        return None
    for key in given.keys() - {*required, *optional}:
        place.at(key).refuse("is not an option of this directive", fatal=False)
        compile_node(given[key], place.at(key))  # to report its problems
    missing = [key for key in required if key not in given]
    for key in missing:
        place.refuse(f'needs "{key}"')
    for key in given if missing else ():
        compile_node(given[key], place.at(key))  # to report its problems
    return None if missing else dict(given)


def text_or_directive(given: Any, place: Place) -> Mapper:
    if json_type_name(given) not in ("text", "a directive"):
        place.refuse(f"must be text or a directive, not {json_type_name(given)}")
    return compile_node(given, place)


def raw_or_directive(given: Any, place: Place) -> Mapper:
    return compile_node(
        given, place if json_type_name(given) == "a directive" else place.unchecked()
    )


def object_or_directive(given: Any, place: Place) -> Mapper:
    if json_type_name(given) not in ("an object", "a directive"):
        place.refuse(f"must be an object or a directive, not {json_type_name(given)}")
    return compile_node(given, place)


def text_option(
    given: dict[str, Any], key: str, place: Place, *, least: int = 0, most: float = inf
) -> str:
    """Return a text option, or "" if it is absent. The limits are in UTF-16 units."""
    text, place = given.get(key, ""), place.at(key)
    if not isinstance(text, str):
        place.refuse(f"must be text, not {json_type_name(text)}")
        return ""
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    if units < least:
        place.refuse("must not be empty")
    if units > most:
        place.refuse(f"must have at most {most} characters")
    return text


def flag_option(given: dict[str, Any], key: str, place: Place, *, default: bool) -> bool:
    flag = given.get(key, default)
    if not isinstance(flag, bool):
        place.at(key).refuse(f"must be true or false, not {json_type_name(flag)}")
    return bool(flag)


def choice_option(given: dict[str, Any], key: str, place: Place, known: Sequence[str]) -> str:
    word, place = given[key], place.at(key)
    if word not in known:
        almost = isinstance(word, str) and word.lower() in known
        place.refuse(f"must be {' or '.join(known)}", fatal=not almost)
    return word if isinstance(word, str) else ""
