"""Blueprints: which events an installation wants, and what is sent for each.

A blueprint is JSON:

    {"version": 1, "otherwise": "drop",
     "actions": [{"name", "trigger", "kind", "mapping", "enabled"}]}

It is compiled once per revision. Of the trigger language `type = "…"` is understood so far, of
the mapping language `@path` and `@merge`; anything else is refused when compiled, with its place.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from integrations.destination import Action

View = Mapping[str, Any]  # a message as JSON of the Segment spec
Mapper = Callable[[View], Any]

MISSING = object()  # what a path that leads nowhere gives; such keys are left out
TRIGGER = re.compile(r'\s*type\s*=\s*"(\w+)"\s*')


class BlueprintError(Exception):
    """The blueprint cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class CompiledAction:
    name: str
    type: str
    kind: str
    mapping: Mapper


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A compiled blueprint."""

    actions: tuple[CompiledAction, ...]

    def wants(self, view: View) -> bool:
        """Say whether any action is triggered."""
        return any(action.type == view["type"] for action in self.actions)

    def apply(self, view: View) -> list[Action]:
        """Return what each triggered action makes of the message, in the blueprint's order."""
        return [
            Action(kind=action.kind, fields=action.mapping(view))
            for action in self.actions
            if action.type == view["type"]
        ]


def compile_blueprint(data: Mapping[str, Any]) -> Blueprint:
    """Return the blueprint ready to use. Raises BlueprintError."""
    if data.get("version") != 1:
        raise BlueprintError(f"version: must be 1, not {data.get('version')!r}")
    if data.get("otherwise", "drop") != "drop":
        raise BlueprintError('otherwise: must be "drop"')
    actions = enumerate(data.get("actions", ()))
    return Blueprint(
        tuple(_action(each, f"actions/{n}") for n, each in actions if each.get("enabled", True))
    )


def _action(data: Mapping[str, Any], place: str) -> CompiledAction:
    trigger = TRIGGER.fullmatch(data["trigger"])
    if not trigger:
        raise BlueprintError(f'{place}/trigger: must be type = "…", not {data["trigger"]!r}')
    mapping = _compile(data["mapping"], f"{place}/mapping")
    return CompiledAction(data["name"], trigger[1], data["kind"], mapping)


def _compile(node: Any, place: str) -> Mapper:
    if isinstance(node, Mapping):
        directives = [key for key in node if key.startswith("@")]
        return _directive(node, directives[0], place) if directives else _object(node, place)
    if isinstance(node, list):
        raise BlueprintError(f"{place}: a list is not understood here")
    return lambda view: node


def _object(node: Mapping[str, Any], place: str) -> Mapper:
    parts = [(key, _compile(value, f"{place}/{key}")) for key, value in node.items()]

    def build(view: View) -> dict[str, Any]:
        values = ((key, part(view)) for key, part in parts)
        return {key: value for key, value in values if value is not MISSING}

    return build


def _directive(node: Mapping[str, Any], name: str, place: str) -> Mapper:
    if len(node) > 1:
        raise BlueprintError(f"{place}: {name} must stand alone")
    if name == "@path":
        return _path(node[name], f"{place}/@path")
    if name == "@merge":
        return _merge(node[name], f"{place}/@merge")
    raise BlueprintError(f"{place}: {name} is not a directive known here")


def _path(path: Any, place: str) -> Mapper:
    if not isinstance(path, str) or not path.startswith("$."):
        raise BlueprintError(f'{place}: must be a text that starts with "$."')
    keys = path[2:].split(".")

    def follow(view: View) -> Any:
        value: Any = view
        for key in keys:
            if not isinstance(value, Mapping):
                return MISSING
            value = value.get(key, MISSING)
        return value

    return follow


def _merge(node: Any, place: str) -> Mapper:
    if node.get("direction") != "right":
        raise BlueprintError(f'{place}/direction: must be "right": the later object wins')
    parts = [_compile(each, f"{place}/objects/{n}") for n, each in enumerate(node["objects"])]

    def merge(view: View) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for part in parts:
            value = part(view)
            if isinstance(value, Mapping):
                merged.update(value)
        return merged

    return merge
