"""Triggers as trees: the fields they read, their simplification by type, and their compilation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

MessageView = Mapping[str, Any]  # a message as JSON of the Segment spec
Condition = Callable[[MessageView], bool]


@dataclass(frozen=True, slots=True)
class Test:
    """A check of one field. The check receives None for null and for an absent field.

    text  the condition as written in the trigger
    """

    __test__ = False  # keeps pytest from collecting the class

    field: str
    keys: tuple[str, ...]
    check: Callable[[Any], bool]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Not:
    inner: "Node"


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple["Node", ...]


Node = Test | Not | AllOf | AnyOf


def nesting_depth(node: Node) -> int:
    """Return the number of nodes on the longest path down the tree."""
    if isinstance(node, Test):
        return 1
    parts = (node.inner,) if isinstance(node, Not) else node.parts
    return 1 + max(map(nesting_depth, parts))


def referenced_fields(node: Node) -> frozenset[str]:
    """Return the top-level fields of a message that the condition reads."""
    if isinstance(node, Test):
        return frozenset({node.field})
    parts = (node.inner,) if isinstance(node, Not) else node.parts
    return frozenset[str]().union(*map(referenced_fields, parts))


def simplify_for_type(node: Node, kind: str) -> Node | bool:
    """Return the condition that remains for messages of this type, or its constant result."""
    if isinstance(node, Test):
        return node.check(kind) if node.field == "type" and not node.keys else node
    if isinstance(node, Not):
        inner = simplify_for_type(node.inner, kind)
        return not inner if isinstance(inner, bool) else Not(inner)
    decisive = isinstance(node, AnyOf)  # one True decides an "or", one False decides an "and"
    left = []
    for part in node.parts:
        rest = simplify_for_type(part, kind)
        if rest is decisive:
            return decisive
        if not isinstance(rest, bool):
            left.append(rest)
    if not left:
        return not decisive
    return left[0] if len(left) == 1 else type(node)(tuple(left))


def compile_condition(node: Node) -> Condition:
    """Compile the tree into one function. It accepts any JSON and never raises."""
    if isinstance(node, Test):
        return _compile_test(node)
    if isinstance(node, Not):
        inner = compile_condition(node.inner)
        return lambda view: not inner(view)
    parts = tuple(map(compile_condition, node.parts))
    return _compile_any(parts) if isinstance(node, AnyOf) else _compile_all(parts)


class ConditionResult(NamedTuple):
    """The result of one condition of a trigger for a message.

    value  the value of its field; None for null and for an absent field
    """

    text: str
    holds: bool
    value: Any


def deciding_conditions(node: Node, view: MessageView) -> list[ConditionResult]:
    """Return the conditions that decide the result: it stays the same while none changes."""
    if isinstance(node, Test):
        value = view.get(node.field)
        for key in node.keys:
            value = _child(value, key)
        return [ConditionResult(node.text, node.check(value), value)]
    if isinstance(node, Not):
        return deciding_conditions(node.inner, view)
    outcome = compile_condition(node)(view)
    deciding = [part for part in node.parts if compile_condition(part)(view) is outcome]
    return [reason for part in deciding for reason in deciding_conditions(part, view)]


def _compile_all(parts: tuple[Condition, ...]) -> Condition:
    def holds(view: MessageView) -> bool:
        for part in parts:  # noqa: SIM110  (a generator would cost one frame per level)
            if not part(view):
                return False
        return True

    return holds


def _compile_any(parts: tuple[Condition, ...]) -> Condition:
    def holds(view: MessageView) -> bool:
        for part in parts:  # noqa: SIM110
            if part(view):
                return True
        return False

    return holds


def _compile_test(node: Test) -> Condition:
    field, keys, check = node.field, node.keys, node.check
    if not keys:
        return lambda view: check(view.get(field))

    def holds(view: MessageView) -> bool:
        value = view.get(field)
        for key in keys:
            value = _child(value, key)
        return check(value)

    return holds


def _child(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and key.isdecimal() and len(key) < 10 and int(key) < len(value):
        return value[int(key)]
    return None
