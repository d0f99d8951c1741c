"""Whom a message is about: the numbers of visitors, and ids that identify nobody."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.destinations.heap import people
from integrations.messages import Message

ROOT = Path(__file__).parents[4]
VECTORS = ROOT.parent / "shared/conformance/heap_user_id_hash.json"
VISITOR = "435837195053672"  # the number of anon1


@pytest.mark.parametrize(
    ("anonymous_id", "number"),
    [
        ("5a41f0df-b69a-4a99-b656-79506a86c3f8", "8325872782136936"),
        ("anon1", VISITOR),
        ("", "2675016655969748"),
        (" padded ", "5064681150580114"),
        ("ünïcode", "3006297753118238"),
    ],
)
def test_a_visitor_has_the_number_that_segment_gave_it(anonymous_id, number):
    assert people.heap_user_id(anonymous_id) == number


def test_the_recorded_numbers_agree():
    if not VECTORS.exists():
        pytest.skip(f"{VECTORS} is not part of the repository")
    data = json.loads(VECTORS.read_text())
    for vector in data["peer_test_vectors"] + data["recorded_vectors"]:
        assert people.heap_user_id(vector["anonymous_id"]) == str(vector["user_id"])


def test_visitors_beyond_latin_1_stay_apart():
    assert people.heap_user_id("\u0141") != people.heap_user_id("A")  # the same low byte


@given(st.text(st.characters(codec="utf-8")))
def test_a_visitors_number_is_one_that_heap_takes(anonymous_id):
    assert 0 <= int(people.heap_user_id(anonymous_id)) < 2**53


# What peers refuse (Heap, Mixpanel, Amplitude, PostHog), and what languages print for "no value".
NOBODY = [
    *("null", "undefined", "user", "anon", "anonymous", "guest", "nil", "none", "N/A", "NaN"),
    *("true", "false", "email", "id", "distinctId", "distinct_id", "not_authenticated", "unknown"),
    *("na", "-1", "LMY47D"),
    *("[object Object]", "[object Undefined]", "[object Null]", "(null)", "<null>", "<nil>"),
    *("00000000-0000-0000-0000-000000000000", "[]", "{}"),
]
SOMEBODY = ["0", "1", "nullable", "user1", "nan.c", "Guest House", "no", "ada@example.com", "１"]


@pytest.mark.parametrize("given", [*NOBODY, *map(str.upper, NOBODY), " (null) ", "\tN/A\n"])
@pytest.mark.parametrize("field", ["user_id", "anonymous_id"])
@pytest.mark.parametrize("visitors", ["number", "identity"])
def test_an_id_that_stands_for_nobody_is_left_out_with_a_note(given, field, visitors):
    person = people.identify_person(message(**{field: given}), {"visitors": visitors})
    assert (person.identity, person.visitor) == ("", "")
    [note] = person.notes
    assert note.startswith(f'{"userId" if field == "user_id" else "anonymousId"} "{given.strip()}"')


@pytest.mark.parametrize("given", SOMEBODY)
def test_an_id_that_only_looks_like_nobody_is_kept(given):
    assert people.identify_person(message(user_id=given), {}).identity == given


def test_a_visitor_keeps_its_number_when_the_user_id_stands_for_nobody():
    person = people.identify_person(message(user_id="(null)", anonymous_id="anon1"), {})
    assert (person.identity, person.visitor) == ("", VISITOR)
    assert person.notes == [
        'userId "(null)" ignored, because Heap would merge everyone who has it.'
    ]


def message(**ids):
    now = datetime(2026, 11, 28, tzinfo=UTC)
    return Message(type="track", message_id="m", timestamp=now, received_at=now, name="Seen", **ids)
