"""A compiled blueprint: selects messages and maps them to actions."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from integrations.blueprints.nodes import Mapper, check_size
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
    """The part of a blueprint that applies to messages of one type.

    enabled_actions      (condition, action) pairs; the condition is None if the type decides
    disabled_conditions  conditions of the actions that are switched off, for `passes`
    passes               whether a message that no action takes is sent unchanged
    reads                the fields that decide whether a message is wanted
    """

    enabled_actions: tuple[tuple[Condition | None, CompiledAction], ...] = ()
    disabled_conditions: tuple[Condition | None, ...] = ()
    passes: bool = False
    reads: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A compiled blueprint."""

    actions: tuple[CompiledAction, ...]
    plans: Mapping[str, TypePlan]  # by message type

    def reads(self, kind: str) -> frozenset[str]:
        """Return the fields, besides the type, that `wants` needs for messages of this type."""
        return self.plans.get(kind, EMPTY_PLAN).reads

    def wants(self, view: MessageView) -> bool:
        """Return whether anything is sent for a message.

        The view needs only `type` and the fields that `reads` returns.
        """
        plan = self.plans.get(view["type"], EMPTY_PLAN)
        for condition, _ in plan.enabled_actions:
            if condition is None or condition(view):
                return True
        return plan.passes and not _is_taken_by_disabled(plan, view)

    def apply(self, view: MessageView) -> list[Action]:
        """Return the mapped output of each triggered action, in the blueprint's order.

        Raises MessageRejected if a mapping cannot be applied to the message.
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
        """Return whether a message is sent unchanged, because no action takes it."""
        plan = self.plans.get(view["type"], EMPTY_PLAN)
        taken = any(condition is None or condition(view) for condition, _ in plan.enabled_actions)
        return plan.passes and not taken and not _is_taken_by_disabled(plan, view)


EMPTY_PLAN = TypePlan()


def _number_repeats(actions: list[Action]) -> list[Action]:
    """Set the `repeat` of each action to the number of earlier actions of its kind."""
    seen: Counter[str] = Counter()
    numbered = []
    for action in actions:
        numbered.append(replace(action, repeat=seen[action.kind]))
        seen[action.kind] += 1
    return numbered


def _is_taken_by_disabled(plan: TypePlan, view: MessageView) -> bool:
    """Return whether a switched-off action would take the message."""
    return any(condition is None or condition(view) for condition in plan.disabled_conditions)


def passthrough_action(view: MessageView) -> Action:
    """Return the action that sends a tracked event unchanged, because no action takes it."""
    fields = {"event": view.get("event"), "properties": view.get("properties")}
    return Action(kind="track", fields=fields)


def apply_mapping(action: CompiledAction, view: MessageView) -> Mapping[str, Any]:
    """Return the output of an action's mapping. Raises MessageRejected."""
    try:
        fields = action.mapping(view)
        check_size(fields)
    except RecursionError:
        raise MessageRejected(
            f"Action {action.name!r}: the message is nested too deeply."
        ) from None
    if not isinstance(fields, dict):
        raise MessageRejected(f"Action {action.name!r}: its mapping must produce an object.")
    return fields
