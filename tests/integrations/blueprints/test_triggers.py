"""The trigger language: its conditions, the fields it reads, and its errors."""

import json
from operator import ge, gt, le, lt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.blueprints import TriggerError, compile_trigger
from integrations.blueprints.trigger_syntax import parse_trigger
from integrations.blueprints.triggers import compile_condition, referenced_fields, simplify_for_type
from integrations.messages import MESSAGE_TYPES

TRACK = {
    "type": "track",
    "event": "Order Completed",
    "userId": "ada",
    "messageId": "m-1",
    "properties": {
        "total": 160,
        "vip": True,
        "coupon": None,
        "a b": 1,
        "2nd": 2,
        "products": [{"sku": "A-1"}],
        "deep": {"er": "x"},
    },
    "context": {"app": {"name": "Shop"}},
    "integrations": {"All": True},
}


def triggers(text, view=TRACK):
    return compile_trigger(text)(view)


# --- deliberate differences from the reference ---


@pytest.mark.parametrize(
    "text",
    [
        'event = "Order Completed" or type = "page" and userId = "bob"',
        'type = "page" and userId = "bob" or event = "Order Completed"',
        '!(type = "page")',
        '!(type = "page" or type = "screen") and !(userId = null)',
        '! ( ! (type = "track") )',
        '((type = "track" or type = "page") and userId != null) or type = "alias"',
        'type = "page" OR type = "track"',
        'type = "track" And event != null',
        'not type = "page" AND NOT (type = "screen")',
        'not not type = "track"',
        "event = 'Order Completed'",
        "properties.vip = true",
        "properties.vip != false",
        "properties.missing != true",
        'contains(type, "rac")',
        'match(type, "*ck")',
        "messageId != null and anonymousId = null",
        "integrations.All = true",
        'properties.products[0].sku = "A-1"',
        'properties["a b"] = 1',
        "properties['a b'] = 1",
        "properties != null and context != null",
        "traits = null",
    ],
)
def test_ours_is_right_where_the_reference_is_not(text):
    assert triggers(text)


@pytest.mark.parametrize(
    "text",
    [
        'type = "page" and event = null or userId = "bob"',
        '!(type = "track")',
        '!(contains(event, "Order"))',
        'event = "Order Completed" and (type = "page" OR userId = "bob")',
        "event = null",
        "properties.vip != true",
        "properties.vip = 'true'",
        'properties.products[1].sku = "A-1"',
        "properties.products.length = 1",
    ],
)
def test_and_says_no_where_the_answer_is_no(text):
    assert not triggers(text)


# --- the language ---


@pytest.mark.parametrize(
    "text",
    [
        'type="track"and userId="ada"',
        "\n type\t= track ",
        r"properties.a\ b = 1",
        "properties.2nd = 2",
        "properties.total >= 160 and properties.total <= 1.6e2 and properties.total > -1",
        'properties.total > "100"',
        "properties.total = 160.0 and properties.total != +5",
        'context.app.name != "shop"',
        'properties.deep.er = "x" and properties.deep.er.more = null',
        'contains(event, "Order") and contains(event, "") and contains(event, Completed)',
        'match(event, "Order*") and match(event, "*Completed") and match(event, "*")',
        '!contains(event, "order") and !match(event, "*order")',
        'type = "track" and',
        "type = track or ",
        "(((((((((type = track)))))))))",
    ],
)
def test_the_language_in_examples(text):
    assert triggers(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"a\b"', r"a\b"),
        (r'"say \"hi\""', 'say "hi"'),
        (r'"C:\\"', "C:\\"),
        (r"'it\'s'", "it's"),
        ('"and (or) #"', "and (or) #"),
        ('"Zürich 🦄"', "Zürich 🦄"),
        ('"two\nlines"', "two\nlines"),
        ("''", ""),
    ],
)
def test_a_text_may_hold_anything(text, value):
    assert triggers(f"event = {text}", {"event": value})
    assert not triggers(f"event = {text}", {"event": f"{value}."})


def test_a_negated_function_asks_for_a_text_and_a_negated_group_does_not():
    assert not triggers('!contains(name, "x")')
    assert not triggers('!match(properties.total, "x*")')
    assert triggers('!(contains(name, "x"))')
    assert triggers('!!(contains(event, "Order"))')


def test_a_number_is_neither_equal_nor_unequal_to_what_is_no_number():
    view = {"properties": {"text": "5", "yes": True, "real": 5.0}}
    for field in ("text", "yes", "missing"):
        assert not triggers(f"properties.{field} = 5", view)
        assert not triggers(f"properties.{field} != 6", view)
        assert not triggers(f"properties.{field} < 6", view)
    assert triggers("properties.real = 5 and properties.real != 6", view)


def test_parentheses_nest_as_deep_as_anyone_likes():
    assert triggers("(" * 5_000 + 'type = "track"' + ")" * 5_000)
    assert triggers("!(" * 5_000 + 'type = "track"' + ")" * 5_000)
    deep = "(type = track and (event = null or " * 90 + "type = track" + "))" * 90
    assert triggers(deep)


# --- errors ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'position 1: expected a condition, such as type = "track", found the end'),
        ("type", "position 5: expected one of = != < <= > >=, found the end"),
        ("type = ", "position 8: expected a value"),
        ("type = and", "position 8: expected a value"),
        ("type == 'a'", "position 7: expected a value"),
        ('type "track"', "position 6: expected one of = !="),
        ('evnt = "A"', "position 1: expected a field (did you mean event?), found evnt"),
        ("length(event) > 3", "position 1: expected a field: one of type, event"),
        ('type = "track" type = "page"', 'position 16: expected "and", "or" or the end'),
        ('type = "track")', 'position 15: expected "and", "or" or the end, found )'),
        ('(type = "track"', 'position 16: expected ")" to close the parenthesis at position 1'),
        (
            '(type = "a" or (event = "b")',
            'position 29: expected ")" to close the parenthesis at pos',
        ),
        ("(type = a b)", 'position 11: expected "and", "or" or ")", found b'),
        ("()", "position 2: expected a condition"),
        ("and type = a", "position 1: expected a condition"),
        ("type = a and or type = b", "position 14: expected a condition"),
        ("(type = a and) or type = b", "position 14: expected a condition"),
        ('event = "Order', 'position 9: expected a closing quote, found "Order'),
        ("type = a && b", 'position 10: expected "and", "or" or the end, found && b'),
        ("type = #", "position 8: expected a value: text in quotes, a number, true, false"),
        ("properties. = 1", "position 13: expected a name after the dot"),
        ("properties.products.0.sku = 1", "position 21: expected a name after the dot; write [0]"),
        ("properties.products[x] = 1", "position 21: expected a number or a name in quotes"),
        ("properties.products[0 = 1", 'position 23: expected "]", found ='),
        ("properties.x > abc", "position 16: expected a number, found abc"),
        ("properties.x < null", "position 16: expected a number"),
        ("properties.x = 1.5.2", 'position 19: expected "and"'),
        ('contains(event "x")', 'position 16: expected ",", found "x"'),
        ("contains(event, null)", "position 17: expected text in quotes"),
        ('contains event, "x"', 'position 10: expected "("'),
        ('match(event, "a*b")', "position 14: expected one * at the start or at the end"),
        ('match(event, "*a*")', "position 14: expected one * at the start or at the end"),
    ],
)
def test_a_mistake_is_told_with_its_position_and_what_was_expected(text, said):
    with pytest.raises(TriggerError) as error:
        compile_trigger(text)
    assert str(error.value).startswith(said)
    assert said.startswith(f"position {error.value.position}:")


def test_conditions_within_one_another_have_a_limit_that_is_said():
    deep = "(type = track and (event = null or " * 101 + "type = track" + "))" * 101
    with pytest.raises(TriggerError, match="more than 200 nested groups"):
        compile_trigger(deep)


def test_backslashes_without_end_take_no_time():
    with pytest.raises(TriggerError, match="closing quote"):
        compile_trigger('event = "' + "\\" * 100_000)


def test_a_number_with_very_many_digits_is_one():
    assert triggers(f"properties.x < {'9' * 5_000}", {"properties": {"x": 1}})


# --- simplification without a message ---


@pytest.mark.parametrize(
    ("text", "kind", "left"),
    [
        ('type = "track"', "track", True),
        ('type = "track"', "page", False),
        ('type = "track" and event = "A"', "page", False),
        ('type = "track" or event = "A"', "track", True),
        ('!(type = "track" and event = "A")', "page", True),
        ("type > 5", "track", False),
        ('type != "track" or type = null', "page", True),
    ],
)
def test_a_type_alone_may_decide(text, kind, left):
    assert simplify_for_type(parse_trigger(text), kind) is left


def test_fields_that_can_matter_are_known():
    tree = parse_trigger('type = "track" and !(contains(context.a.b, "x") or traits["y"] = 1)')
    assert referenced_fields(tree) == {"type", "context", "traits"}
    assert referenced_fields(simplify_for_type(tree, "track")) == {"context", "traits"}


# --- any trigger, any message ---

ORDER = {"<": lt, "<=": le, ">": gt, ">=": ge}
FIELDS = st.sampled_from(["type", "event", "userId", "properties.a", "properties.a.b", "traits.c"])
TEXTS = st.sampled_from(["track", "page", "a", "", "ab", 'q"q', "b\\"])
LITERALS = TEXTS | st.sampled_from([5, 6.5, True, False, None])
TESTS = st.one_of(
    st.tuples(st.sampled_from(["=", "!="]), FIELDS, LITERALS),
    st.tuples(st.sampled_from(list(ORDER)), FIELDS, st.sampled_from([5, -1.5])),
    st.tuples(st.sampled_from(["contains", "!contains"]), FIELDS, TEXTS),
)
TREES = st.recursive(
    TESTS,
    lambda tree: (
        st.tuples(st.sampled_from(["and", "or"]), tree, tree) | st.tuples(st.just("not"), tree)
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.text(),
    lambda v: (
        st.lists(v, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c"]) | st.text(max_size=3), v, max_size=3)
    ),
)
NAMES = ["type", "event", "userId", "properties", "traits"]
VIEWS = st.dictionaries(st.sampled_from(NAMES), JSON | st.sampled_from(["track", 5]))


def written(tree):
    """Write a tree as a trigger, with all parentheses."""
    name, *parts = tree
    if name in ("and", "or"):
        return f"({written(parts[0])} {name} {written(parts[1])})"
    if name == "not":
        return f"!({written(parts[0])})"
    field, literal = parts
    if isinstance(literal, str):
        escaped = literal.replace("\\", "\\\\").replace('"', '\\"')
        literal = f'"{escaped}"'
    else:
        literal = json.dumps(literal)
    return f"{name}({field}, {literal})" if "contains" in name else f"{field} {name} {literal}"


def is_true(tree, view):
    """Return the result of the trigger, computed in the plainest way from its tree."""
    name, *parts = tree
    if name == "and":
        return is_true(parts[0], view) and is_true(parts[1], view)
    if name == "or":
        return is_true(parts[0], view) or is_true(parts[1], view)
    if name == "not":
        return not is_true(parts[0], view)
    value, literal = looked_up(parts[0], view), parts[1]
    if "contains" in name:
        return isinstance(value, str) and (literal in value) == (name == "contains")
    if isinstance(literal, int | float) and not isinstance(literal, bool):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return ORDER[name](value, literal) if name in ORDER else (value == literal) == (name == "=")
    same = type(value) is type(literal) and value == literal
    return same == (name == "=")


def looked_up(field, view):
    for key in field.split("."):
        view = view.get(key) if isinstance(view, dict) else None
    return view


@given(TREES, VIEWS)
def test_a_compiled_trigger_says_what_its_tree_says(tree, view):
    assert triggers(written(tree), view) == is_true(tree, view)


@given(TREES, VIEWS, st.sampled_from(MESSAGE_TYPES))
def test_what_is_left_for_a_type_says_the_same(tree, view, kind):
    view = {**view, "type": kind}
    left = simplify_for_type(parse_trigger(written(tree)), kind)
    result = left if isinstance(left, bool) else compile_condition(left)(view)
    assert result == is_true(tree, view)


@given(TREES, VIEWS)
def test_only_what_a_trigger_reads_can_change_its_answer(tree, view):
    node = parse_trigger(written(tree))
    needed = {key: value for key, value in view.items() if key in referenced_fields(node)}
    assert compile_condition(node)(needed) == compile_condition(node)(view)


@given(TESTS, TESTS, TESTS, VIEWS)
def test_and_binds_stronger_than_or(a, b, c, view):
    flat = f"{written(a)} or {written(b)} and {written(c)}"
    assert triggers(flat, view) == is_true(("or", a, ("and", b, c)), view)


PIECES = ["type", "=", '"a"', "(", ")", "!", "and", "or", "not", "contains", ",", "5", "<", "[0]"]


@given(st.lists(st.sampled_from(PIECES)).map(" ".join) | st.text())
def test_any_text_is_a_trigger_or_has_a_mistake_with_a_position(text):
    try:
        position = int(compile_trigger(text)({})) + 1
    except TriggerError as error:
        position = error.position
    assert 1 <= position <= len(text) + 1
