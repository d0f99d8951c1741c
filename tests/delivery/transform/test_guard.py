"""A destination whose code fails, and a destination whose code is missing."""

import json
from dataclasses import replace
from unittest.mock import patch

import pytest
from django.utils import timezone

from delivery.models import Delivery, Lane
from delivery.operations import alerts
from delivery.worker import attempt, drain
from integrations.catalog import catalog
from integrations.destination import Item, Probe, Request, ShapedMessage
from integrations.models import Installation
from tests.support.factories import (
    make_attempt,
    make_delivery,
    make_event,
    make_installation,
    make_user,
)
from tests.support.fake_vendor import FakeVendor

pytestmark = pytest.mark.django_db

SECRET = "canary-secret"
API = "/v1/admin/installations"
CONFIG = {"app_id": "1234567890", "api_key": SECRET, "region": "sandbox"}
MESSAGE = {"type": "track", "event": "Order Completed", "userId": "ada"}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(drain, "IDLE_STAY", 0)
    yield
    attempt.shared_session().close()


@pytest.fixture
def heap(settings):
    with FakeVendor() as vendor:
        settings.SANDBOX_URL = vendor.url
        yield make_installation(config=CONFIG)


def broken(*args):
    """Fail with the secret in the error, because a bug's message may repeat the code's input."""
    raise ZeroDivisionError(f"over {SECRET}")


def with_bug(part):
    return patch.dict(catalog(), heap=replace(catalog()["heap"], **{part: broken}))


def without_heap():
    """Simulate a version of Penstock without the vendor's folder."""
    there = {key: each for key, each in catalog().items() if key != "heap"}
    return patch.dict(catalog(), there, clear=True)


def names_the_bug(text):
    return "Heap" in text and "ZeroDivisionError" in text and SECRET not in text


# --- a bug -------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["items", "request"])
def test_a_preview_names_the_destination_and_the_bug(api, heap, part):
    with with_bug(part):
        status, made = api(
            "POST", f"/v1/admin/installations/{heap.pk}/preview", {"message": MESSAGE}
        )
    assert (status, made["outcome"]) == (200, "failed")
    assert names_the_bug(made["reason"])
    assert SECRET not in json.dumps(made)
    if part == "items":
        assert names_the_bug(next(step["error"] for step in made["actions"] if step["triggered"]))


@pytest.mark.parametrize("part", ["items", "request", "limits", "judge"])
def test_a_test_event_names_the_destination_and_the_bug(api, heap, part):
    with with_bug(part):
        status, tried = api(
            "POST", f"/v1/admin/installations/{heap.pk}/test-event", {"message": MESSAGE}
        )
    assert (status, tried["accepted"]) == (200, False)
    assert names_the_bug(tried["summary"])
    assert bool(tried["exchanges"]) is (part == "judge")  # by then the request was sent


def test_an_item_for_a_call_that_there_is_not_is_a_bug_too(api, heap):
    def items(*given):
        return ShapedMessage(items=(Item(endpoint="nowhere", body=b"{}"),))

    with patch.dict(catalog(), heap=replace(catalog()["heap"], items=items)):
        _, made = api("POST", f"{API}/{heap.pk}/preview", {"message": MESSAGE})
        make_delivery(heap)
        drain.drain_lane(Lane.objects.get().pk)
    assert "KeyError('nowhere')" in made["reason"]
    lane = Lane.objects.get()
    assert (lane.paused, "KeyError('nowhere')" in lane.last_error) == (True, True)


def probing(config):
    return (Probe(request=Request(url=f"{config['sandbox_url']}/x", body=b""), finding=broken),)


@pytest.mark.parametrize("probes", [broken, probing])
def test_a_test_of_the_connection_names_the_bug(api, heap, probes):
    with patch.dict(catalog(), heap=replace(catalog()["heap"], probes=probes)):
        status, tested = api("POST", f"{API}/{heap.pk}/test-connection")
    assert (status, tested["ok"]) == (200, False)
    assert names_the_bug(tested["findings"][0]["text"])


@pytest.mark.parametrize("part", ["items", "request", "limits"])
def test_pages_open_while_there_is_a_bug(client, heap, part):
    delivery = make_delivery(heap, make_event(), state="failed", error="MessageRejected")
    client.force_login(make_user())
    with with_bug(part):
        for address in addresses(heap, delivery):
            answer = client.get(address)
            assert answer.status_code == 200, address
            assert SECRET not in answer.content.decode(), address


def test_a_delivery_that_fails_on_a_bug_names_the_destination(heap):
    make_delivery(heap)
    with with_bug("items"):
        drain.drain_lane(Lane.objects.get().pk)
    delivery = Delivery.objects.get()
    assert (delivery.state, names_the_bug(delivery.reason)) == ("failed", True)


# --- a missing destination ---------------------------------------------------------------------


def addresses(installation, delivery):
    here = f"/admin/integrations/installation/{installation.pk}"
    own = ("change", "settings", "blueprint", "revisions", "activity", "uninstall")
    yield from (f"{here}/{each}/" for each in own)
    yield from ("/admin/", "/admin/integrations/installation/", "/admin/delivery/delivery/")
    yield from (f"/admin/delivery/delivery/{delivery.pk}/{each}/" for each in ("change", "raw"))
    yield f"/admin/delivery/event/{delivery.event_id}/change/"
    yield f"/admin/delivery/replay/new/?installation={installation.pk}"
    yield from ("/admin/integrations/installation/library/", "/admin/delivery/attempt/")


def test_pages_open_without_the_destination_and_say_so(client, heap):
    delivery = make_delivery(heap)
    make_attempt(delivery)
    client.force_login(make_user())
    Installation.objects.update(destination_key="vanished")
    for address in addresses(heap, delivery):
        assert client.get(address).status_code == 200, address
    overview = client.get(f"/admin/integrations/installation/{heap.pk}/change/")
    story = client.get(f"/admin/delivery/delivery/{delivery.pk}/change/")
    text = "The destination vanished is not in this version&#x27;s catalog."
    assert "Needs attention" in overview.content.decode()
    assert text in overview.content.decode()
    assert "The delivery waits for a version that includes it." in story.content.decode()


def test_deliveries_wait_for_a_version_that_has_it_and_go_by_themselves(heap):
    make_delivery(heap)
    lane = Lane.objects.get()
    with without_heap():
        assert drain.drain_lane(lane.pk) == 0
    lane.refresh_from_db()
    assert "heap is not in this version's catalog" in lane.last_error
    assert (Delivery.objects.get().state, lane.paused) == ("queued", False)
    Lane.objects.update(due_at=timezone.now())  # a minute later
    assert drain.drain_lane(lane.pk) == 1
    assert Delivery.objects.get().state == "delivered"


def test_an_alarm_tells_of_it_while_nothing_is_queued(heap):
    with without_heap():
        [finding] = alerts.find_alerts(timezone.now())
    assert (finding.kind, finding.about) == ("attention", "Heap")
    assert "not in this version's catalog" in finding.text


def test_what_cannot_be_done_without_it_is_refused_by_name(api, heap):
    own = f"{API}/{heap.pk}"
    blueprint = heap.revision.blueprint
    with without_heap():
        assert api("GET", own)[1]["health"]["title"] == "Needs attention"
        refusals = [
            api("PATCH", own, {"config": {"app_id": "7"}}),
            api("POST", f"{own}/revisions", {"blueprint": blueprint}),
        ]
        _, made = api("POST", f"{own}/preview", {"message": MESSAGE})
        _, tried = api("POST", f"{own}/test-event", {"message": MESSAGE})
        _, tested = api("POST", f"{own}/test-connection")
    for status, body in refusals:
        assert status == 422
        assert "not in this version's catalog" in json.dumps(body)
    assert "not in this version's catalog" in made["reason"]
    assert "not in this version's catalog" in tried["summary"]
    assert "not in this version's catalog" in tested["findings"][0]["text"]
    heap = Installation.objects.get()
    assert heap.settings()["api_key"] == SECRET  # the settings were not lost
    assert heap.config["app_id"] == CONFIG["app_id"]


def test_it_can_be_paused_and_uninstalled_without_it(api, heap):
    delivery = make_delivery(heap)
    own = f"{API}/{heap.pk}"
    with without_heap():
        assert api("POST", f"{own}/disable")[0] == 200
        assert api("POST", f"{own}/enable")[0] == 200
        assert api("DELETE", f"{own}?confirm=Heap")[0] == 200
    delivery.refresh_from_db()
    assert delivery.state == "cancelled"
