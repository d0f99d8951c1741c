"""Packing: few requests, and each user's events stay in order."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.transform.packing import pack_requests
from integrations.destination import Destination, Endpoint, Item

ENDPOINTS = {
    "track": Endpoint(max_items=100),
    "users": Endpoint(max_items=10, max_bytes=1_000),
    "link": Endpoint(max_items=1),
}
DESTINATION = Destination(
    key="x",
    name="X",
    description="",
    category="",
    status="ga",
    website="",
    config_fields=(),
    variants=(),
    kinds=(),
    endpoints=ENDPOINTS,
    items=None,
    request=None,
)


def parcel(number, person, *endpoints):
    return number, person, [Item(endpoint=each, body=b"%d" % number) for each in endpoints]


parcels = st.lists(
    st.tuples(st.sampled_from("abcde"), st.lists(st.sampled_from(sorted(ENDPOINTS)), max_size=3)),
    max_size=60,
).map(lambda drawn: [parcel(n, person, *ends) for n, (person, ends) in enumerate(drawn)])


@given(parcels)
def test_everything_is_sent_once_and_each_person_in_order(parcels):
    sent = [item for slot in pack_requests(parcels, DESTINATION) for item in slot.items]
    for person in "abcde":
        mine = [(n, item) for n, who, items in parcels if who == person for item in items]
        numbers = {n for n, who, _ in parcels if who == person}
        assert [(n, item) for n, item in sent if n in numbers] == mine


@given(parcels)
def test_no_request_carries_more_than_its_endpoint_takes(parcels):
    for slot in pack_requests(parcels, DESTINATION):
        assert 1 <= len(slot.items) <= ENDPOINTS[slot.endpoint].max_items


def test_items_larger_than_the_room_left_go_to_the_next_request():
    tight = replace(DESTINATION, endpoints={"track": Endpoint(max_items=100, max_bytes=25)})
    items = [(n, "a", [Item(endpoint="track", body=b"x" * 10)]) for n in range(5)]
    assert [len(slot.items) for slot in pack_requests(items, tight)] == [2, 2, 1]


def test_an_item_larger_than_any_request_still_goes_alone():
    tight = replace(DESTINATION, endpoints={"track": Endpoint(max_items=100, max_bytes=5)})
    [slot] = pack_requests([(1, "a", [Item(endpoint="track", body=b"x" * 10)])], tight)
    assert len(slot.items) == 1


@pytest.mark.parametrize("people", [1, 50])
def test_people_share_requests(people):
    """Each is linked, then tracked: one link for each person, and one bulk request for all."""
    parcels = [parcel(n, f"p{n}", "link", "track") for n in range(people)]
    slots = pack_requests(parcels, DESTINATION)
    assert [slot.endpoint for slot in slots] == ["link"] * people + ["track"]
