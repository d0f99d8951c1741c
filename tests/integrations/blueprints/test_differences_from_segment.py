"""The rows of "Differences from Segment's triggers" in docs/blueprints.md, each tried."""

import re
from pathlib import Path

import pytest

from integrations.blueprints import TriggerError, compile_trigger

ROOT = Path(__file__).parents[3]
REFUSED = "refused"
VIEW = {
    "type": "track",
    "event": 'say "hi"',
    "messageId": "m-1",
    "anonymousId": "anon",
    "groupId": "acme",
    "integrations": {"All": True},
    "properties": {"x": "yes", "five": 5, "a b": 1, "path": "C:\\", "products": [{"sku": "A-1"}]},
}
YES, NO = 'type = "track"', 'type = "page"'

# by the first cell of the row: (trigger, what Penstock answers for VIEW)
ROWS = {
    "`a or b and c`, without parentheses": [
        (f"{YES} or {NO} and {NO}", True),
        (f"{NO} and {YES} or {YES}", True),
        (f"{NO} or {YES} and {NO}", False),
    ],
    "`!(…)`, `not …`": [(f"!({YES})", False), (f"not {NO}", True), (f"!({NO})", True)],
    "`((a or b) and c) or d`": [
        (f"(({NO} or {YES}) and {YES}) or {NO}", True),
        (f"(({NO} or {YES}) and {NO}) or {NO}", False),
    ],
    "`a OR b`": [(f"{NO} OR {YES}", True), (f"{YES} AND {NO}", False)],
    "`event != null`, `type = null`": [
        ("event != null", True), ("type = null", False), ("name = null", True),
    ],
    "`properties.x != true`": [("properties.x != true", True), ("integrations.All != true", False)],
    "`event = 5`, `name = true`": [("event = 5", False), ("properties.five = 5", True),
        ('properties.five = "5"', False), ("name = true", False)],
    "`type = 'track'`": [("type = 'track'", True), ("type = 'page'", False)],
    '`(contains(event, "a") or b) and c`': [
        (f'(contains(event, "hi") or {NO}) and {YES}', True),
        (f'(contains(event, "hi") or {NO}) and {NO}', False),
        (f'({NO} or (match(event, "say*"))) and {YES}', True),
        ('(contains(event, "hi"))', True),
    ],
    "`a, b`": [(f"{YES}, {YES}", REFUSED), (f"{NO} or {YES}, {YES}", REFUSED)],
    r'`event = "say \"hi\""`, `event = "C:\\"`': [
        (r'event = "say \"hi\""', True), (r'properties.path = "C:\\"', True),
        (r'contains(event, "\"hi\"")', True),
    ],
    "`contains(type, …)`, `messageId`, `anonymousId`, `groupId`, `integrations.…`": [
        ('contains(type, "rac")', True), ('messageId = "m-2"', False),
        ('anonymousId = "anon"', True),
        ('groupId != "acme"', False), ("integrations.All = true", True),
    ],
    '`receivedAt = null`, `version = "1"` and other unknown fields': [
        (f"{YES} and receivedAt = null", REFUSED), (f'{YES} or version = "1"', REFUSED),
    ],
    '`properties.products[0]`, `properties["a b"]`': [
        ('properties.products[0].sku = "A-1"', True), ('properties["a b"] = 1', True),
        ('properties.products[1].sku = "A-1"', False),
    ],
    r'`a && b`, `a \|\| b`, `type == "track"`, `event = “typographic quotes”`': [
        (f"{YES} && {YES}", REFUSED), (f"{YES} || {YES}", REFUSED), ('type == "track"', REFUSED),
        ("event = “x”", REFUSED),
    ],
    "`(a`, `a)`, an empty trigger": [
        (f"({YES}", REFUSED), (f"{YES})", REFUSED), ("", REFUSED), ("()", REFUSED),
    ],
    "`properties != null`": [("properties != null", True), ("traits != null", False)],
    '`type = `, `type = "a" type = "b"`, `type in [...]`': [
        ("type = ", REFUSED), ('type = "a" type = "b"', REFUSED), ('type in ["track"]', REFUSED),
    ],
    '`match(event, "a*b")`, `match(event, "*a*")`': [
        ('match(event, "s*i")', REFUSED), ('match(event, "*say*")', REFUSED),
    ],
    "`properties.products.0.sku`": [('properties.products.0.sku = "A-1"', REFUSED)],
}  # fmt: skip


def documented_rows():
    text = (ROOT / "docs/blueprints.md").read_text("utf-8")
    table = text.split("### Differences from Segment's triggers")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*)\|$", table, re.MULTILINE)
    return [re.split(r" \| ", row)[0] for row in rows if not row.startswith(("-", "trigger "))]


def test_each_row_of_the_documentation_is_tried():
    assert set(documented_rows()) == set(ROWS)


@pytest.mark.parametrize(
    ("trigger", "expected"), [tried for tries in ROWS.values() for tried in tries]
)
def test_penstock_answers_as_documented(trigger, expected):
    try:
        answer = compile_trigger(trigger)(VIEW)
    except TriggerError:
        answer = REFUSED
    assert answer == expected
