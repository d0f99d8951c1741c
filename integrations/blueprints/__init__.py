"""Blueprints: which events an installation wants, and what is sent for each.

A blueprint is JSON, described by schema.json and by docs/blueprints.md:

    {"version": 1, "otherwise": "drop",
     "actions": [{"name", "trigger", "kind", "mapping", "enabled"}]}

It is compiled once per revision, to functions. Whatever is wrong with it is found then, all at
once and with its place, and never when a message comes.

    compiling.py       JSON → blueprint                      blueprint.py   what it wants and makes
    trigger_syntax.py  the trigger language: text → tree     triggers.py    what a tree says
    nodes.py           the mapping language: JSON → mapper   directives.py  what begins with @
    paths.py           `$.a.b[0]`                            javascript.py  values as texts
    views.py           a message as both languages see it
    comparing.py       two blueprints, and what differs
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
