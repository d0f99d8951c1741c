"""Blueprints: which events an installation wants, and what is sent for each.

A blueprint is JSON, described by schema.json and by docs/blueprints.md:

    {"version": 1, "otherwise": "drop",
     "actions": [{"name", "trigger", "kind", "mapping", "enabled"}]}

Each revision is compiled once, to functions. Compiling reports every problem of the blueprint at
once, each with its place, so that none appears only when a message arrives.

    compiling.py       JSON → blueprint                   blueprint.py  the compiled blueprint
    trigger_syntax.py  trigger language: text → tree      triggers.py   tree → condition
    nodes.py           mapping language: JSON → mapper    directives/   the @ directives
    paths.py           paths such as `$.a.b[0]`           javascript.py JavaScript's conversions
    message_view.py    a message as both languages see it
    diff.py            the differences of two blueprints
    summary.py         a blueprint in sentences
"""

from integrations.blueprints.blueprint import Blueprint
from integrations.blueprints.compiling import (
    BlueprintError,
    compile_blueprint,
    compile_mapping,
    compile_trigger,
)
from integrations.blueprints.message_view import NAME_FIELDS, build_message_view
from integrations.blueprints.nodes import Problem
from integrations.blueprints.trigger_syntax import TriggerError
from integrations.blueprints.triggers import MessageView

__all__ = [
    "Blueprint",
    "BlueprintError",
    "MessageView",
    "NAME_FIELDS",
    "Problem",
    "TriggerError",
    "build_message_view",
    "compile_blueprint",
    "compile_mapping",
    "compile_trigger",
]
