"""Compiles a mapping's JSON node by node into functions, and collects every problem.

A mapper takes its input (the message or, inside `@arrayPath`, an item) and returns a JSON value,
or MISSING if there is no value. The JSON is not read again once it is compiled.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from integrations.blueprints.javascript import index_items
from integrations.blueprints.paths import MISSING
from integrations.errors import MessageRejected

MAX_OUTPUT_CHARS = 1_000_000  # of what a mapping makes; a message has 65,536 bytes by default

Mapper = Callable[[Any], Any]
Directive = Callable[[Any, "Place"], Mapper]

# In Segment's mappings: the directive that receives all other keys of the mapping.
ROOT_DIRECTIVE = "__segment_internal_directive"


class Problem(NamedTuple):
    """A problem in a mapping or a trigger.

    fatal     the mapping can never be used. Otherwise the reference implementation accepts it,
              and ignores the problem or fails on the messages that it affects
    position  in a trigger: the character at which parsing failed, counted from 1
    """

    place: str
    text: str
    fatal: bool = True
    position: int | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


class Place:
    """The current place in a mapping, with the problems found so far.

    checked        whether the reference checks this place before a message arrives; it does not
                   check inside lists
    keeps_missing  whether an object or a list keeps keys without a value, for a directive that
                   needs them: in a merge they hide the same keys of the other objects
    """

    def __init__(self, path: str, directives: Mapping[str, Directive]):
        self.path, self.directives = path, directives
        self.problems: list[Problem] = []
        self.checked, self.keeps_missing = True, False

    def at(self, key: object, *, checked: bool = True, keeps_missing: bool = False) -> "Place":
        """Return the place of a key below this one."""
        path = f"{self.path}/{key}" if self.path else str(key)
        below = Place(path, self.directives)
        below.problems = self.problems
        below.checked, below.keeps_missing = self.checked and checked, keeps_missing
        return below

    def through(self, key: object, *, checked: bool = True) -> "Place":
        """Return the place of a key whose value becomes the value of this place."""
        return self.at(key, checked=checked, keeps_missing=self.keeps_missing)

    def unchecked(self) -> "Place":
        """Return this place as one that the reference does not check."""
        same = self.through("", checked=False)
        same.path = self.path
        return same

    def refuse(self, text: str, *, fatal: bool = True, position: int | None = None) -> Mapper:
        self.problems.append(Problem(self.path, text, fatal and self.checked, position))
        return map_to_missing


def check_size(value: Any) -> None:
    """Raise MessageRejected if a mapped value, written out, would be far larger than a message.

    A mapping may repeat a text of the message as often as it likes.
    """
    if _chars_left(value, MAX_OUTPUT_CHARS) < 0:
        raise MessageRejected(f"The mapping makes more than {MAX_OUTPUT_CHARS:,} characters.")


def _chars_left(value: Any, left: int) -> int:
    if isinstance(value, str):
        return left - len(value)
    if isinstance(value, dict):
        for key, each in value.items():
            if (left := _chars_left(each, left - len(key))) < 0:
                break
    elif isinstance(value, list):
        for each in value:
            if (left := _chars_left(each, left)) < 0:
                break
    return left - 1


def map_to_missing(payload: Any) -> Any:
    return MISSING


def json_type_name(value: Any) -> str:
    """Return the type of a JSON value as error messages name it: "a list", "text"."""
    if isinstance(value, dict):
        return "a directive" if any(key.startswith("@") for key in value) else "an object"
    if isinstance(value, bool) or value is None:
        return "a boolean" if isinstance(value, bool) else "null"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a number"


def compile_root(mapping: Any, place: Place) -> Mapper:
    """Compile a whole mapping, or the `apply` of a `@transform`."""
    if mapping is None:
        return place.refuse("the mapping must be an object, not null")
    if isinstance(mapping, dict) and ROOT_DIRECTIVE in mapping:
        return _compile_root_directive(mapping, place)
    mapping = index_items(mapping)
    mapper = compile_node(mapping if isinstance(mapping, dict) else {}, place)

    def run(payload: Any) -> Any:
        if payload is MISSING:
            payload = {}
        if type(payload) is not dict:
            raise MessageRejected(f"{place.path}: its input must be an object.")
        return mapper(payload)

    return run


def _compile_root_directive(mapping: dict[str, Any], place: Place) -> Mapper:
    root, place = mapping[ROOT_DIRECTIVE], place.through(ROOT_DIRECTIVE)
    if not isinstance(root, dict) or len(root) != 1:
        return place.refuse("must be an object with one directive")
    [(name, options)] = root.items()
    if not isinstance(options, dict):
        return place.refuse(f"{name} must be an object, not {json_type_name(options)}")
    rest = {key: value for key, value in mapping.items() if key != ROOT_DIRECTIVE}
    return compile_node({name: {**options, "mapping": rest}}, place)


def compile_node(node: Any, place: Place) -> Mapper:
    """Compile any value: a directive, an object, a list or a literal."""
    if isinstance(node, dict):
        return (
            _compile_directive(node, place)
            if json_type_name(node) == "a directive"
            else _compile_object(node, place)
        )
    if isinstance(node, list):
        return _compile_list(node, place)
    return lambda payload: node


def _compile_directive(node: dict[str, Any], place: Place) -> Mapper:
    names = [key for key in node if key.startswith("@")]
    name, others = names[0], [key for key in node if key not in names and key != "_metadata"]
    if len(names) > 1:
        place.refuse(f"must have one directive, not {len(names)}: {', '.join(names)}")
    if others:
        place.refuse(f"{name} must be the only key; remove {', '.join(others)}")
        return _compile_object(node, place)
    if name not in place.directives:
        return place.refuse(
            f"{name} is not a directive; the directives are {', '.join(place.directives)}"
        )
    return place.directives[name](node[name], place.through(name))


def _compile_object(node: dict[str, Any], place: Place) -> Mapper:
    parts = [(key, compile_node(value, place.at(key))) for key, value in node.items()]
    if place.keeps_missing:
        return lambda payload: {key: part(payload) for key, part in parts}

    def build(payload: Any) -> dict[str, Any]:
        built = {}
        for key, part in parts:
            value = part(payload)
            if value is not MISSING:
                built[key] = value
        return built

    return build


def _compile_list(node: list[Any], place: Place) -> Mapper:
    """Compile a list. A missing item becomes null, so that the other items keep their places."""
    parts = [compile_node(each, place.at(n, checked=False)) for n, each in enumerate(node)]

    if place.keeps_missing:
        return lambda payload: [part(payload) for part in parts]

    def build(payload: Any) -> list[Any]:
        values = [part(payload) for part in parts]
        return [None if value is MISSING else value for value in values]

    return build
