"""Blueprints: the messages they want, the actions they produce, and their errors."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations import catalog
from integrations.blueprints import (
    BlueprintError,
    compile_blueprint,
    compile_mapping,
    compile_trigger,
)
from integrations.blueprints.directives import DIRECTIVES
from integrations.blueprints.trigger_syntax import TRIGGER_FIELDS
from integrations.errors import MessageRejected
from integrations.messages import MESSAGE_TYPES
from tests.support.json_schema import first_problem

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "integrations/blueprints/schema.json").read_text("utf-8"))
DOCS = (ROOT / "docs/blueprints.md").read_text("utf-8")
KINDS = ("track", "user_properties")


def action(mapping=None, trigger='type = "track"', **given):
    return {"name": "A", "trigger": trigger, "kind": "track", "mapping": mapping or {}, **given}


def blueprint(*actions, **given):
    return {"version": 1, "actions": list(actions), "otherwise": "drop", **given}


def compiled(*actions, **given):
    return compile_blueprint(blueprint(*actions, **given), KINDS)


def problems(data):
    with pytest.raises(BlueprintError) as error:
        compile_blueprint(data, KINDS)
    return [str(each) for each in error.value.problems]


# --- wanted messages and actions ---


def test_an_action_is_applied_to_what_triggers_it():
    made = compiled(action({"event": "pageview"}, 'type = "page"'))
    assert [made.wants({"type": each}) for each in ("page", "track")] == [True, False]
    assert made.apply({"type": "track"}) == []
    [applied] = made.apply({"type": "page"})
    assert (applied.kind, applied.fields) == ("track", {"event": "pageview"})


def test_every_triggered_action_is_applied_in_order():
    made = compiled(action({"n": 1}), action({"n": 2}, 'type = "page"'), action({"n": 3}))
    assert [each.fields["n"] for each in made.apply({"type": "track"})] == [1, 3]


def test_a_disabled_action_wants_nothing():
    assert not compiled(action(enabled=False)).wants({"type": "track"})


def test_a_mapping_that_makes_no_object_rejects_the_message():
    made = compiled(action({"@path": "$.properties"}))
    assert made.apply({"type": "track", "properties": {"a": 1}})[0].fields == {"a": 1}
    with pytest.raises(MessageRejected, match="'A': its mapping must produce an object"):
        made.apply({"type": "track", "properties": "text"})


def test_a_message_nested_too_deep_is_rejected_and_breaks_nothing():
    deep = []
    for _ in range(5_000):
        deep = [deep]
    made = compiled(action({"a": {"@flatten": {"value": {"@path": "$.a"}, "separator": "."}}}))
    with pytest.raises(MessageRejected, match="nested too deeply"):
        made.apply({"type": "track", "a": deep})


# --- otherwise ---


def test_what_no_action_takes_is_passed_under_its_own_name():
    made = compiled(action({"event": "Order"}, 'event = "Order Completed"'), otherwise="pass")
    view = {"type": "track", "event": "Seen", "properties": {"a": 1}, "context": {}}
    [passed] = made.apply(view)
    assert (passed.kind, passed.fields) == ("track", {"event": "Seen", "properties": {"a": 1}})
    assert made.wants(view)
    [taken] = made.apply({**view, "event": "Order Completed"})
    assert taken.fields == {"event": "Order"}


@pytest.mark.parametrize("kind", [each for each in MESSAGE_TYPES if each != "track"])
def test_only_tracked_events_are_passed(kind):
    made = compiled(otherwise="pass")
    assert not made.wants({"type": kind})
    assert made.apply({"type": kind, "name": "Home"}) == []


def test_switching_an_action_off_never_sends_more():
    off = action(trigger='event = "Secret"', enabled=False)
    made = compiled(off, otherwise="pass")
    assert made.apply({"type": "track", "event": "Secret"}) == []
    assert not made.wants({"type": "track", "event": "Secret"})
    assert made.wants({"type": "track", "event": "Other"})
    assert not compiled(action(enabled=False), otherwise="pass").wants({"type": "track"})


# --- fields that decide ---


@pytest.mark.parametrize(
    ("trigger", "reads"),
    [
        ('type = "track"', set()),
        ('type = "track" and event = "A"', {"event"}),
        ('type = "page" and properties.x = 1', set()),
        ('type != "page" and (event = "A" or properties.x = 1)', {"event", "properties"}),
        ('!(type = "page" or userId = null)', {"userId"}),
        ('type = "track" or traits.x = 1', set()),
        ('contains(type, "rac") and context.app.name = "A"', {"context"}),
    ],
)
def test_it_says_which_fields_decide_for_a_type(trigger, reads):
    assert compiled(action(trigger=trigger)).reads("track") == reads


def test_an_action_that_takes_all_leaves_nothing_to_read():
    made = compiled(action(trigger='event = "A"'), action())
    assert made.reads("track") == set()


def test_what_is_passed_depends_on_what_is_switched_off():
    off = action(trigger='event = "A"', enabled=False)
    assert compiled(off).reads("track") == set()
    assert compiled(off, otherwise="pass").reads("track") == {"event"}
    assert compiled(otherwise="pass").reads("track") == set()


# --- errors ---


def test_all_that_is_wrong_is_said_at_once_with_its_place():
    data = blueprint(
        action(trigger='type = "track" and evnt = "A"', kind="email"),
        action({"a": {"@pth": "$.a"}, "b": [{"@if": {"then": 1}}], "c": {"@path": 5}}, name=" "),
        action(trigger="", enabled="yes", colour="red"),
        7,
        otherwise="keep",
        author="me",
    )
    assert problems({**data, "version": 2}) == [
        "author: is not a known key; the keys are version, actions, otherwise",
        "version: must be 1",
        'otherwise: must be "drop" or "pass"',
        "actions/0/trigger: position 20: expected a field (did you mean event?), found evnt",
        "actions/0/kind: must be one of track, user_properties, not 'email'",
        "actions/1/name: must be non-empty text",
        "actions/1/mapping/a: @pth is not a directive; the directives are " + ", ".join(DIRECTIVES),
        'actions/1/mapping/b/0/@if: needs "exists" or "blank"',
        "actions/1/mapping/c/@path: must be text or a directive, not a number",
        "actions/2/colour: is not a known key; the keys are name, trigger, kind, mapping, enabled",
        "actions/2/trigger: must be non-empty text",
        "actions/2/enabled: must be true or false, not text",
        "actions/3: must be an object, not a number",
    ]


def test_the_error_has_a_line_for_each_problem():
    with pytest.raises(BlueprintError, match="^version: must be 1\nactions: must be a list"):
        compile_blueprint({})


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ([], "a blueprint must be an object, not a list"),
        (None, "a blueprint must be an object, not null"),
        (blueprint(version=True), "version"),
        (blueprint(version="1"), "version"),
        (blueprint(actions={}), "actions"),
        (blueprint(otherwise=None), "otherwise"),
        (blueprint(otherwise=["drop"]), "otherwise"),
        (blueprint(action(mapping=[1])), "actions/0/mapping"),
        (blueprint(action() | {"mapping": None}), "actions/0/mapping"),
        (blueprint(action() | {"mapping": {}, "kind": 5}), "actions/0/kind"),
        (blueprint(action(trigger=None)), "actions/0/trigger"),
        (blueprint(action({"a": {"@path": "$.a", "b": 1}})), "actions/0/mapping/a"),
    ],
)
def test_what_is_no_blueprint_is_refused_with_its_place(data, place):
    assert [each.partition(": ")[0] for each in problems(data)] == [place]
    assert first_problem(data, SCHEMA)


def test_to_pass_a_destination_must_take_events():
    with pytest.raises(BlueprintError, match='no action of kind "track"'):
        compile_blueprint(blueprint(otherwise="pass"), ("user_properties",))
    compile_blueprint(blueprint(otherwise="pass"))


def test_any_kind_is_taken_where_none_are_named():
    compile_blueprint(blueprint(action(kind="email")))


def test_a_mapping_nested_too_deep_is_refused():
    deep = {}
    for _ in range(5_000):
        deep = {"a": deep}
    assert problems(blueprint(action(deep))) == ["actions/0/mapping: is nested too deeply"]


# --- the published schema ---


def test_the_schema_knows_the_directives_that_there_are():
    assert set(SCHEMA["$defs"]["directive"]["properties"]) == {*DIRECTIVES, "_metadata"}


@pytest.mark.parametrize(
    "data",
    [
        catalog.load_blueprint(key, variant.key)
        for key, destination in catalog.catalog().items()
        for variant in destination.variants
    ],
)
def test_the_schema_takes_the_blueprints_that_are_shipped(data):
    assert first_problem(data, SCHEMA) is None


OPTIONS = [*SCHEMA["$defs"]["directive"]["properties"], "operator", "value", "mode", "separator"]
OPTIONS += ["exists", "then", "direction", "objects", "apply", "mapping", "pattern", "replacement"]
OPTIONS += ["omitArrays", "global", "_metadata", "other"]
WORDS = st.sampled_from(["lower", "encode", "left", "", "a", "much too long for it", "$.a.b"])
MAPPINGS = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | WORDS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(OPTIONS), v, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", *DIRECTIVES]), MAPPINGS, max_size=2))
def test_the_schema_refuses_what_we_refuse(mapping):
    data = blueprint(action() | {"mapping": mapping})
    assert is_refused(data) == (first_problem(data, SCHEMA) is not None)


def is_refused(data):
    try:
        compile_blueprint(data)
    except BlueprintError:
        return True
    return False


# --- the documentation ---


def test_the_examples_of_the_documentation_can_be_used():
    whole, mapping = map(json.loads, re.findall("```json\n(.*?)```", DOCS, re.DOTALL))
    compile_blueprint(whole, catalog.catalog()["heap"].kinds)
    assert compile_mapping(mapping)[1] == []
    [trigger] = re.findall("```\n(type = .*?)\n```", DOCS)
    compile_trigger(trigger)


@pytest.mark.parametrize(
    "name", [*DIRECTIVES, *TRIGGER_FIELDS, "omitArrays", "pattern2", "ignorecase"]
)
def test_the_documentation_knows_every_directive_and_field(name):
    assert name in DOCS


def test_the_documentation_knows_every_variant_and_kind_of_heap():
    heap = catalog.catalog()["heap"]
    assert all(f"`{each}`" in DOCS for each in [*heap.kinds, *(v.key for v in heap.variants)])
