"""A compiled blueprint: what it wants, and what it makes of a message."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from integrations.blueprints.nodes import Mapper
from integrations.blueprints.triggers import Condition, MessageView, Node
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
class TypePlan:
    """What is left of a blueprint for messages of one type.

    enabled_actions      (condition, action) of each; no condition where the type decides
    disabled_conditions  conditions of actions that are switched off, for `passes`
    passes               whether what no action takes is sent as it is
    reads                the fields that must be known to say whether a message is wanted
    """

    enabled_actions: tuple[tuple[Condition | None, CompiledAction], ...] = ()
    disabled_conditions: tuple[Condition | None, ...] = ()
    passes: bool = False
    reads: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A compiled blueprint."""

    actions: tuple[CompiledAction, ...]
    plans: Mapping[str, TypePlan]  # by the type of the message

    def reads(self, kind: str) -> frozenset[str]:
        """Return the fields that `wants` needs of a message of this type, besides the type."""
        return self.plans.get(kind, EMPTY_PLAN).reads

    def wants(self, view: MessageView) -> bool:
        """Return whether anything is sent for a message. Needs `type` and what `reads` returns."""
        plan = self.plans.get(view["type"], EMPTY_PLAN)
        for condition, _ in plan.enabled_actions:
            if condition is None or condition(view):
                return True
        return plan.passes and not _is_taken_by_disabled(plan, view)

    def apply(self, view: MessageView) -> list[Action]:
        """Return what each triggered action makes of the message, in the blueprint's order.

        Raises MessageRejected when a mapping cannot be applied to it.
        """
        plan = self.plans.get(view["type"], EMPTY_PLAN)
        actions = [
            Action(kind=action.kind, fields=apply_mapping(action, view))
            for condition, action in plan.enabled_actions
            if condition is None or condition(view)
        ]
        if not actions and plan.passes and not _is_taken_by_disabled(plan, view):
            actions.append(passthrough_action(view))
        return _number_repeats(actions) if len(actions) > 1 else actions

    def passes(self, view: MessageView) -> bool:
        """Return whether a message is sent as it is, because no action takes it."""
        plan = self.plans.get(view["type"], EMPTY_PLAN)
        taken = any(condition is None or condition(view) for condition, _ in plan.enabled_actions)
        return plan.passes and not taken and not _is_taken_by_disabled(plan, view)


EMPTY_PLAN = TypePlan()


def _number_repeats(actions: list[Action]) -> list[Action]:
    """Return actions, each with how many of its kind are before it."""
    seen: Counter[str] = Counter()
    numbered = []
    for action in actions:
        numbered.append(replace(action, repeat=seen[action.kind]))
        seen[action.kind] += 1
    return numbered


def _is_taken_by_disabled(plan: TypePlan, view: MessageView) -> bool:
    """Return whether an action that is switched off would take the message."""
    return any(condition is None or condition(view) for condition in plan.disabled_conditions)


def passthrough_action(view: MessageView) -> Action:
    """Return what is sent of a tracked event that no action takes."""
    fields = {"event": view.get("event"), "properties": view.get("properties")}
    return Action(kind="track", fields=fields)


def apply_mapping(action: CompiledAction, view: MessageView) -> Mapping[str, Any]:
    """Return what an action's mapping makes of a message. Raises MessageRejected."""
    try:
        fields = action.mapping(view)
    except RecursionError:
        raise MessageRejected(f"Action {action.name!r}: the message is nested too deep.") from None
    if not isinstance(fields, dict):
        raise MessageRejected(f"Action {action.name!r}: its mapping must make an object.")
    return fields
