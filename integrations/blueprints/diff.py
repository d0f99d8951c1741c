"""Compares two blueprints: the changes in sentences, and as a unified diff."""

import json
from collections import Counter
from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

KEY_ORDER = ("version", "actions", "otherwise")  # in reading order
MAX_LINE_CHARS = 80  # longest object or list that stays on one line
ACTION_KEY_ORDER = ("name", "trigger", "kind", "enabled", "mapping")

Json = Mapping[str, Any]
ActionKey = tuple[str, int]  # an action's name, and the number of earlier actions of that name


def order_blueprint_keys(blueprint: Json) -> dict[str, Any]:
    """Return a blueprint with its keys in reading order, because a database may reorder them."""
    ordered = _order_keys(blueprint, KEY_ORDER)
    if isinstance(ordered.get("actions"), list):
        ordered["actions"] = [
            _order_keys(each, ACTION_KEY_ORDER) if isinstance(each, dict) else each
            for each in ordered["actions"]
        ]
    return ordered


def format_blueprint(value: Any) -> str:
    """Format a blueprint or a part of one, with short flat values on one line."""
    if isinstance(value, dict) and "actions" in value:
        value = order_blueprint_keys(value)
    return _format_json(value, "\n", is_root=True)


def _format_json(value: Any, newline: str, *, is_root: bool = False) -> str:
    if not isinstance(value, dict | list) or not value:
        return json.dumps(value, ensure_ascii=False)
    line = json.dumps(value, ensure_ascii=False)
    parts = value.values() if isinstance(value, dict) else value
    if (
        not is_root
        and len(line) <= MAX_LINE_CHARS
        and not any(isinstance(v, dict | list) for v in parts)
    ):
        return line
    inner = f"{newline}  "
    if isinstance(value, dict):
        texts = [
            f"{json.dumps(key, ensure_ascii=False)}: {_format_json(each, inner)}"
            for key, each in value.items()
        ]
        return "{" + inner + f",{inner}".join(texts) + newline + "}"
    texts = [_format_json(each, inner) for each in value]
    return "[" + inner + f",{inner}".join(texts) + newline + "]"


def diff_lines(old: Json, new: Json) -> list[str]:
    """Return the lines of a unified diff, each beginning with `-`, `+`, a space or `@@`."""
    lines = unified_diff(
        format_blueprint(old).splitlines(), format_blueprint(new).splitlines(), lineterm=""
    )
    return list(lines)[2:]  # without the two file names


def describe_changes(old: Json, new: Json) -> list[str]:
    """Return the changes, one sentence each."""
    before, after = _actions_by_name(old), _actions_by_name(new)
    removed_names = [name for name in before if name not in after]
    added_names = [name for name in after if name not in before]
    changes = []
    for name in list(removed_names):
        same = [
            each
            for each in added_names
            if _without_name(after[each]) == _without_name(before[name])
        ]
        if same:
            changes.append(f"Action {_action_label(name)} renamed to {_action_label(same[0])}.")
            removed_names.remove(name)
            added_names.remove(same[0])
    changes += [f"Action {_action_label(name)} removed." for name in removed_names]
    changes += [f"Action {_action_label(name)} added." for name in added_names]
    common_names = [name for name in after if name in before]
    changes += [
        words
        for name in common_names
        for words in _describe_action_changes(name, before[name], after[name])
    ]
    if common_names != [name for name in before if name in after]:
        changes.append("Actions reordered.")
    if old.get("otherwise", "drop") != new.get("otherwise", "drop"):
        changes.append(f"Otherwise changed to “{new.get('otherwise', 'drop')}”.")
    return changes or ["Nothing changed."]


def _actions_by_name(blueprint: Json) -> dict[ActionKey, Json]:
    seen: Counter[str] = Counter()
    by_key = {}
    for action in blueprint.get("actions", ()):
        by_key[action["name"], seen[action["name"]]] = action
        seen[action["name"]] += 1
    return by_key


def _action_label(key: ActionKey) -> str:
    name, which = key
    return f"“{name}”" + (f" ({which + 1})" if which else "")


def _without_name(action: Json) -> dict[str, Any]:
    return {key: value for key, value in action.items() if key != "name"}


def _describe_action_changes(name: ActionKey, old: Json, new: Json) -> list[str]:
    words = []
    if old.get("enabled", True) != new.get("enabled", True):
        words.append(
            f"Action {_action_label(name)} switched {'on' if new.get('enabled', True) else 'off'}."
        )
    differing = [key for key in ("trigger", "kind", "mapping") if old.get(key) != new.get(key)]
    if differing:
        words.append(f"Action {_action_label(name)}: {' and '.join(differing)} changed.")
    return words


def _order_keys(given: Json, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: given[key] for key in (*keys, *given) if key in given}
