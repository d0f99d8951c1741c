"""The mapping language: the result of each directive, and its errors.

Results equal the reference's; test_conformance.py runs cases that were recorded from it.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.blueprints import compile_mapping
from integrations.blueprints.javascript import number_to_text
from integrations.blueprints.paths import MISSING
from integrations.errors import MessageRejected

VIEW = {
    "text": "Some Text",
    "empty": "",
    "zero": 0,
    "no": False,
    "yes": True,
    "null": None,
    "real": 12.5,
    "whole": 3.0,
    "list": [1, "two", None, {"x": "y"}],
    "none": [],
    "blank": {},
    "a.b": "dotted",
    "a b": "spaced",
    "products": [{"sku": "A", "price": 1.5, "tags": ["x"]}, {"sku": "B", "price": 2.0}],
    "nested": {"a": {"b": {"c": "deep"}}, "n": None, "l": [[], [None, {"z": 1}]]},
}


def mapped(mapping, view=VIEW):
    mapper, problems = compile_mapping(mapping)
    assert problems == []
    return mapper(view)


def value(node, view=VIEW):
    """Return the result of a node as the value of a key, or MISSING if the key is left out."""
    return mapped({"out": node}, view).get("out", MISSING)


def path(text):
    return {"@path": text}


# --- values and objects ---


@pytest.mark.parametrize("raw", [1, 1.5, "", "$.text", True, None, [], {}, {"a": [None, {"b": 1}]}])
def test_what_is_no_directive_stands_for_itself(raw):
    assert value(raw) == raw


def test_what_is_not_there_is_left_out_of_an_object_and_null_in_a_list():
    mapping = {"a": path("$.nope"), "b": {"c": path("$.nope")}, "d": [path("$.nope"), 1]}
    assert mapped(mapping) == {"b": {}, "d": [None, 1]}
    assert mapped({"@path": "$.nope"}) is MISSING


def test_metadata_changes_nothing():
    assert value({"@path": "$.text", "_metadata": {"label": "Text"}}) == "Some Text"


# --- @path ---


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$.text", "Some Text"),
        ("text", "Some Text"),
        ("$.nested.a.b.c", "deep"),
        ("$.nested['a'][\"b\"].c", "deep"),
        ("$..nested..a.b.c", "deep"),
        ("$.list[1]", "two"),
        ("$.list.1", "two"),
        ("$.list[3].x", "y"),
        ("$.['a b']", "spaced"),
        ("$.a b", "spaced"),
        ("$.nested.n", None),
        ("$.nested.n.more", None),
        ("$.zero.more", 0),
        ("$.empty.more", ""),
        ("$.no.more", False),
        ("", VIEW),
        (".", VIEW),
        ("$.", VIEW),
    ],
)
def test_a_path_finds_its_value(text, found):
    assert value(path(text)) == found


@pytest.mark.parametrize(
    "text",
    ["$.nope", "$.text.more", "$.text.0", "$.text.length", "$.list.length", "$.list[9]", "$",
     "$['text']",
     "$.list[01]", "$.list.-1", "$.nested[a]", "$.a.b", "$.['a.b']", " $.text", "$.text ",
     "$.real.x", "$.yes.x", "$.list.x", "$.blank.x", "$.list[99999999999]", "$.list.²"],
)  # fmt: skip
def test_a_path_that_leads_nowhere_finds_nothing(text):
    assert value(path(text)) is MISSING


def test_a_path_may_stand_in_the_message():
    assert value(path(path("$.which")), {**VIEW, "which": "$.nested.a.b.c"}) == "deep"


@pytest.mark.parametrize(("which", "said"), [({}, "missing"), ({"which": 5}, "a number")])
@pytest.mark.parametrize("directive", ["@path", "@template"])
def test_what_should_be_a_text_and_is_none_rejects_the_message(directive, which, said):
    with pytest.raises(MessageRejected, match=f"out/{directive}: must be text, but is {said}"):
        value({directive: path("$.which")}, which)


# --- @template ---


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Hello, {{text}}!", "Hello, Some Text!"),
        ("{{ text }}{{{ text }}}", "Some TextSome Text"),
        ("{{zero}} {{no}} {{yes}}", "0 false true"),
        ("[{{null}}{{nope}}{{empty}}]", "[]"),
        ("{{real}} {{whole}}", "12.5 3"),
        ("{{list[1]}} {{a b}} {{nested.a.b.c}}", "two spaced deep"),
        ("{{nested.a}} {{list}}", '{"b":{"c":"deep"}} [1,"two",null,{"x":"y"}]'),
        ("{{$.text}}", ""),
        ("{{text", "{{text"),
        ("text}}", "text}}"),
        ("{{}}{text}{ {text} }", "{{}}{text}{ {text} }"),
        ("", ""),
    ],
)
def test_a_template_is_filled(template, text):
    assert value({"@template": template}) == text


def test_what_is_filled_in_is_no_template():
    assert value({"@template": "{{{a}}}"}, {"a": "{{b}}", "b": "secret"}) == "{{b}}"


def test_a_template_may_stand_in_the_message():
    assert value({"@template": path("$.t")}, {"t": "{{a}}-{{a}}", "a": 1}) == "1-1"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (1.0, "1"), (-0.0, "0"), (-1.50, "-1.5"), (0.1 + 0.2, "0.30000000000000004"),
        (1e21, "1e+21"), (1.5e300, "1.5e+300"), (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"), (0.000001, "0.000001"),
        (0.0000015, "0.0000015"), (1e-7, "1e-7"), (-1.5e-10, "-1.5e-10"), (0.0001, "0.0001"),
        (2**53 + 1, "9007199254740993"), (10**30, "1" + "0" * 30), (5e-324, "5e-324"),
        (float("inf"), "null"), (float("nan"), "null"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_javascript_does(given, text):
    assert number_to_text(given) == text


# --- @if ---


@pytest.mark.parametrize(
    "name", ["text", "empty", "zero", "no", "yes", "real", "list", "none", "blank"]
)
def test_what_is_there_and_not_null_exists(name):
    assert value({"@if": {"exists": path(name), "then": "T", "else": "E"}}) == "T"


@pytest.mark.parametrize("name", ["nope", "null"])
def test_what_is_missing_or_null_does_not_exist(name):
    assert value({"@if": {"exists": path(name), "then": "T", "else": "E"}}) == "E"


@pytest.mark.parametrize(
    "given", ["x", " ", "0", True, 1, -0.5, {}, {"a": 1}, [0], [False], ["a"], [[], []], [{}]]
)
def test_blank_chooses_then_when_it_is_not_blank(given):
    assert value({"@if": {"blank": path("v"), "then": "T", "else": "E"}}, {"v": given}) == "T"


@pytest.mark.parametrize("given", ["", 0, 0.0, False, None, [], [None], [""], [[]], [[[""]]]])
def test_blank_chooses_else_when_it_is_blank(given):
    assert value({"@if": {"blank": path("v"), "then": "T", "else": "E"}}, {"v": given}) == "E"


@pytest.mark.parametrize("given", [0, False, "", [], {}])
def test_a_branch_may_be_anything(given):
    assert value({"@if": {"exists": path("text"), "then": given}}) == given
    assert value({"@if": {"exists": path("nope"), "then": "T", "else": given}}) == given


def test_a_branch_that_is_not_there_leaves_the_key_out():
    assert value({"@if": {"exists": path("nope"), "then": 1}}) is MISSING
    assert value({"@if": {"exists": path("text"), "else": 1}}) is MISSING
    assert value({"@if": {"exists": path("nope"), "else": None}}) is MISSING
    assert value({"@if": {"exists": path("text"), "then": None}}) is None


@pytest.mark.parametrize(("given", "said"), [(False, "T"), (0, "T"), ("", "T"), (None, "E")])
def test_what_is_written_down_exists_unless_it_is_null(given, said):
    assert value({"@if": {"exists": given, "then": "T", "else": "E"}}) == said


def test_exists_goes_before_blank():
    assert value({"@if": {"exists": path("zero"), "blank": path("zero"), "then": 1}}) == 1


# --- @case, @replace ---


@pytest.mark.parametrize(
    ("operator", "given", "made"),
    [
        ("lower", "MiXeD Ünï ΑΣ", "mixed ünï ας"),
        ("upper", "straße ŉ ı", "STRASSE ʼN I"),
        ("upper", 12.5, 12.5),
        ("upper", None, None),
        ("lower", ["A"], ["A"]),
        ("lower", {"A": "B"}, {"A": "B"}),
    ],
)
def test_a_text_changes_its_case_and_nothing_else_does(operator, given, made):
    assert value({"@case": {"operator": operator, "value": path("v")}}, {"v": given}) == made


def test_a_case_of_nothing_is_nothing():
    assert value({"@case": {"operator": "lower"}}) is MISSING
    assert value({"@case": {"operator": "lower", "value": path("nope")}}) is MISSING


def replaced(given, pattern, replacement="", **options):
    options = {"pattern": pattern, "replacement": replacement, "value": path("v"), **options}
    return value({"@replace": options}, {"v": given})


@pytest.mark.parametrize(
    ("given", "pattern", "replacement", "made"),
    [
        ("a.b.c", ".", "-", "a-b-c"),
        ("banana", "a", "", "bnn"),
        ("aaa", "aa", "b", "ba"),
        ("x(y)[z]$^", "$^", "\\1", "x(y)[z]\\1"),
        ("abc", "b", "$&", "a$&c"),
        ("ünü", "ü", "u", "unu"),
        (12.0, "1", "one", "one2"),
        (1e21, "+", "", "1e21"),
        (True, "true", "yes", "yes"),
        (False, "x", "y", "false"),
        ("", "x", "y", ""),
        (None, "x", "y", ""),
        (["x"], "x", "y", ""),
        ({"x": 1}, "x", "y", ""),
    ],
)
def test_a_pattern_is_replaced_as_it_stands(given, pattern, replacement, made):
    assert replaced(given, pattern, replacement) == made


def test_only_the_first_is_replaced_when_it_is_not_global():
    assert replaced("aAa", "a", "x", **{"global": False}) == "xAa"
    assert replaced("bAa", "a", "x", ignorecase=True, **{"global": False}) == "bxa"


@pytest.mark.parametrize(
    ("given", "pattern", "made"),
    [
        ("aAbB", "AB", "a-B"),
        ("ÜüU", "ü", "--U"),
        ("sSſ", "s", "--ſ"),
        ("kK\u212a", "k", "--\u212a"),
    ],
)
def test_case_is_ignored_as_javascript_ignores_it(given, pattern, made):
    assert replaced(given, pattern, "-", ignorecase=True) == made


def test_a_second_pattern_is_replaced_in_what_the_first_made():
    assert replaced("a-b", "-", "_", pattern2="_") == "ab"
    assert replaced("a-b", "-", "_", pattern2="b", replacement2="c") == "a_c"
    assert replaced("a-b", "-", "_", pattern2=None) == "a_b"


def test_what_is_missing_becomes_the_empty_text():
    assert value({"@replace": {"pattern": "a", "value": path("nope")}}) == ""


# --- @arrayPath ---


def test_a_list_is_taken_whole_or_item_by_item():
    assert value({"@arrayPath": ["$.products"]}) == VIEW["products"]
    assert value({"@arrayPath": ["$.products", {}]}) == VIEW["products"]
    shape = {"id": path("$.sku"), "tag": path("tags[0]"), "t": {"@template": "{{price}}!"}, "n": 1}
    assert value({"@arrayPath": ["$.products", shape]}) == [
        {"id": "A", "tag": "x", "t": "1.5!", "n": 1},
        {"id": "B", "t": "2!", "n": 1},
    ]


def test_a_shape_may_be_a_directive():
    assert value({"@arrayPath": ["products", path("sku")]}) == ["A", "B"]
    assert value({"@arrayPath": ["products", path("tags")]}) == [["x"], None]
    inner = {"@arrayPath": ["tags", {"t": path("")}]}
    assert value({"@arrayPath": ["products", {"tags": inner}]}) == [{"tags": [{"t": "x"}]}, {}]


def test_an_object_counts_as_a_list_of_one():
    assert value({"@arrayPath": ["$.nested.a", {"c": path("b.c")}]}) == [{"c": "deep"}]
    assert value({"@arrayPath": ["$.nested.a"]}) == {"b": {"c": "deep"}}


def test_items_need_not_be_objects():
    shape = {"x": path("x"), "whole": path("")}
    assert value({"@arrayPath": ["$.list", shape]}) == [
        {"whole": 1},
        {"whole": "two"},
        {"x": None, "whole": None},
        {"x": "y", "whole": {"x": "y"}},
    ]


@pytest.mark.parametrize(("name", "found"), [("text", "Some Text"), ("null", None), ("none", [])])
def test_what_is_no_list_stays_as_it_is(name, found):
    assert value({"@arrayPath": [name, {"a": 1}]}) == found
    assert value({"@arrayPath": ["nope", {"a": 1}]}) is MISSING


def test_the_list_may_come_from_a_directive():
    chosen = {"@if": {"exists": path("items"), "then": path("items"), "else": path("products")}}
    assert value({"@arrayPath": [chosen, {"id": path("sku")}]}) == [{"id": "A"}, {"id": "B"}]


# --- @flatten ---


def flat(given, separator=".", **options):
    options = {"value": path("v"), "separator": separator, **options}
    return value({"@flatten": options}, {"v": given})


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"a": {"b": {"c": 1}}, "d": 2}, {"a.b.c": 1, "d": 2}),
        ({"a": [1, [2, {"b": None}]]}, {"a.0": 1, "a.1.0": 2, "a.1.1.b": None}),
        ({"a": {}, "b": [], "c": [[], {}], "d": ""}, {"d": ""}),
        ({"a.b": 1, "a": {"b": 2}}, {"a.b": 2}),
        ({"": {"": 1}, "a": {"": 2}}, {"": 1, "a.": 2}),
        ([1, {"a": 2}], {"0": 1, "1.a": 2}),
        ("text", {"": "text"}),
        (None, {"": None}),
        ({}, {}),
    ],
)
def test_an_object_is_flattened(given, made):
    assert flat(given) == made


def test_lists_may_be_left_as_they_are():
    given = {"a": {"b": [1, {"c": 2}]}, "d": []}
    assert flat(given, "_", omitArrays=True) == {"a_b": [1, {"c": 2}], "d": []}
    assert flat([1], omitArrays=True) == {"": [1]}
    assert flat([1], omitArrays=False) == {"0": 1}


def test_nothing_is_flattened_to_an_empty_object():
    assert value({"@flatten": {"value": path("nope"), "separator": "."}}) == {}
    mapping = [{"a": path("nope"), "b": 2}, path("nope"), 1]
    assert value({"@flatten": {"value": mapping, "separator": "."}}) == {"0.b": 2, "2": 1}


# --- @json ---


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("é \"q\" \n\u0001\u2028 🦄 </a>", '"é \\"q\\" \\n\\u0001\u2028 🦄 </a>"'),
        ({"b": 1.0, "a": [1e21, 0.00001, None, True]}, '{"b":1,"a":[1e+21,0.00001,null,true]}'),
        (None, "null"),
        (False, "false"),
        ("", '""'),
        (2**60, "1152921504606846976"),
        ({}, "{}"),
    ],
)  # fmt: skip
def test_a_value_is_written_as_json(given, text):
    assert value({"@json": {"mode": "encode", "value": path("v")}}, {"v": given}) == text


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ('{"a":[1,{"b":null}]}', {"a": [1, {"b": None}]}),
        (" 42 ", 42),
        ("null", None),
        ('"x"', "x"),
        ("{oops", "{oops"),
        ("", ""),
        ("NaN", "NaN"),
        ("'x'", "'x'"),
        ("[" * 100_000, "[" * 100_000),
        (5, 5),
        (None, None),
        ({"a": "1"}, {"a": "1"}),
    ],
)
def test_json_is_read_and_what_is_none_stays(text, made):
    assert value({"@json": {"mode": "decode", "value": path("v")}}, {"v": text}) == made


@pytest.mark.parametrize("mode", ["encode", "decode"])
def test_what_is_missing_has_no_json(mode):
    assert value({"@json": {"mode": mode, "value": path("nope")}}) is MISSING
    inner = {"a": path("nope"), "b": [path("nope")]}
    if mode == "encode":
        assert value({"@json": {"mode": mode, "value": inner}}) == '{"b":[null]}'


# --- @merge ---


def merged(direction, *objects):
    return value({"@merge": {"direction": direction, "objects": list(objects)}})


def test_in_a_merge_one_side_wins():
    objects = {"a": 1, "b": {"x": 1}}, {"b": {"y": 2}, "c": None}
    assert merged("right", *objects) == {"a": 1, "b": {"y": 2}, "c": None}
    assert merged("left", *objects) == {"a": 1, "b": {"x": 1}, "c": None}
    assert merged("left") == {}


def test_what_is_no_object_is_passed_over_and_lists_have_their_numbers():
    assert merged("right", {"a": 1}, path("nope"), path("null"), path("real")) == {"a": 1}
    assert merged("right", path("nested.l[1]"), {"1": 2}) == {"0": None, "1": 2}


@pytest.mark.parametrize(
    "hiding",
    [
        {"a": path("nope")},
        {"@if": {"exists": 1, "then": {"a": path("nope")}}},
        {"@literal": {"a": path("nope")}},
        {"@excludeWhenNull": {"a": path("null")}},
        {"@transform": {"apply": {}, "mapping": {"a": path("text")}}},
        {"@merge": {"direction": "right", "objects": [{"a": 2}, {"a": path("nope")}]}},
    ],
)
def test_a_key_of_the_winner_without_a_value_hides_the_others(hiding):
    assert merged("right", {"a": 1, "b": 1}, hiding) == {"b": 1}
    assert merged("left", {"a": 1, "b": 1}, hiding) == {"a": 1, "b": 1}


# --- @transform, @literal, @excludeWhenNull ---


def test_a_transform_maps_what_another_mapping_made():
    apply = {"p": {"@flatten": {"value": path("nested"), "separator": "_"}}}
    mapping = {"c": path("p.a_b_c"), "gone": path("text"), "all": {"@template": "{{p.a_b_c}}"}}
    assert value({"@transform": {"apply": apply, "mapping": mapping}}) == {
        "c": "deep",
        "all": "deep",
    }


def test_a_transform_of_an_item_that_is_no_object_rejects_the_message():
    shape = {"@transform": {"apply": {}, "mapping": {}}}
    assert value({"@arrayPath": ["$.products", shape]}) == [{}, {}]
    with pytest.raises(MessageRejected, match="must be an object"):
        value({"@arrayPath": ["$.list", shape]})


@pytest.mark.parametrize("given", [0, "", False, None, "{{text}}", [1, {"a": None}]])
def test_a_literal_is_what_it_says(given):
    assert value({"@literal": given}) == given


def test_a_literal_resolves_what_is_in_it():
    assert value({"@literal": [path("text"), {"a": path("nope")}]}) == ["Some Text", {}]


def test_null_is_excluded_from_objects_at_any_depth_but_not_from_lists():
    given = {"a": None, "b": {"c": None, "d": [None, {"e": None}]}, "f": 0}
    found = value({"@excludeWhenNull": path("v")}, {"v": given})
    assert found == {"b": {"d": [None, {"e": None}]}, "f": 0}
    assert value({"@excludeWhenNull": path("null")}) is MISSING
    assert value({"@excludeWhenNull": path("nope")}) is MISSING
    assert value({"@excludeWhenNull": path("empty")}) == ""


# --- whole mappings ---


def test_segments_root_directive_gets_the_other_keys():
    root = {"@transform": {"apply": {"p": path("$.nested.a")}}}
    assert mapped({"__segment_internal_directive": root, "c": path("p.b.c")}) == {"c": "deep"}


@pytest.mark.parametrize(("given", "made"), [(["x"], {"0": "x"}), ("ab", {"0": "a", "1": "b"})])
def test_a_whole_mapping_makes_an_object(given, made):
    assert mapped(given) == made
    assert mapped(5) == {}


def test_only_objects_are_mapped():
    with pytest.raises(MessageRejected, match="must be an object"):
        mapped({"a": 1}, 123)


# --- errors ---


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"@path": 5}, "/@path: must be text or a directive, not a number"),
        ({"@path": []}, "/@path: must be text or a directive, not a list"),
        ({"@template": {"a": 1}}, "/@template: must be text or a directive, not an object"),
        ({"@if": []}, "/@if: must be an object, not a list"),
        ({"@if": {"then": 1}}, '/@if: needs "exists" or "blank"'),
        ({"@if": {"exists": 1, "them": 1}}, "/@if/them: is not an option of this directive"),
        ({"@if": {"@path": "a"}}, "/@if: must be an object, not a directive"),
        ({"@case": {"value": "a"}}, '/@case: needs "operator"'),
        ({"@case": {"operator": "", "value": "a"}}, "/@case/operator: must not be empty"),
        ({"@case": {"operator": "title"}}, "/@case/operator: must be lower or upper"),
        ({"@case": {"operator": "lower", "value": 5}}, "/@case/value: must be text or a direct"),
        ({"@replace": {"pattern": "a"}}, '/@replace: needs "value"'),
        ({"@replace": {"pattern": "", "value": "a"}}, "/@replace/pattern: must not be empty"),
        ({"@replace": {"pattern": "🦄" * 6, "value": "a"}}, "/@replace/pattern: must have"),
        ({"@replace": {"pattern": 5, "value": "a"}}, "/@replace/pattern: must be text"),
        ({"@replace": {"pattern": "a", "value": "a", "global": 1}}, "/@replace/global: must be"),
        ({"@replace": {"pattern": "a", "value": "a", "replacement": None}}, "/@replace/rep"),
        ({"@replace": {"pattern": "a", "value": "a", "pattern2": 5}}, "/@replace/pattern2: must"),
        ({"@replace": {"pattern": "a", "value": "a", "pattern2": "b" * 11}}, "/@replace/pattern2"),
        ({"@arrayPath": "$.a"}, "/@arrayPath: must be a list of a path and a shape, not text"),
        ({"@arrayPath": []}, "/@arrayPath/0: must be text or a directive, not null"),
        ({"@arrayPath": ["a", {}, 1]}, "/@arrayPath: takes only a path and a shape"),
        ({"@arrayPath": ["a", {"b": {"@no": 1}}]}, "/@arrayPath/1/b: @no is not a directive"),
        ({"@flatten": {"value": 1}}, '/@flatten: needs "separator"'),
        ({"@flatten": {"value": 1, "separator": ""}}, "/@flatten/separator: must not be empty"),
        ({"@flatten": {"value": 1, "separator": ".", "omitArrays": "no"}}, "/@flatten/omitArrays"),
        ({"@json": {"mode": "encode"}}, '/@json: needs "value"'),
        ({"@json": {"mode": "ENCODE", "value": 1}}, "/@json/mode: must be encode or decode"),
        ({"@merge": {"objects": []}}, '/@merge: needs "direction"'),
        ({"@merge": {"direction": "up", "objects": []}}, "/@merge/direction: must be left"),
        ({"@merge": {"direction": ["left"], "objects": []}}, "/@merge/direction: must be left or"),
        ({"@merge": {"direction": "left", "objects": {}}}, "/@merge/objects: must be a list"),
        ({"@merge": {"direction": "left", "objects": [1]}}, "/@merge/objects/0: must be an object"),
        ({"@transform": {"apply": {}}}, '/@transform: needs "mapping"'),
        ({"@transform": {"apply": 1, "mapping": {}}}, "/@transform/apply: must be an object, not"),
        ({"@liquid": "{{ a }}"}, ": @liquid is not a directive; the directives are @path, "),
        ({"@path": "a", "@case": {}}, ": must have one directive, not 2: @path, @case"),
        ({"@path": "a", "b": 1}, ": @path must be the only key; remove b"),
        ([{"a": [{"@path": 5}]}], "/0/a/0/@path: must be text or a directive, not a number"),
        ({"@literal": {"a": {"@no": 1}}}, "/@literal/a: @no is not a directive"),
        ({"@excludeWhenNull": {"a": {"@no": 1}}}, "/@excludeWhenNull/a: @no is not a directive"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(node, said):
    _, [problem] = compile_mapping({"out": node})
    assert str(problem).startswith(f"out{said}")


@pytest.mark.parametrize(
    ("node", "made"),
    [
        ([{"@path": "$.text", "b": 1}], [{"@path": "$.text", "b": 1}]),
        ({"@literal": {"@path": "$.text", "b": 1}}, None),
        ([{"@case": {"operator": "upper", "value": 5}}], [5]),
        ([{"@nope": 1}], [None]),
        ({"@case": {"operator": "title", "value": path("real")}}, 12.5),
        ({"@case": {"operator": "title"}}, MISSING),
        ({"@json": {"mode": "ENCODE", "value": 1}}, MISSING),
        ({"@merge": {"direction": "LEFT", "objects": [{"a": 1}, {"a": 2}]}}, {"a": 2}),
        ({"@arrayPath": ["none", {}, "more"]}, []),
        ({"@replace": {"pattern": "S", "value": path("text"), "pattern2": 5}}, "ome Text"),
        ({"@flatten": {"value": [1], "separator": ".", "omitArrays": "no"}}, {"": [1]}),
    ],
)
def test_what_the_reference_takes_is_a_lesser_problem_and_maps_as_it_does(node, made):
    mapper, [problem] = compile_mapping({"out": node})
    assert problem.fatal == (made is None)
    if not problem.fatal:
        assert mapper(VIEW).get("out", MISSING) == made


def test_a_case_that_there_is_not_rejects_the_texts_that_meet_it():
    mapper, _ = compile_mapping({"out": {"@case": {"operator": "title", "value": path("text")}}})
    with pytest.raises(MessageRejected, match="must be lower or upper"):
        mapper(VIEW)


@pytest.mark.parametrize(
    "root",
    [{"@transform": "x"}, {}, "x", None, {"@merge": {}, "@transform": {}}, {"@transform": {}}],
)
def test_a_root_directive_must_be_one(root):
    _, problems = compile_mapping({"__segment_internal_directive": root, "x": 1})
    assert [each.place for each in problems][0].startswith("__segment_internal_directive")


def test_no_mapping_at_all_is_refused():
    assert [str(each) for each in compile_mapping(None)[1]] == [
        "the mapping must be an object, not null"
    ]


# --- any mapping, any message ---

KEYS = st.sampled_from(["a", "b", "0"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), v, max_size=3),
)
PATHS = st.sampled_from(["$.", "$.a", "$.b.a", "a[0].b", "b.0", "$.nope"])
TEXTS = PATHS.map(path) | st.sampled_from(["Text", "a-b"])


def directives(node):
    objects = PATHS.map(path) | st.dictionaries(KEYS, node, max_size=2)
    return st.one_of(
        PATHS.map(path),
        st.sampled_from(["{{a}}-{{b.a}}", "{{{a[0]}}}", "{{x"]).map(lambda t: {"@template": t}),
        st.fixed_dictionaries({"exists": node, "then": node}, optional={"else": node}).map(
            lambda options: {"@if": options}
        ),
        st.fixed_dictionaries({"blank": node, "else": node}).map(lambda options: {"@if": options}),
        TEXTS.map(lambda v: {"@case": {"operator": "upper", "value": v}}),
        TEXTS.map(lambda v: {"@replace": {"pattern": "a", "replacement": "b", "value": v}}),
        st.tuples(PATHS, objects).map(lambda pair: {"@arrayPath": list(pair)}),
        node.map(lambda v: {"@flatten": {"value": v, "separator": "."}}),
        node.map(lambda v: {"@json": {"mode": "encode", "value": v}}),
        node.map(lambda v: {"@json": {"mode": "decode", "value": v}}),
        st.lists(objects, max_size=3).map(
            lambda each: {"@merge": {"direction": "left", "objects": each}}
        ),
        st.tuples(objects, objects).map(
            lambda pair: {"@transform": {"apply": pair[0], "mapping": pair[1]}}
        ),
        node.map(lambda v: {"@excludeWhenNull": v}),
        node.map(lambda v: {"@literal": v}),
    )


NODES = st.recursive(
    SCALARS,  # an object with a key of its own might be read as a directive
    lambda v: st.lists(v, max_size=2) | st.dictionaries(KEYS, v, max_size=2) | directives(v),
    max_leaves=10,
)


def is_json(found):
    if isinstance(found, dict):
        return all(isinstance(key, str) and is_json(each) for key, each in found.items())
    if isinstance(found, list):
        return all(map(is_json, found))
    return found is None or isinstance(found, str | int | float | bool)


@given(st.dictionaries(KEYS, NODES, max_size=2), st.dictionaries(KEYS, JSON, max_size=3))
def test_any_message_is_mapped_to_json_or_rejected(mapping, view):
    mapper, problems = compile_mapping(mapping)
    assert problems == []
    before = json.dumps(view)
    try:
        found = mapper(view)
    except MessageRejected:  # an item in a @transform that is not an object
        found = {}
    assert is_json(found)
    assert json.dumps(view) == before


@given(JSON)
def test_any_json_can_be_compiled_and_any_json_mapped(given):
    mapper, problems = compile_mapping(given)
    assert all(isinstance(str(each), str) for each in problems)
    if not problems:
        assert is_json(mapper({}))


def plain(node, view):
    """Return the result of a node, computed in the plainest way from its JSON."""
    if isinstance(node, list):
        return [None if each is MISSING else each for each in (plain(n, view) for n in node)]
    if not isinstance(node, dict):
        return node
    if "@path" in node:
        return plain_path(node["@path"], view)
    if "@if" in node:
        options = node["@if"]
        asked = plain(options["exists"], view)
        branch = "else" if asked is MISSING or asked is None else "then"
        return plain(options[branch], view) if options.get(branch) is not None else MISSING
    if "@merge" in node:
        made = {}
        for each in node["@merge"]["objects"]:
            made.update(plain(each, view))
        return made
    values = {key: plain(each, view) for key, each in node.items()}
    return {key: each for key, each in values.items() if each is not MISSING}


def plain_path(text, view):
    for key in text.removeprefix("$.").split("."):
        view = view.get(key, MISSING) if isinstance(view, dict) else MISSING
    return view


SIMPLE = st.recursive(
    st.integers(1, 3) | st.sampled_from(["$.a", "$.b.a", "$.a.b.a"]).map(path),
    lambda v: st.one_of(
        st.lists(v, max_size=2),
        st.dictionaries(KEYS, v, max_size=2),
        st.tuples(v, v, v).map(lambda t: {"@if": {"exists": t[0], "then": t[1], "else": t[2]}}),
        st.lists(st.dictionaries(KEYS, st.integers(), max_size=2), max_size=3).map(
            lambda each: {"@merge": {"direction": "right", "objects": each}}
        ),
    ),
)
TRUTHY = st.recursive(
    st.integers(1), lambda v: st.dictionaries(KEYS, v, max_size=3) | st.lists(v, max_size=2)
)


@given(st.dictionaries(KEYS, SIMPLE, max_size=3), st.dictionaries(KEYS, TRUTHY, max_size=3))
def test_a_compiled_mapping_makes_what_its_json_says(mapping, view):
    assert mapped(mapping, view) == plain(mapping, view)
