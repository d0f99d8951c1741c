"""The `integrations` object of a message: which destinations it switches off, and where."""

import json
from dataclasses import replace

import pytest
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from delivery.models import Delivery, Event
from delivery.replay import job, lifecycle
from delivery.replay.pace import ReplayWindow
from delivery.replay.selection import ReplaySelection
from delivery.tester.preview import load_stored_message, preview_message
from delivery.transform import switches
from delivery.transform.switches import SWITCHED_OFF, Switches, read_switches
from integrations.catalog import catalog
from tests.support.factories import make_installation, make_source, make_token, make_user

NAMES = ("orders to heap", "heap")
HEAP_OFF = [
    {"All": False},
    {"all": False},
    {"ALL": False, "Segment.io": True},
    {"Heap": False},
    {"heap": False},
    {"hEAP": False, "All": True},
    {"Orders to Heap": False, "Heap": True},
    {"All": False, "Mixpanel": True},
    {"All": False, "Heap": None},
    {"Heap": False, "Segment.io": {"bundled": ["Heap"]}},
]
HEAP_ON = [
    {},
    None,
    {"All": True},
    {"Heap": True},
    {"All": False, "Heap": True},
    {"All": False, "heap": {}},
    {"All": False, "HEAP": {"appId": "1"}},
    {"All": False, "orders to heap": True, "Heap": False},
    {"Mixpanel": False},
    {"Heapster": False},
    {"Segment.io": False},
    {"Heap": "false"},
    {"Heap": 0},
    {"Heap": []},
    {"All": {}},
    "Heap",
    [False],
    False,
]


@pytest.mark.parametrize("integrations", HEAP_OFF)
def test_a_destination_is_off_by_its_name_or_with_all_others(integrations):
    assert not read_switches(integrations).allow(NAMES)


@pytest.mark.parametrize("integrations", HEAP_ON)
def test_a_destination_stays_on_otherwise(integrations):
    found = read_switches(integrations)
    assert found is None or found.allow(NAMES)


@pytest.mark.parametrize(
    ("installation", "sent"),
    [
        ("Café", "CAFE\u0301"),
        ("Cafe\u0301", "café"),
        ("Straße", "STRASSE"),
        ("Heap", " heap "),
    ],
)
def test_a_name_is_the_same_however_it_is_written(installation, sent):
    names = switches.switch_names(installation, "acme")
    assert not read_switches({sent: False}).allow(names)


def test_a_destination_is_known_by_its_installation_its_key_its_name_and_its_aliases(monkeypatch):
    found = {"acme": replace(catalog()["heap"], name="Acme Inc.", aliases=("ACME (Actions)",))}
    monkeypatch.setattr(switches, "catalog", lambda: found)
    names = switches.switch_names("My Installation", "acme")
    assert names == ("my installation", "acme", "acme inc.", "acme (actions)")
    assert switches.switch_names("Mine", "gone from the catalog") == (
        "mine",
        "gone from the catalog",
    )


@given(
    st.dictionaries(st.text(max_size=5), st.one_of(st.booleans(), st.none(), st.integers())),
    st.booleans(),
)
def test_the_destinations_own_switch_always_decides(others, is_on):
    named = {**others, "Heap": is_on}
    named = {name: value for name, value in named.items() if name.lower() != "heap"}
    found = read_switches({**named, "hEaP": is_on}) or Switches(True, {})
    assert found.allow(("heap",)) is is_on


# --- where they count ----------------------------------------------------------------------------

MESSAGE = {"type": "track", "event": "Order Completed", "userId": "ada"}


@pytest.fixture
def heap(db):
    make_source(write_key="wk_shop")
    return make_installation(name="Orders to Heap", variant="default")


def send(client, messages, **shared):
    body = json.dumps({"batch": messages, "writeKey": "wk_shop", **shared})
    answer = client.post("/v1/batch", body, content_type="application/json")
    assert answer.json() == {"success": True, "accepted": len(messages)}


def delivered():
    return set(Delivery.objects.values_list("event__message_id", flat=True))


@pytest.mark.parametrize("name", ["Heap", "HEAP", "Heap.io", "Heap (Actions)"])
def test_heap_is_known_by_the_names_that_other_hubs_give_it(client, heap, name):
    send(client, [{**MESSAGE, "integrations": {name: False}}])
    assert delivered() == set()


def test_an_event_that_is_switched_off_has_no_delivery(client, heap):
    switched = {f"off-{n}": each for n, each in enumerate(HEAP_OFF)}
    switched |= {f"on-{n}": each for n, each in enumerate(HEAP_ON)}
    send(client, [{**MESSAGE, "messageId": key, "integrations": switched[key]} for key in switched])
    assert Event.objects.count() == len(switched)
    assert delivered() == {key for key in switched if key.startswith("on-")}


@pytest.mark.parametrize(
    ("own", "is_delivered"),
    [
        ({}, False),
        ({"integrations": None}, False),
        ({"integrations": {}}, False),
        ({"integrations": {"Mixpanel": True}}, False),
        ({"integrations": {"Heap": True}}, True),
        ({"integrations": {"heap": {"a": 1}}}, True),
        # Anything but an object is ignored, and must not hide the batch's object.
        ({"integrations": True}, False),
        ({"integrations": "Heap"}, False),
        ({"context": "no object"}, False),
        ({"context": []}, False),
    ],
)
def test_a_batch_switches_its_messages_off_unless_they_switch_themselves_on(
    client, heap, own, is_delivered
):
    shared = {"integrations": {"Heap": False}, "context": {"app": {"name": "Shop"}}}
    send(client, [{**MESSAGE, "messageId": "m", **own}], **shared)
    assert (delivered() == {"m"}) is is_delivered
    assert json.loads(Event.objects.get().body.text)["context"] == shared["context"]


def test_a_batchs_switches_that_are_no_object_leave_a_messages_own(client, heap):
    send(client, [{**MESSAGE, "integrations": {"All": False}}], integrations="x", context=5)
    assert delivered() == set()


def test_the_event_says_that_its_sender_switched_it_off(client, heap):
    send(client, [{**MESSAGE, "messageId": "m", "integrations": {"Heap": False}}])
    event = Event.objects.get()
    user = make_user()
    client.force_login(user)
    page = client.get(reverse("admin:delivery_event_change", args=[event.pk]))
    assert "The sender switched it off in the message" in page.content.decode()
    assert "Send to this installation" not in page.content.decode()  # it would be refused
    token = {"authorization": f"Bearer {make_token(user)}"}
    [absence] = client.get(f"/v1/admin/events/{event.pk}", headers=token).json()["absences"]
    assert absence["reason"] == SWITCHED_OFF
    assert preview_message(heap, load_stored_message(event.pk)).reason == SWITCHED_OFF


def test_a_backfill_leaves_out_what_is_switched_off(client, heap):
    messages = [
        {**MESSAGE, "messageId": "off", "integrations": {"All": False}},
        {**MESSAGE, "messageId": "on"},
    ]
    send(client, messages)
    Delivery.objects.all().delete()
    replay = lifecycle.start_replay("backfill", heap, ReplaySelection())
    for _ in range(5):
        job.step_replay(replay.pk, ReplayWindow(), timezone.now())
    assert delivered() == {"on"}
