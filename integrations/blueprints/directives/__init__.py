"""The directives of the mapping language, each a function from its JSON to a mapper.

Results equal those of Segment's mapping kit (github.com/segmentio/action-destinations,
packages/core/src/mapping-kit, seen 2026-11), except for the quirks that docs/blueprints.md lists.
"""

from integrations.blueprints.directives.decisions import compile_exclude_when_null, compile_if
from integrations.blueprints.directives.objects import (
    compile_flatten,
    compile_json,
    compile_merge,
    compile_transform,
)
from integrations.blueprints.directives.texts import compile_case, compile_replace
from integrations.blueprints.directives.values import (
    compile_array_path,
    compile_literal,
    compile_path,
    compile_template,
)
from integrations.blueprints.nodes import Directive

DIRECTIVES: dict[str, Directive] = {
    "@path": compile_path,
    "@template": compile_template,
    "@literal": compile_literal,
    "@if": compile_if,
    "@case": compile_case,
    "@replace": compile_replace,
    "@arrayPath": compile_array_path,
    "@flatten": compile_flatten,
    "@json": compile_json,
    "@merge": compile_merge,
    "@transform": compile_transform,
    "@excludeWhenNull": compile_exclude_when_null,
}
