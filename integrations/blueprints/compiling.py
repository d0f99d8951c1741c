"""Compiles a blueprint's JSON into a Blueprint, or reports every problem in it."""

from collections.abc import Collection, Sequence
from typing import Any

from integrations.blueprints.blueprint import Blueprint, CompiledAction, TypePlan
from integrations.blueprints.directives import DIRECTIVES
from integrations.blueprints.nodes import Mapper, Place, Problem, compile_root, json_type_name
from integrations.blueprints.trigger_syntax import TriggerError, parse_trigger
from integrations.blueprints.triggers import (
    Condition,
    Node,
    compile_condition,
    referenced_fields,
    simplify_for_type,
)
from integrations.messages import MESSAGE_TYPES

BLUEPRINT_KEYS = ("version", "actions", "otherwise")
ACTION_KEYS = ("name", "trigger", "kind", "mapping", "enabled")
OTHERWISE_VALUES = ("drop", "pass")


class BlueprintError(Exception):
    """The blueprint is invalid.

    problems  each problem with its place; the text of the exception has one line for each
    """

    def __init__(self, problems: Sequence[Problem]):
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def compile_blueprint(data: Any, kinds: Collection[str] | None = None) -> Blueprint:
    """Compile a blueprint. Raises BlueprintError with every problem.

    kinds  the kinds of action that the destination supports, or None to allow any
    """
    place = Place("", DIRECTIVES)
    actions = _compile_actions(data, place, kinds)
    if place.problems:
        raise BlueprintError(place.problems)
    passes = data.get("otherwise") == "pass"
    plans = {
        each: _plan_for_type(actions, each, passes=passes and each == "track")
        for each in MESSAGE_TYPES
    }
    return Blueprint(actions, plans)


def compile_trigger(text: str) -> Condition:
    """Compile a trigger into a function of a message. Raises TriggerError."""
    return compile_condition(parse_trigger(text))


def compile_mapping(data: Any) -> tuple[Mapper, list[Problem]]:
    """Compile a mapping into a function, and return its problems.

    The function is unusable if any problem is `fatal`.
    """
    place = Place("", DIRECTIVES)
    return compile_root(data, place), place.problems


def _compile_actions(
    data: Any, place: Place, kinds: Collection[str] | None
) -> tuple[CompiledAction, ...]:
    if not isinstance(data, dict):
        place.refuse(f"a blueprint must be an object, not {json_type_name(data)}")
        return ()
    _check_known_keys(data, BLUEPRINT_KEYS, place)
    if data.get("version") != 1 or data["version"] is True:
        place.at("version").refuse("must be 1")
    _check_otherwise(data.get("otherwise", "drop"), place.at("otherwise"), kinds)
    actions, place = data.get("actions"), place.at("actions")
    if not isinstance(actions, list):
        place.refuse(f"must be a list, not {json_type_name(actions)}")
        return ()
    compiled = [_compile_action(each, place.at(n), kinds) for n, each in enumerate(actions)]
    return tuple(action for action in compiled if action)


def _check_otherwise(given: Any, place: Place, kinds: Collection[str] | None) -> None:
    if given not in OTHERWISE_VALUES:
        place.refuse('must be "drop" or "pass"')
    elif given == "pass" and kinds is not None and "track" not in kinds:
        place.refuse('must be "drop", because this destination has no action of kind "track"')


def _check_known_keys(data: dict[str, Any], known: Collection[str], place: Place) -> None:
    for key in data:
        if key not in known:
            place.at(key).refuse(f"is not a known key; the keys are {', '.join(known)}")


def _compile_action(
    data: Any, place: Place, kinds: Collection[str] | None
) -> CompiledAction | None:
    if not isinstance(data, dict):
        place.refuse(f"must be an object, not {json_type_name(data)}")
        return None
    _check_known_keys(data, ACTION_KEYS, place)
    name = _read_text(data, "name", place)
    trigger = _compile_trigger_text(_read_text(data, "trigger", place), place.at("trigger"))
    action_kind = _read_text(data, "kind", place)
    if action_kind and kinds is not None and action_kind not in kinds:
        place.at("kind").refuse(f"must be one of {', '.join(kinds)}, not {action_kind!r}")
    mapping = _compile_action_mapping(data.get("mapping"), place.at("mapping"))
    enabled = data.get("enabled", True)
    if not isinstance(enabled, bool):
        place.at("enabled").refuse(f"must be true or false, not {json_type_name(enabled)}")
    return CompiledAction(name, trigger, action_kind, mapping, enabled=bool(enabled))


def _read_text(data: dict[str, Any], key: str, place: Place) -> str:
    word = data.get(key)
    if not isinstance(word, str) or not word.strip():
        place.at(key).refuse("must be non-empty text")
        return ""
    return word


def _compile_trigger_text(text: str, place: Place) -> Node:
    try:
        return parse_trigger(text or "type = null")  # an empty trigger is already reported
    except TriggerError as error:
        place.refuse(str(error), position=error.position)
        return parse_trigger("type = null")


def _compile_action_mapping(data: Any, place: Place) -> Mapper:
    if not isinstance(data, dict):
        return place.refuse(f"must be an object, not {json_type_name(data)}")
    try:
        return compile_root(data, place)
    except RecursionError:
        return place.refuse("is nested too deeply")


# --- plans by message type ---


def _plan_for_type(
    actions: Sequence[CompiledAction], message_type: str, *, passes: bool
) -> TypePlan:
    """Return the conditions and actions that remain once the type of a message is known."""
    enabled_actions: list[tuple[Condition | None, CompiledAction]] = []
    disabled_conditions: list[Condition | None] = []
    needed: set[str] = set()
    for action in actions:
        rest = simplify_for_type(action.trigger, message_type)
        if rest is False or not (action.enabled or passes):
            continue
        condition = None if rest is True else compile_condition(rest)
        needed |= referenced_fields(rest) if rest is not True else set()
        if action.enabled:
            enabled_actions.append((condition, action))
        else:
            disabled_conditions.append(condition)
    if any(
        condition is None for condition, _ in enabled_actions
    ):  # an action takes every message of the type
        needed = set()
    return TypePlan(tuple(enabled_actions), tuple(disabled_conditions), passes, frozenset(needed))
