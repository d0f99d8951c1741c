"""A mapping of a few lines cannot make gigabytes of a message."""

import tracemalloc

import pytest

from integrations.blueprints import compile_blueprint
from integrations.blueprints.nodes import MAX_OUTPUT_CHARS
from integrations.errors import MessageRejected

CHARS = 50_000
TEXT = {"@path": "$.properties.text"}


def wrapped(times, wrap):
    value = TEXT
    for _ in range(times):
        value = wrap(value)
    return value


def replaced(value):
    return {"@replace": {"value": value, "pattern": "a", "replacement": "a" * 10}}


def replaced_in_any_case(value):
    return {"@replace": {**replaced(value)["@replace"], "ignorecase": True}}


def encoded(value):
    return {"@json": {"mode": "encode", "value": value}}


def apply(mapping, text="a" * CHARS):
    action = {"name": "a", "trigger": 'type = "track"', "kind": "track", "mapping": mapping}
    blueprint = compile_blueprint({"version": 1, "actions": [action], "otherwise": "drop"})
    return blueprint.apply({"type": "track", "event": "e", "properties": {"text": text}})


@pytest.mark.parametrize(
    "mapping",
    [
        {"a": {"@template": "{{properties.text}}" * 4_000}},
        {"a": wrapped(8, replaced)},
        {"a": wrapped(8, replaced_in_any_case)},
        {"a": wrapped(25, encoded)},
        {str(n): TEXT for n in range(4_000)},
        {"a": [TEXT] * 4_000},
    ],
    ids=["template", "replace", "any case", "json", "object", "list"],
)
def test_a_mapping_that_makes_too_much_rejects_the_message(mapping):
    tracemalloc.start()
    try:
        with pytest.raises(MessageRejected, match="more than 1,000,000 characters"):
            apply(mapping, '"' * CHARS if "json" in str(mapping) else "a" * CHARS)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_a_mapping_may_repeat_a_long_text_some_times():
    [action] = apply({str(n): TEXT for n in range(MAX_OUTPUT_CHARS // CHARS - 1)})
    assert len(action.fields) == 19
