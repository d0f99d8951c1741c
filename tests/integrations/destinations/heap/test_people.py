"""Whom a message is about: the numbers of visitors, and ids that identify nobody."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.destinations.heap import people

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
