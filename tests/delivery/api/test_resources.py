"""Installations, sources, events, attempts, metrics and the system in the management API."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from delivery import tasks
from delivery.accounting.ledger import build_ledger
from delivery.ingest import authentication
from delivery.ingest.errors import NotAllowed
from delivery.models import Attempt, Delivery, Event
from integrations.encryption import MASK
from integrations.models import AuditEntry, Installation, Source
from tests.delivery.accounting.test_ledger import put_in
from tests.support import factories

pytestmark = pytest.mark.django_db

INSTALLATIONS, SOURCES = "/v1/admin/installations", "/v1/admin/sources"
EVENTS, ATTEMPTS, METRICS = "/v1/admin/events", "/v1/admin/attempts", "/v1/admin/metrics"


def fields(answer):
    status, body = answer
    return status, set(body["error"].get("fields", {}))


def names(answer):
    status, body = answer
    assert status == 200, body
    return [each["name"] for each in body["data"]]


# --- installations -------------------------------------------------------------------------------


def test_an_installation_is_made_listed_and_shown_without_its_secret(api):
    body = {"destination": "heap", "name": "Heap EU", "config": factories.CONFIG}
    status, made = api("POST", INSTALLATIONS, body)
    assert (status, made["name"], made["sources"]) == (201, "Heap EU", "all")
    assert made["config"]["api_key"] == MASK
    assert "your_api_key" not in str(api("GET", INSTALLATIONS))
    assert names(api("GET", INSTALLATIONS)) == ["Heap EU"]
    status, shown = api("GET", f"{INSTALLATIONS}/{made['id']}")
    assert shown["blueprint"]["actions"]
    assert shown["health"]["title"] == "Nothing to deliver yet"


def test_an_installation_whose_secrets_cannot_be_read_any_more_is_shown(api):
    heap = factories.make_installation()
    Installation.objects.update(sealed_secrets="sealed with a key that is gone")
    assert api("GET", f"{INSTALLATIONS}/{heap.pk}")[1]["config"]["api_key"] == MASK


def test_an_installation_tells_of_its_queue(api):
    delivery = factories.make_delivery()
    _, [shown] = api("GET", INSTALLATIONS)[0], api("GET", INSTALLATIONS)[1]["data"]
    assert shown["queued"] == 1
    assert shown["oldest_queued_at"] == delivery.queued_at.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["Two", "One"]),
        ({"name": "One"}, ["One"]),
        ({"enabled": "false"}, ["Two"]),
        ({"destination": "heap"}, ["Two", "One"]),
        ({"destination": "other"}, []),
        ({"limit": "1"}, ["Two"]),
    ],
)
def test_installations_are_listed_by_filter(api, params, expected):
    factories.make_installation("One")
    Installation.objects.filter(pk=factories.make_installation("Two").pk).update(enabled=False)
    assert names(api("GET", INSTALLATIONS, **params)) == expected


def test_a_list_of_installations_costs_as_many_queries_however_many_there_are(api):
    counts = []
    for name in ("One", "Two", "Three"):
        factories.make_installation(name)
        with CaptureQueriesContext(connection) as queries:
            assert len(names(api("GET", INSTALLATIONS))) == len(counts) + 1
        counts.append(len(queries))
    assert counts[1] == counts[2], counts


def test_what_is_changed_is_changed_and_the_rest_stays(api):
    heap = factories.make_installation()
    address = f"{INSTALLATIONS}/{heap.pk}"
    body = {"name": "Renamed", "config": {"app_id": "42"}, "lane_count": 3, "give_up_days": 1}
    status, changed = api("PATCH", address, body)
    assert status == 200
    heap.refresh_from_db()
    assert (heap.name, heap.lane_count, heap.give_up_days) == ("Renamed", 3, 1)
    assert heap.settings()["app_id"] == "42"
    assert heap.settings()["api_key"] == "your_api_key"
    api("PATCH", address, {"config": {"api_key": MASK}})
    api("PATCH", address, {"config": {"api_key": "another_key"}, "enabled": False})
    heap.refresh_from_db()
    assert heap.settings()["api_key"] == "another_key"
    assert not heap.enabled
    assert "another_key" not in str(list(AuditEntry.objects.values()))


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"lane_count": 0}, {"lane_count"}),
        ({"lane_count": "2", "enabled": "yes"}, {"lane_count", "enabled"}),
        ({"give_up_days": True}, {"give_up_days"}),
        ({"config": []}, {"config"}),
        ({"config": {"app_id": ""}}, {"config.app_id"}),
        ({"config": {"colour": "red"}}, {"config.colour"}),
        ({"sources": "some"}, {"sources"}),
        ({"sources": [99]}, {"sources"}),
        ({"sources": [True]}, {"sources"}),
        ({"secret": 1}, {"secret"}),
        ({"name": ""}, {"name"}),
    ],
)
def test_what_is_wrong_is_refused_field_by_field_and_nothing_changes(api, body, wrong):
    heap = factories.make_installation()
    assert fields(api("PATCH", f"{INSTALLATIONS}/{heap.pk}", body)) == (422, wrong)
    heap.refresh_from_db()
    assert (heap.name, heap.lane_count, heap.all_sources) == ("Heap", 1, True)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"lane_count": 2}, {"lane_count": 3}),
        ({"sources": []}, {"lane_count": 3}),
        ({"config": {"api_key": "another_key"}}, {"sources": "all"}),
    ],
)
def test_a_change_of_what_was_changed_meanwhile_is_refused(api, first, second):
    heap = factories.make_installation()
    address = f"{INSTALLATIONS}/{heap.pk}"
    api("GET", address)
    tag = {"If-Match": api.headers["ETag"]}
    assert api("PATCH", address, first, tag)[0] == 200
    newer = {"If-Match": api.headers["ETag"]}
    assert api("PATCH", address, second, tag)[0] == 412
    assert api("DELETE", address, None, tag, confirm="Heap")[0] == 412
    assert api("PATCH", address, second, newer)[0] == 200
    assert api("DELETE", address, None, {"If-Match": "*"}, confirm="Heap")[0] == 200


def test_one_source_more_is_another_tag(api):
    heap, shop, app = (
        factories.make_installation(),
        factories.make_source(),
        factories.make_source("App"),
    )
    address = f"{INSTALLATIONS}/{heap.pk}"
    api("PATCH", address, {"sources": [shop.pk]})
    tag = {"If-Match": api.headers["ETag"]}
    assert api("PATCH", address, {"sources": [shop.pk, app.pk]}, tag)[0] == 200
    assert api("PATCH", address, {"sources": [shop.pk]}, tag)[0] == 412


def test_an_installation_is_disabled_enabled_and_resumed(api):
    heap = factories.make_installation()
    heap.lanes.update(paused=True)
    address = f"{INSTALLATIONS}/{heap.pk}"
    assert api("POST", f"{address}/disable")[1]["enabled"] is False
    assert api("POST", f"{address}/enable")[1]["enabled"] is True
    heap.lanes.update(paused=True)
    assert api("POST", f"{address}/resume")[1]["health"]["level"] == "new"
    assert not heap.lanes.filter(paused=True).exists()


def test_uninstalling_cancels_what_is_queued_keeps_the_log_and_needs_the_name(api):
    heap, source = factories.make_installation(), factories.make_source()
    put_in(source, 3)
    factories.make_delivery(heap, state="delivered", event=factories.make_event(source))
    address = f"{INSTALLATIONS}/{heap.pk}"
    assert fields(api("DELETE", address)) == (422, {"confirm"})
    assert fields(api("DELETE", address, confirm="Hep")) == (422, {"confirm"})
    status, answer = api("DELETE", address, confirm="Heap")
    assert (status, answer["cancelled"]) == (200, 3)
    assert Delivery.objects.filter(state="cancelled").count() == 3
    assert Delivery.objects.filter(state="delivered").count() == 1
    uninstalled = Installation.objects.get()
    assert (uninstalled.sealed_secrets, uninstalled.enabled) == ("", False)
    assert api("DELETE", address, confirm=uninstalled.name)[0] == 404
    assert names(api("GET", INSTALLATIONS)) == []
    assert names(api("GET", INSTALLATIONS, uninstalled="true")) == [uninstalled.name]
    assert api("GET", address)[1]["uninstalled_at"]


def test_uninstalling_by_the_api_cancels_what_is_queued(api):
    heap, source = factories.make_installation(), factories.make_source()
    put_in(source, 3)
    api("DELETE", f"{INSTALLATIONS}/{heap.pk}", confirm="Heap")
    put_in(source, 2)
    [line] = build_ledger().lines
    assert (line.in_scope, line.cancelled, line.difference) == (3, 3, 0)


def test_what_came_in_while_it_was_uninstalled_is_cancelled_by_the_sweep():
    heap = factories.make_installation()
    factories.make_delivery(heap)
    Installation.objects.update(uninstalled_at=timezone.now(), enabled=False)
    tasks.sweep()
    assert Delivery.objects.get().state == "cancelled"


# --- the sources of an installation --------------------------------------------------------------


def test_an_installation_gets_events_of_its_sources_only(api):
    heap, shop, app = (
        factories.make_installation(),
        factories.make_source(),
        factories.make_source("App"),
    )
    status, changed = api("PATCH", f"{INSTALLATIONS}/{heap.pk}", {"sources": [shop.pk]})
    assert (status, changed["sources"]) == (200, [shop.pk])
    put_in(shop, 2)
    put_in(app, 3)
    assert set(Delivery.objects.values_list("event__source", flat=True)) == {shop.pk}
    [line] = build_ledger().lines
    assert (line.in_scope, line.queued) == (2, 2)
    assert build_ledger().closes
    event = Event.objects.filter(source=app).first()
    [absence] = api("GET", f"{EVENTS}/{event.pk}")[1]["absences"]
    assert absence["reason"] == "The source App does not send to it."
    api("PATCH", f"{INSTALLATIONS}/{heap.pk}", {"sources": "all"})
    put_in(app, 1)
    assert Delivery.objects.filter(event__source=app).count() == 1


def test_an_installation_without_any_source_gets_nothing(api):
    heap = factories.make_installation()
    api("PATCH", f"{INSTALLATIONS}/{heap.pk}", {"sources": []})
    put_in(factories.make_source(), 2)
    assert not Delivery.objects.exists()


# --- sources -------------------------------------------------------------------------------------


def test_a_source_is_made_changed_and_shown(api):
    body = {"name": "Shop", "allowed_origins": ["https://shop.example"], "rate_limit": 5}
    status, made = api("POST", SOURCES, body)
    assert status == 201
    assert {**made, **body} == made
    assert made["write_key"].startswith("wk_")
    address = f"{SOURCES}/{made['id']}"
    status, changed = api("PATCH", address, {"visitor_cookie": True, "rate_limit": None})
    assert (changed["visitor_cookie"], changed["rate_limit"]) == (True, None)
    assert changed["allowed_origins"] == ["https://shop.example"]
    assert api("POST", SOURCES, {"name": "Shop"})[0] == 409


def test_a_source_that_was_changed_meanwhile_is_neither_changed_nor_deleted(api):
    address = f"{SOURCES}/{factories.make_source().pk}"
    api("GET", address)
    tag = {"If-Match": api.headers["ETag"]}
    assert api("PATCH", address, {"rate_limit": 5}, tag)[0] == 200
    assert api("PATCH", address, {"rate_limit": 6}, tag)[0] == 412
    assert api("DELETE", address, None, tag)[0] == 412
    assert Source.objects.get().rate_limit == 5
    api("POST", f"{address}/rotate-key", {})
    newer = {"If-Match": api.headers["ETag"]}
    api("POST", f"{address}/rotate-key", {})
    assert api("PATCH", address, {"rate_limit": 6}, newer)[0] == 412
    api("GET", address)
    assert api("DELETE", address, None, {"If-Match": api.headers["ETag"]})[0] == 200


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"name": 5}, {"name"}),
        ({"name": "  "}, {"name"}),
        ({"allowed_origins": "https://shop.example"}, {"allowed_origins"}),
        ({"allowed_origins": ["shop"]}, {"allowed_origins"}),
        ({"default_context": []}, {"default_context"}),
        ({"rate_limit": -1, "visitor_cookie": 1}, {"rate_limit", "visitor_cookie"}),
        ({"write_key": "wk_mine"}, {"write_key"}),
    ],
)
def test_what_cannot_be_a_source_is_refused_field_by_field(api, body, wrong):
    assert fields(api("POST", SOURCES, {"name": "Shop", **body})) == (422, wrong)


def is_accepted(key):
    authentication.clear_source_cache()
    try:
        return authentication.get_source_by_write_key(key).name
    except NotAllowed:
        return None


def test_a_rotated_key_is_valid_until_its_time_is_up(api):
    source = factories.make_source()
    address = f"{SOURCES}/{source.pk}/rotate-key"
    status, rotated = api("POST", address, {"overlap_hours": 2})
    assert status == 200
    [old] = rotated["further_keys"]
    assert old["key"] == source.write_key != rotated["write_key"]
    assert is_accepted(source.write_key) == is_accepted(rotated["write_key"]) == "Shop"
    source.further_keys.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert is_accepted(source.write_key) is None
    _, again = api("POST", address, {"overlap_hours": 0})
    assert is_accepted(rotated["write_key"]) is None
    assert is_accepted(again["write_key"]) == "Shop"
    assert fields(api("POST", address, {"overlap_hours": 9_999})) == (422, {"overlap_hours"})


def test_a_key_is_added_and_revoked(api):
    source = factories.make_source()
    status, key = api("POST", f"{SOURCES}/{source.pk}/keys", {"note": "The app"})
    assert status == 201
    assert is_accepted(key["key"]) == "Shop"
    assert api("DELETE", f"{SOURCES}/{source.pk}/keys/{key['id']}")[0] == 204
    assert is_accepted(key["key"]) is None
    assert api("DELETE", f"{SOURCES}/{source.pk}/keys/{key['id']}")[0] == 404


def test_a_signing_secret_is_told_once(api):
    source = factories.make_source()
    status, answer = api("POST", f"{SOURCES}/{source.pk}/signing-secret")
    source.refresh_from_db()
    assert (status, answer["signing_secret"]) == (201, source.signing_secret)
    _, shown = api("GET", f"{SOURCES}/{source.pk}")
    assert shown["is_signed"]
    assert answer["signing_secret"] not in str(shown) + str(list(AuditEntry.objects.values()))


def test_a_source_that_sent_nothing_is_deleted_and_any_other_archived(api):
    unused, used = factories.make_source(), factories.make_source("App")
    factories.make_event(used)
    assert api("DELETE", f"{SOURCES}/{unused.pk}") == (200, {"deleted": True})
    assert api("DELETE", f"{SOURCES}/{used.pk}") == (200, {"deleted": False})
    assert names(api("GET", SOURCES)) == []
    assert names(api("GET", SOURCES, archived="true")) == ["App"]
    assert is_accepted(used.write_key) is None
    api("PATCH", f"{SOURCES}/{used.pk}", {"archived": False})
    assert is_accepted(used.write_key) == "App"
    assert Source.objects.count() == 1


# --- events --------------------------------------------------------------------------------------


@pytest.fixture
def events():
    shop, app = factories.make_source(), factories.make_source("App")
    return [
        factories.make_event(shop, message_id="m1", name="A", user_id="ada"),
        factories.make_event(shop, message_id="m2", name="B", user_id="", anonymous_id="v1"),
        factories.make_event(app, message_id="m3", name="A", type="page", user_id="ada"),
    ]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["m3", "m2", "m1"]),
        ({"message_id": "m2"}, ["m2"]),
        ({"user_id": "ada"}, ["m3", "m1"]),
        ({"anonymous_id": "v1"}, ["m2"]),
        ({"name": "A"}, ["m3", "m1"]),
        ({"type": "page"}, ["m3"]),
        ({"user_id": "ada", "type": "track"}, ["m1"]),
        ({"name": "A", "user_id": "nobody"}, []),
        ({"until": "2020-01-01T00:00:00Z"}, []),
        ({"since": "2020-01-01T00:00:00Z", "limit": "2"}, ["m3", "m2"]),
    ],
)
def test_events_are_found(api, events, params, expected):
    status, body = api("GET", EVENTS, **params)
    assert [each["message_id"] for each in body["data"]] == expected


def test_events_of_a_source_are_found_page_by_page(api, events):
    source = events[0].source_id
    status, body = api("GET", EVENTS, source=source, limit="1")
    assert ([each["message_id"] for each in body["data"]], body["has_more"]) == (["m2"], True)
    status, body = api("GET", EVENTS, source=source, limit="1", cursor=body["next_cursor"])
    assert ([each["message_id"] for each in body["data"]], body["has_more"]) == (["m1"], False)


def test_a_filter_that_cannot_be_is_refused_by_name(api):
    wrong = {"type": "click", "source": "x", "since": "soon", "colour": "red"}
    assert fields(api("GET", EVENTS, **wrong)) == (422, set(wrong))


def test_an_event_shows_its_body_and_its_deliveries(api):
    delivery = factories.make_delivery(state="failed", error="MessageRejected", reason="Too long")
    factories.make_installation("Later")
    status, shown = api("GET", f"{EVENTS}/{delivery.event_id}")
    assert shown["body"]["properties"] == {"order_id": "A-1001"}
    [line] = shown["deliveries"]
    assert (line["state"], line["reason"]) == ("failed", "Too long")
    [absence] = shown["absences"]
    assert absence["reason"] == "The installation was added after the event was received."
    assert api("GET", f"{EVENTS}/99999")[0] == 404


# --- attempts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, [None, 503, 200]),
        ({"status": "5xx"}, [503]),
        ({"status": "none"}, [None]),
        ({"outcome": "accepted"}, [200]),
        ({"installation": "99999"}, []),
        ({"since": "2020-01-01T00:00:00Z", "limit": "1"}, [None]),
    ],
)
def test_attempts_are_found(api, params, expected):
    delivery = factories.make_delivery()
    factories.make_attempt(delivery)
    factories.make_attempt(delivery, status=503, outcome="VendorUnavailable")
    factories.make_attempt(delivery, status=None, outcome="VendorUnavailable")
    status, body = api("GET", ATTEMPTS, **params)
    assert [each["status"] for each in body["data"]] == expected


def test_an_attempt_shows_what_was_sent_while_that_is_kept(api):
    delivery = factories.make_delivery()
    attempt = factories.make_attempt(delivery, answer="{}")
    status, shown = api("GET", f"{ATTEMPTS}/{attempt.pk}")
    assert shown["request"]["body"]["app_id"] == "1234567890"
    assert shown["response"] == {"headers": {"Server": "heap"}, "body": {}}
    assert (shown["delivery_ids"], shown["is_test"]) == ([delivery.pk], False)
    Attempt.objects.update(is_test=True)
    assert api("GET", ATTEMPTS)[1]["data"][0]["is_test"] is True
    Attempt.objects.get().body.delete()
    status, shown = api("GET", f"{ATTEMPTS}/{attempt.pk}")
    assert (shown["request"], shown["response"]) == (None, None)


# --- metrics and the system ----------------------------------------------------------------------


def test_metrics_are_told_by_step(api):
    heap, source = factories.make_installation(), factories.make_source()
    put_in(source, 3)
    status, body = api("GET", METRICS, installation=heap.pk, step="minute")
    assert (status, body["total"]["accepted"], body["now"]["queued"]) == (200, 3, 3)
    assert len(body["points"]) in (1_440, 1_441)
    assert api("GET", METRICS, source=source.pk)[1]["total"]["accepted"] == 3


@pytest.mark.parametrize(
    "params", [{"step": "second"}, {"step": "minute", "since": "2026-01-01T00:00:00Z"}]
)
def test_steps_that_are_not_kept_are_refused(api, params):
    assert fields(api("GET", METRICS, **params)) == (422, {"step"})


def test_the_system_tells_what_is_wrong(api):
    factories.make_delivery()
    status, body = api("GET", "/v1/admin/system")
    assert (status, body["is_well"], body["queue"]["queued"]) == (200, False, 1)
    assert "No cluster is running" in body["trouble"]
    tasks.sweep()
    _, body = api("GET", "/v1/admin/system")
    assert body["swept_at"]
    assert {"what": "Deliveries", "days": 30.0} in body["retention"]
