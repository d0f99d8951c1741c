"""What a blueprint wants, and what it makes of it."""

import pytest

from integrations.blueprints import BlueprintError, compile_blueprint


def blueprint(mapping, trigger='type = "track"', **action):
    data = {"name": "A", "trigger": trigger, "kind": "track", "mapping": mapping, **action}
    return compile_blueprint({"version": 1, "actions": [data], "otherwise": "drop"})


def mapped(mapping, view):
    [action] = blueprint(mapping).apply({"type": "track", **view})
    return action.fields


def test_an_action_is_applied_to_the_type_it_is_triggered_by():
    made = blueprint({"event": "pageview"}, 'type = "page"')
    assert [made.wants({"type": each}) for each in ("page", "track")] == [True, False]
    assert made.apply({"type": "track"}) == []
    [action] = made.apply({"type": "page"})
    assert (action.kind, action.fields) == ("track", {"event": "pageview"})


def test_a_disabled_action_wants_nothing():
    assert not blueprint({}, enabled=False).wants({"type": "track"})


@pytest.mark.parametrize(
    ("path", "value"),
    [("$.a", 1), ("$.b.c", 0), ("$.b", {"c": 0}), ("$.n", None)],
)
def test_a_path_finds_its_value(path, value):
    view = {"a": 1, "b": {"c": 0}, "n": None}
    assert mapped({"x": {"@path": path}}, view) == {"x": value}


@pytest.mark.parametrize("path", ["$.missing", "$.a.b", "$.n.x"])
def test_a_path_that_leads_nowhere_leaves_its_key_out(path):
    assert mapped({"x": {"@path": path}}, {"a": 1, "n": None}) == {}


def test_in_a_merge_the_later_object_wins_and_what_is_none_is_passed_over():
    mapping = {
        "@merge": {
            "direction": "right",
            "objects": [{"a": 1, "b": 1}, {"@path": "$.missing"}, {"@path": "$.own"}],
        }
    }
    assert mapped({"x": mapping}, {"own": {"b": 2}}) == {"x": {"a": 1, "b": 2}}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"trigger": 'event = "A"'}, "actions/0/trigger"),
        ({"trigger": 'type = "track" or true'}, "actions/0/trigger"),
        ({"mapping": {"x": {"@if": {}}}}, "actions/0/mapping/x"),
        ({"mapping": {"x": {"@path": "a"}}}, "actions/0/mapping/x/@path"),
        ({"mapping": {"x": {"@path": "$.a", "y": 1}}}, "actions/0/mapping/x"),
        ({"mapping": {"x": [1]}}, "actions/0/mapping/x"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(change, place):
    action = {"name": "A", "trigger": 'type = "track"', "kind": "track", "mapping": {}} | change
    with pytest.raises(BlueprintError, match=place):
        compile_blueprint({"version": 1, "actions": [action]})


@pytest.mark.parametrize("data", [{"version": 2}, {"version": 1, "otherwise": "pass"}, {}])
def test_an_unknown_form_is_refused(data):
    with pytest.raises(BlueprintError):
        compile_blueprint(data)
