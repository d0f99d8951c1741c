"""What a destination can declare for the worker to do: keys, allowances, many items."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from delivery.log import detail
from delivery.models import Attempt, Bucket, Carried, Delivery, Lane
from delivery.worker import attempt, rate_limits
from delivery.worker import drain as worker_drain
from integrations.catalog import catalog
from integrations.destination import Allowance, Endpoint
from integrations.installations.install import install
from integrations.models import Revision
from tests.delivery.worker.test_batch import send_in, tracks
from tests.support.fake_vendor import reset_connection

pytestmark = pytest.mark.django_db

HEADER = "Idempotency-Key"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(worker_drain, "IDLE_STAY", 0)
    monkeypatch.setattr(worker_drain, "SHORT_WAIT", -1)  # the worker leaves a waiting lane at once
    yield
    attempt.shared_session().close()


def installed(monkeypatch, **changes):
    destination = replace(catalog()["heap"], **changes)
    monkeypatch.setitem(catalog(), "heap", destination)
    return install(destination, name="Heap", config={"app_id": "1"})


def drain():
    Lane.objects.update(due_at=None)
    worker_drain.drain_lane(Lane.objects.get().pk)


# --- an idempotency key for the whole request --------------------------------------------------


def webhook_like(**room):
    endpoints = dict(catalog()["heap"].endpoints)
    return {"endpoints": {**endpoints, "track": Endpoint(idempotency_header=HEADER, **room)}}


def sent_keys(vendor):
    return [headers.get(HEADER) for _, headers, _ in vendor.received]


def test_a_request_sent_again_has_the_same_key_and_others_have_others(source, vendor, monkeypatch):
    installed(monkeypatch, **webhook_like())
    vendor.answers = [200, reset_connection, 200, 200]
    send_in(source, *tracks(3))
    drain()
    drain()
    first, lost, again, last = sent_keys(vendor)
    assert lost == again
    assert len({first, lost, last}) == 3
    assert all(key.startswith("penstock-") for key in (first, lost, last))
    assert Delivery.objects.filter(state="delivered").count() == 3
    assert lost in Attempt.objects.order_by("pk")[1].body.request_headers


def test_two_deliveries_that_say_the_same_have_different_keys(source, vendor, monkeypatch):
    items = catalog()["heap"].items

    def the_same(action, message, config):
        shaped = items(action, message, config)
        return replace_struct(shaped, body=b"{}")

    installed(monkeypatch, items=the_same, **webhook_like())
    send_in(source, *tracks(2))
    drain()
    assert len(set(sent_keys(vendor))) == 2


def replace_struct(shaped, **fields):
    from msgspec.structs import replace as changed

    return changed(shaped, items=tuple(changed(item, **fields) for item in shaped.items))


def test_the_key_of_many_items_is_of_all_of_them(source, vendor, monkeypatch):
    installed(monkeypatch, **webhook_like(max_items=2))
    vendor.answers = [reset_connection]
    send_in(source, *tracks(3))
    drain()
    drain()
    lost, again, last = sent_keys(vendor)
    assert lost == again != last


def test_a_vendor_that_takes_no_key_gets_none(source, vendor, monkeypatch):
    installed(monkeypatch)
    send_in(source, *tracks(1))
    drain()
    assert sent_keys(vendor) == [None]


# --- monthly allowances ------------------------------------------------------------------------

ALLOWANCE = Allowance(name="2 links a month", endpoint="identify", items=2, account="heap:1")


def visits(*visitors, user="ada"):
    return [
        {
            "type": "track",
            "userId": user,
            "event": "E",
            "anonymousId": each,
            "messageId": f"{each}!",
        }
        for each in visitors
    ]


def ignored():
    rows = Delivery.objects.filter(notes__contains="2 links a month").order_by("pk")
    return list(rows.values_list("event__anonymous_id", flat=True))


def test_what_is_over_an_allowance_is_sent_and_noted(source, vendor, monkeypatch):
    installed(monkeypatch, allowances=lambda config: (ALLOWANCE,))
    send_in(source, *visits("one", "two", "three"), *visits("other", user="bob"))
    drain()
    assert ignored() == ["three"]
    assert Delivery.objects.filter(state="delivered").count() == 4
    send_in(source, *visits("four"))
    drain()
    assert ignored() == ["three", "four"]


def test_what_fails_and_is_sent_again_is_counted_once(source, vendor, monkeypatch):
    installed(monkeypatch, allowances=lambda config: (ALLOWANCE,))
    vendor.answers = [200, reset_connection]  # the link, and then its event
    send_in(source, *visits("one"))
    drain()
    drain()
    assert Bucket.objects.get().tokens == 1
    assert ignored() == []


def test_each_month_is_counted_anew_and_forgotten_after_it():
    december = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    january = datetime(2027, 1, 1, 0, 0, tzinfo=UTC)
    key = rate_limits.month_bucket(ALLOWANCE, "ada", december)
    rate_limits.count_items({key: 2}, december)
    rate_limits.count_items({key: 1}, december)
    assert rate_limits.items_counted(key) == 3
    assert rate_limits.items_counted(rate_limits.month_bucket(ALLOWANCE, "ada", january)) == 0
    assert (
        rate_limits.forget_full_buckets(december) == rate_limits.forget_full_buckets(january) == 0
    )
    assert rate_limits.forget_full_buckets(datetime(2027, 1, 1, 2, 0, tzinfo=UTC)) == 1


def test_heap_says_how_many_visitors_it_links_to_one_user():
    [allowance] = catalog()["heap"].allowances({"app_id": "1", "region": "us"})
    assert (allowance.items, allowance.endpoint, allowance.account) == (10, "identify", "heap:1")


# --- several items of one message --------------------------------------------------------------


def test_two_actions_may_make_two_entries_of_one_request(source, vendor, monkeypatch):
    heap = installed(monkeypatch)
    actions = [
        {"name": name, "kind": "track", "trigger": 'type = "track"', "mapping": {"event": name}}
        for name in ("One", "Two")
    ]
    heap.revision = Revision.objects.create(
        installation=heap, number=2, blueprint={"version": 1, "actions": actions}
    )
    heap.save()
    send_in(source, *tracks(2))
    drain()
    [(_, _, body)] = vendor.received
    assert [each["event"] for each in body["events"]] == ["One", "Two", "One", "Two"]
    assert [each["idempotency_key"] for each in body["events"]] == [
        "message-0000", "penstock:message-0000:2", "message-0001", "penstock:message-0001:2",
    ]  # fmt: skip
    assert set(Delivery.objects.values_list("state", "attempts")) == {("delivered", 1)}
    places = Carried.objects.order_by("delivery_id").values_list("position", "items")
    assert list(places) == [(0, 2), (2, 2)]
    sent = detail.get_delivery_detail(Delivery.objects.latest("pk").pk, shows_bodies=True).attempts[
        0
    ]
    assert sent.position_text == "items 3 to 4 of 4 in this request"
    assert detail.parse_json_or_text(sent.body)["events"] == body["events"][2:]
