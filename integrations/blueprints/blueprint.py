"""A compiled blueprint: what it wants, and what it makes of a message."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from integrations.blueprints.nodes import Mapper
from integrations.blueprints.triggers import Condition, Node, View
from integrations.destination import Action
from integrations.errors import MessageRejected


@dataclass(frozen=True, slots=True)
class CompiledAction:
    name: str
    trigger: Node
    kind: str
    mapping: Mapper
    enabled: bool


@dataclass(frozen=True, slots=True)
class Steps:
    """What is left of a blueprint for messages of one type.

    taken    (condition, action) of the enabled actions; no condition where the type decides
    off      conditions of actions that are switched off, for `passes`
    passes   whether what no action takes is sent all the same
    reads    the fields that must be known to say whether a message is wanted
    """

    taken: tuple[tuple[Condition | None, CompiledAction], ...] = ()
    off: tuple[Condition | None, ...] = ()
    passes: bool = False
    reads: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A compiled blueprint."""

    actions: tuple[CompiledAction, ...]
    steps: Mapping[str, Steps]  # by the type of the message

    def reads(self, kind: str) -> frozenset[str]:
        """Return the fields that `wants` needs of a message of this type, besides the type."""
        return self.steps.get(kind, NOTHING).reads

    def wants(self, view: View) -> bool:
        """Say whether anything is sent for a message. Needs `type` and what `reads` returns."""
        steps = self.steps.get(view["type"], NOTHING)
        for condition, _ in steps.taken:
            if condition is None or condition(view):
                return True
        return steps.passes and not _is_off(steps, view)

    def apply(self, view: View) -> list[Action]:
        """Return what each triggered action makes of the message, in the blueprint's order.

        Raises MessageRejected when a mapping cannot be applied to it.
        """
        steps = self.steps.get(view["type"], NOTHING)
        actions = [
            Action(kind=action.kind, fields=mapped(action, view))
            for condition, action in steps.taken
            if condition is None or condition(view)
        ]
        if not actions and steps.passes and not _is_off(steps, view):
            actions.append(as_it_is(view))
        return _numbered(actions) if len(actions) > 1 else actions

    def passes(self, view: View) -> bool:
        """Say whether a message is sent as it is, because no action takes it."""
        steps = self.steps.get(view["type"], NOTHING)
        taken = any(condition is None or condition(view) for condition, _ in steps.taken)
        return steps.passes and not taken and not _is_off(steps, view)


NOTHING = Steps()


def _numbered(actions: list[Action]) -> list[Action]:
    """Return actions, each with how many of its kind are before it."""
    seen: Counter[str] = Counter()
    numbered = []
    for action in actions:
        numbered.append(replace(action, again=seen[action.kind]))
        seen[action.kind] += 1
    return numbered


def _is_off(steps: Steps, view: View) -> bool:
    """Say whether an action that is switched off would take the message."""
    return any(condition is None or condition(view) for condition in steps.off)


def as_it_is(view: View) -> Action:
    """Return what is sent of a tracked event that no action takes."""
    fields = {"event": view.get("event"), "properties": view.get("properties")}
    return Action(kind="track", fields=fields)


def mapped(action: CompiledAction, view: View) -> Mapping[str, Any]:
    """Return what an action's mapping makes of a message. Raises MessageRejected."""
    try:
        fields = action.mapping(view)
    except RecursionError:
        raise MessageRejected(f"Action {action.name!r}: the message is nested too deep.") from None
    if not isinstance(fields, dict):
        raise MessageRejected(f"Action {action.name!r}: its mapping must make an object.")
    return fields
