"""Describes what a blueprint sends, for people who have never read one. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SINGLE_TYPE_TRIGGER = re.compile(r'type = "(\w+)"')


@dataclass(frozen=True, slots=True)
class ActionSummary:
    """One action in words: its name, the messages it applies to, and how they are sent.

    trigger  the condition itself if it is more than a type, otherwise ""
    """

    name: str
    when: str
    what: str
    trigger: str = ""


def summarize_actions(blueprint: Mapping[str, Any]) -> list[ActionSummary]:
    """Summarize the enabled actions of a valid blueprint, in order."""
    return [_summarize_action(each) for each in blueprint["actions"] if each.get("enabled", True)]


def summarize_otherwise(blueprint: Mapping[str, Any]) -> str:
    """Return what happens to messages that no action takes."""
    if blueprint.get("otherwise") == "pass":
        return "All other tracked events are sent unchanged."
    return "Nothing else is sent."


def _summarize_action(action: Mapping[str, Any]) -> ActionSummary:
    trigger = action["trigger"]
    only = SINGLE_TYPE_TRIGGER.fullmatch(trigger)
    when = f"each {only[1]} call" if only else "when its condition holds"
    return ActionSummary(action["name"], when, _describe_output(action), "" if only else trigger)


def _describe_output(action: Mapping[str, Any]) -> str:
    event = action["mapping"].get("event")
    if event == {"@path": "$.event"}:
        return "as an event with the same name"
    if isinstance(event, str):
        return f"as the event “{event}”"
    if action["kind"] == "track":
        return "as an event"
    kind = action["kind"].replace("_", " ")
    return f"as {kind}" if kind.endswith("s") else f"as a {kind}"
