"""The log in the management API."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from delivery.models import Delivery, Lane
from tests.support.factories import (
    make_attempt,
    make_delivery,
    make_event,
    make_installation,
    make_token,
    make_user,
)

pytestmark = pytest.mark.django_db

LIST = "/v1/admin/deliveries"


def listed(api, **params):
    status, body = api("GET", LIST, **params)
    assert status == 200
    return [each["id"] for each in body["data"]]


def test_the_newest_come_first_each_with_what_a_list_needs(api):
    first, second = make_delivery(), make_delivery(state="failed", error="MessageRejected")
    make_attempt(second, status=400, outcome="MessageRejected")
    status, body = api("GET", LIST)
    line = body["data"][0]
    assert status == 200
    assert [each["id"] for each in body["data"]] == [second.pk, first.pk]
    assert (body["next_cursor"], body["has_more"]) == (None, False)
    assert (line["state"], line["error"], line["last_status"]) == ("failed", "MessageRejected", 400)
    assert line["installation"] == {"id": second.installation_id, "name": "Heap"}
    assert line["event"]["message_id"] == second.event.message_id


def test_the_cursor_leads_through_all_pages_also_when_more_comes_in(api):
    ids = [make_delivery().pk for _ in range(5)][::-1]
    seen, cursor = [], None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        _, body = api("GET", LIST, **params)
        seen += [each["id"] for each in body["data"]]
        make_delivery()
        cursor = body["next_cursor"]
        assert body["has_more"] == (cursor is not None)
        if not cursor:
            break
    assert seen == ids


def test_filters(api):
    now = timezone.now()
    heap, eu = make_installation(name="Heap"), make_installation(name="Heap EU")
    old = make_delivery(heap, make_event(received_at=now - timedelta(days=2), user_id="grace"))
    new = make_delivery(eu, make_event(name="Signed Up", anonymous_id="v-1"), state="failed")
    yesterday = (now - timedelta(days=1)).isoformat()
    assert listed(api, installation=heap.pk) == [old.pk]
    assert listed(api, state="failed") == [new.pk]
    assert listed(api, event="Signed Up") == [new.pk]
    assert listed(api, event="track") == [new.pk, old.pk]
    assert listed(api, message_id=old.event.message_id) == [old.pk]
    assert listed(api, user_id="grace") == [old.pk]
    assert listed(api, anonymous_id="v-1") == [new.pk]
    assert listed(api, since=yesterday) == [new.pk]
    assert listed(api, until=yesterday) == [old.pk]
    assert listed(api, since=yesterday, state="queued") == []


def test_a_time_without_a_zone_is_utc(api):
    delivery = make_delivery()
    assert listed(api, since=f"{timezone.now() - timedelta(minutes=1):%Y-%m-%dT%H:%M:%S}") == [
        delivery.pk
    ]
    assert listed(api, since=f"{timezone.now() + timedelta(minutes=1):%Y-%m-%d %H:%M:%S}") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("installation", "heap"),
        ("installation", "9" * 30),
        ("state", "lost"),
        ("event", ""),
        ("user_id", "a\x00b"),
        ("since", "yesterday"),
        ("until", "2026-99-99T00:00:00Z"),
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "many"),
        ("cursor", "12"),
        ("cursor", "ÿÿÿ"),
        ("cursor", "YmVmb3JlOng"),
        ("colour", "red"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(api, name, value):
    status, body = api("GET", LIST, **{name: value})
    assert (status, body["error"]["code"]) == (422, "VALIDATION_FAILED")
    assert set(body["error"]["fields"]) == {name}


def test_the_list_takes_as_many_queries_for_many_as_for_one(api, django_assert_num_queries):
    make_attempt(make_delivery(state="delivered"))
    api("GET", LIST)  # records the use of the token
    with CaptureQueriesContext(connection) as first:
        api("GET", LIST)
    for _ in range(20):
        make_attempt(make_delivery(state="delivered"))
    with django_assert_num_queries(len(first)):
        api("GET", LIST)
    assert not [
        q for q in first if "COUNT(" in q["sql"] or "OFFSET" in q["sql"] or "body" in q["sql"]
    ]


def test_one_delivery_tells_event_payloads_attempts_and_answers(api):
    deliveries = [
        make_delivery(
            event=make_event(name=f"Event {n}", notes=json.dumps(["Repaired."])),
            state="delivered",
            notes=json.dumps(["Cut."]),
        )
        for n in range(3)
    ]
    make_attempt(*deliveries, answer='{"ok": true}')
    status, body = api("GET", f"{LIST}/{deliveries[1].pk}")
    assert status == 200
    assert body["event"]["body"]["event"] == "Event 1"
    assert body["event"]["source"] == "Shop"
    assert body["event"]["notes"] == ["Repaired."]
    assert body["notes"] == ["Cut."]
    assert body["revision"] == 1
    assert body["payloads"] == [
        {"kind": "track", "fields": {"event": "Event 1", "properties": {"order_id": "A-1001"}}}
    ]
    assert body["summary"].startswith("Heap accepted it with HTTP 200")
    [attempt] = body["attempts"]
    assert (attempt["position"], attempt["items"], attempt["duration_ms"]) == (1, 3, 123)
    assert attempt["request"] == {
        "method": "POST",
        "url": "https://heapanalytics.com/api/track",
        "headers": {"Content-Type": "application/json"},
        "body": {"app_id": "1234567890", "events": [{"event": "Event 1", "identity": "ada"}]},
    }
    assert attempt["response"] == {
        "status": 200,
        "headers": {"Server": "heap"},
        "body": {"ok": True},
    }


def test_a_failure_comes_with_cause_and_fix(api):
    delivery = make_delivery(state="failed", error="MessageRejected", reason="HTTP 400: bad")
    make_attempt(delivery, status=400, outcome="MessageRejected")
    trouble = delivery.installation.destination.explain("MessageRejected", 400)
    _, body = api("GET", f"{LIST}/{delivery.pk}")
    assert (body["cause"], body["fix"]) == (trouble.cause, trouble.fix)


def test_an_attempt_without_an_answer_has_none(api):
    delivery = make_delivery(error="VendorUnavailable")
    make_attempt(delivery, status=None, outcome="VendorUnavailable", error="Connection refused")
    _, body = api("GET", f"{LIST}/{delivery.pk}")
    assert body["attempts"][0]["response"] is None
    assert body["attempts"][0]["error"] == "Connection refused"


def test_what_is_not_there_is_not_found(api):
    for address in (f"{LIST}/999", f"{LIST}/{'9' * 30}"):
        status, body = api("GET", address)
        assert (status, body["error"]["code"]) == (404, "NOT_FOUND")
    assert api("POST", f"{LIST}/999/deliver-again")[0] == 404


def test_deliver_again_queues_it_and_says_when_it_waits(api, monkeypatch):
    monkeypatch.setattr("delivery.lanes.wakeups.wake_lanes", lambda lanes: None)
    delivery = make_delivery(state="failed", error="MessageRejected", reason="no")
    Lane.objects.update(paused=True)
    status, body = api("POST", f"{LIST}/{delivery.pk}/deliver-again")
    assert status == 202
    assert "so they wait until it is resumed" in body["message"]
    assert Delivery.objects.get().state == "queued"
    status, body = api("POST", f"{LIST}/{delivery.pk}/deliver-again")
    assert (status, body["error"]["code"]) == (409, "CONFLICT")


def test_without_a_token_nothing_is_told(client):
    delivery = make_delivery()
    for address in (LIST, f"{LIST}/{delivery.pk}"):
        assert client.get(address).status_code == 401


def test_the_token_of_a_viewer_reads_and_changes_nothing(client):
    viewer, delivery = make_user("viewer", is_superuser=False), make_delivery(state="failed")
    bearer = {"authorization": f"Bearer {make_token(viewer)}"}
    assert client.get(LIST, headers=bearer).status_code == 403
    viewer.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    assert client.get(LIST, headers=bearer).status_code == 200
    answer = client.post(f"{LIST}/{delivery.pk}/deliver-again", headers=bearer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert Delivery.objects.get().state == "failed"


def test_the_search_of_the_admin_finds_the_same_by_the_api(api):
    failed = make_delivery(event=make_event(name="Signed Up"), state="failed")
    make_delivery(event=make_event(name="Signed Up"))
    assert listed(api, q='event:"Signed Up" state:failed') == [failed.pk]


@pytest.mark.parametrize("q", ["usr:ada", "installation:nope"])
def test_a_search_that_is_not_understood_is_refused(api, q):
    status, body = api("GET", LIST, q=q)
    assert status == 422
    assert "there is no" in str(body).lower()
