"""Delivering again by the revision that last shaped each delivery, not by the current one."""

import copy

import pytest
from django.utils import timezone

from delivery.accounting.ledger import build_ledger
from delivery.actions import deliveries as actions_deliveries
from delivery.lanes import routes, wakeups
from delivery.models import Delivery, Lane, Replay
from delivery.replay import estimate, job, lifecycle
from delivery.replay.pace import ReplayWindow
from delivery.replay.selection import LAST_BLUEPRINT, ReplaySelection
from delivery.transform import stored_messages
from delivery.worker import attempt
from delivery.worker import drain as worker_drain
from integrations.installations import revisions
from tests.support.factories import (
    make_delivery,
    make_event,
    make_installation,
    make_source,
    make_user,
)

pytestmark = pytest.mark.django_db

CONFIG = {"app_id": "1234567890", "api_key": "canary-secret", "region": "sandbox"}
API = "/v1/admin/deliveries"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(worker_drain, "IDLE_STAY", 0)
    monkeypatch.setattr(wakeups, "wake_lanes", lambda lanes: None)
    yield
    attempt.shared_session().close()


@pytest.fixture
def heap(vendor):
    make_source()
    return make_installation(config=CONFIG)


def drain():
    for lane in Lane.objects.all():
        worker_drain.drain_lane(lane.pk)


def rename(heap, name):
    """Save a blueprint that sends tracked events under this name."""
    blueprint = copy.deepcopy(heap.revision.blueprint)
    for action in blueprint["actions"]:
        if action["kind"] == "track":
            action["mapping"]["event"] = name
    return revisions.save_revision(heap, blueprint, by=None)


def go_and_send(replay, steps=50):
    window = ReplayWindow()
    for _ in range(steps):
        over = job.step_replay(replay.pk, window, timezone.now()) is None
        drain()
        if over:
            break
    replay.refresh_from_db()
    assert replay.state == "done"


def entries(vendor):
    return [each for _, _, body in vendor.received for each in body["events"]]


def sent_once(heap, vendor, count=1, **fields):
    """Deliver some events by the first revision and save a second one; return what was sent."""
    for number in range(count):
        make_delivery(heap, make_event(name=f"Event {number}", **fields))
    drain()
    first = entries(vendor)
    vendor.received.clear()
    rename(heap, "Renamed")
    return first


# --- a replay ----------------------------------------------------------------------------------


def test_a_replay_as_before_sends_what_was_sent_and_one_of_now_what_is_made_now(heap, vendor):
    first = sent_once(heap, vendor, 3)
    wanted = ReplaySelection(states=("delivered",), blueprint=LAST_BLUEPRINT)
    go_and_send(lifecycle.start_replay("replay", heap, wanted))
    assert entries(vendor) == first  # names, times, idempotency keys, and the order
    assert set(Delivery.objects.values_list("revision__number", flat=True)) == {1}
    vendor.received.clear()
    go_and_send(lifecycle.start_replay("replay", heap, ReplaySelection(states=("delivered",))))
    assert {each["event"] for each in entries(vendor)} == {"Renamed"}
    keys = [each["idempotency_key"] for each in first]
    assert [each["idempotency_key"] for each in entries(vendor)] == keys
    assert set(Delivery.objects.values_list("revision__number", flat=True)) == {2}


def test_what_is_sent_as_before_is_shaped_by_its_own_revision_each(heap, vendor):
    sent_once(heap, vendor)
    make_delivery(heap, make_event(name="Later"))
    drain()  # by the second revision
    rename(heap, "Renamed again")
    vendor.received.clear()
    go_and_send(
        lifecycle.start_replay(
            "replay", heap, ReplaySelection(states=("delivered",), blueprint=LAST_BLUEPRINT)
        )
    )
    assert [each["event"] for each in entries(vendor)] == ["Event 0", "Renamed"]
    assert len(vendor.received) == 1  # still in one request


def test_what_was_never_shaped_is_counted_before_and_left_out(api, heap, vendor):
    sent_once(heap, vendor)
    never = make_delivery(heap, make_event())
    actions_deliveries.cancel_deliveries(
        Delivery.objects.filter(pk=never.pk), "Not now.", timezone.now()
    )
    states = ("delivered", "cancelled")
    found = estimate.estimate_replay(
        "replay", heap, ReplaySelection(states=states, blueprint=LAST_BLUEPRINT)
    )
    assert (found.count, found.unshaped) == (1, 1)
    assert estimate.estimate_replay("replay", heap, ReplaySelection(states=states)).unshaped == 0
    selection = {"installation": heap.pk, "states": list(states), "blueprint": "last"}
    body = api("POST", "/v1/admin/replays/preview", selection)[1]
    assert (body["count"], body["unshaped"]) == (1, 1)
    status, replay = api("POST", "/v1/admin/replays", selection)
    assert (status, replay["filter"]["blueprint"]) == (201, "last")
    go_and_send(Replay.objects.get())
    never.refresh_from_db()
    assert (Replay.objects.get().queued, never.state) == (1, "cancelled")


def test_the_ledger_closes_and_a_cancelled_one_gives_back(heap, vendor):
    sent_once(heap, vendor, 2)
    before = build_ledger()
    replay = lifecycle.start_replay(
        "replay", heap, ReplaySelection(states=("delivered",), blueprint=LAST_BLUEPRINT)
    )
    job.step_replay(replay.pk, ReplayWindow(), timezone.now())
    assert (
        Delivery.objects.filter(
            state="queued", lane__number=routes.ORIGINAL_REVISION_LANE_NUMBER
        ).count()
        == 2
    )
    lifecycle.cancel_replay(replay)
    assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
    assert build_ledger() == before


def test_it_is_over_when_the_last_of_it_was_sent(heap, vendor):
    sent_once(heap, vendor)
    replay = lifecycle.start_replay(
        "replay", heap, ReplaySelection(states=("delivered",), blueprint=LAST_BLUEPRINT)
    )
    window = ReplayWindow()
    for _ in range(5):
        assert job.step_replay(replay.pk, window, timezone.now()) is not None
    go_and_send(replay)


def test_a_backfill_has_nothing_that_was_sent_before(api, heap):
    selection = {"installation": heap.pk, "kind": "backfill", "blueprint": "last"}
    status, body = api("POST", "/v1/admin/replays", selection)
    assert (status, set(body["error"]["fields"])) == (422, {"blueprint"})


def test_the_page_offers_both_and_says_which_it_is(client, heap, vendor):
    client.force_login(make_user())
    sent_once(heap, vendor)
    new = "/admin/delivery/replay/new/"
    form = {"installation": heap.pk, "states": ["delivered"], "blueprint": "last"}
    never = make_delivery(heap, make_event())
    actions_deliveries.cancel_deliveries(
        Delivery.objects.filter(pk=never.pk), "Not now.", timezone.now()
    )
    form["states"] = ["delivered", "cancelled"]
    page = client.post(new, {**form, "preview": "1"}).content.decode()
    assert "<strong>1</strong> more are left out" in page
    client.post(new, form)
    page = client.get(f"/admin/delivery/replay/{Replay.objects.get().pk}/change/").content.decode()
    assert "As before: the revision that last shaped each delivery" in page


# --- a single delivery -------------------------------------------------------------------------


def test_one_is_delivered_again_as_before_and_then_as_now(client, heap, vendor):
    client.force_login(make_user())
    first = sent_once(heap, vendor)
    delivery = Delivery.objects.get()
    page = client.get(f"/admin/delivery/delivery/{delivery.pk}/change/").content.decode()
    assert "Deliver as before uses revision 1" in page
    again = f"/admin/delivery/delivery/{delivery.pk}/deliver-again/"
    client.post(again, {"blueprint": "last"})
    drain()
    assert entries(vendor) == first
    vendor.received.clear()
    client.post(again)
    drain()
    assert [each["event"] for each in entries(vendor)] == ["Renamed"]
    assert Delivery.objects.get().lane.number == routes.REPLAY_LANE_NUMBER


def test_the_api_says_which_one_and_refuses_what_was_never_shaped(api, heap, vendor):
    first = sent_once(heap, vendor)
    shaped, never = Delivery.objects.get(), make_delivery(heap, make_event())
    actions_deliveries.cancel_deliveries(
        Delivery.objects.filter(pk=never.pk), "Not now.", timezone.now()
    )
    options = {"blueprint": "last"}
    status, refusal = api("POST", f"{API}/{never.pk}/deliver-again", options)
    assert (status, "never shaped" in refusal["error"]["message"]) == (409, True)
    ids = {"ids": [shaped.pk, never.pk], **options}
    status, body = api("POST", f"{API}/deliver-again", ids)
    assert (status, body["count"], "Skipped 1" in body["message"]) == (202, 1, True)
    drain()
    assert entries(vendor) == first
    never.refresh_from_db()
    assert never.state == "cancelled"


def test_what_is_queued_already_stays_in_its_lane(heap, vendor):
    sent_once(heap, vendor)
    Delivery.objects.update(state="queued", settled_at=None)
    actions_deliveries.deliver_again(
        Delivery.objects.all(), timezone.now(), blueprint=LAST_BLUEPRINT
    )
    assert Delivery.objects.get().lane.number == 0


def test_a_revision_that_this_version_cannot_use_fails_its_deliveries_alone(heap, vendor):
    sent_once(heap, vendor)
    sick = Delivery.objects.get()
    type(heap.revision).objects.filter(number=1).update(blueprint={"version": 1, "actions": 3})
    stored_messages.compile_revision_by_id.cache_clear()
    make_delivery(heap, make_event(name="Later"))
    drain()
    vendor.received.clear()
    actions_deliveries.deliver_again(
        Delivery.objects.all(), timezone.now(), blueprint=LAST_BLUEPRINT
    )
    drain()
    sick.refresh_from_db()
    assert (sick.state, "can no longer be used" in sick.reason) == ("failed", True)
    assert [each["event"] for each in entries(vendor)] == ["Renamed"]


# --- to another installation -------------------------------------------------------------------


def test_an_event_s_page_leads_to_sending_it_to_another_installation(client, heap, vendor):
    client.force_login(make_user())
    sent_once(heap, vendor)
    event = Delivery.objects.get().event
    other = make_installation("Heap EU", config=CONFIG)
    page = client.get(f"/admin/delivery/event/{event.pk}/change/").content.decode()
    assert f"kind=backfill&amp;installation={other.pk}&amp;message_id={event.message_id}" in page
    selection = {"kind": "backfill", "installation": other.pk, "message_id": event.message_id}
    form = client.get("/admin/delivery/replay/new/", selection).content.decode()
    assert event.message_id in form
    client.post("/admin/delivery/replay/new/", selection)
    go_and_send(Replay.objects.get())
    assert Delivery.objects.filter(installation=other).get().state == "delivered"
