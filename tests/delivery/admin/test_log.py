"""The log in the admin: finding a delivery, reading its story, delivering it again."""

import csv
import io
import json
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from benchmarks.pages import UNBOUNDED
from delivery.log import detail
from delivery.models import (
    AttemptBody,
    Delivery,
    Event,
    Lane,
    Rejection,
    Replay,
    Replayed,
    Settlement,
)
from delivery.outbound.client import CUT_NOTE
from delivery.replay.selection import stored_replay_range
from integrations.keyset import first_id
from integrations.models import AuditEntry, Installation
from tests.support.admin_pages import read_page, text_of
from tests.support.factories import (
    make_attempt,
    make_delivery,
    make_event,
    make_installation,
    make_source,
    make_user,
)

pytestmark = pytest.mark.django_db

LOG = "/admin/delivery/delivery/"
EVENTS = "/admin/delivery/event/"


@pytest.fixture(autouse=True)
def _logged_in(client):
    client.force_login(make_user())


def listed(client, **params):
    """Return the ids of the deliveries that the list shows, in its order."""
    return [
        int(pk) for pk in re.findall(r'name="id" value="(\d+)"', read_page(client, LOG, **params))
    ]


def story_of(client, delivery):
    return text_of(read_page(client, f"{LOG}{delivery.pk}/change/"))


# --- the list ----------------------------------------------------------------------------------


def test_the_newest_delivery_comes_first_with_what_became_of_it(client):
    first, second = make_delivery(), make_delivery(state="failed", error="MessageRejected")
    make_attempt(second, status=400, outcome="MessageRejected")
    assert listed(client) == [second.pk, first.pk]
    text = text_of(read_page(client, LOG))
    for words in ("Failed", "Queued", "Order Completed", "ada", "400", "123 ms", "Heap"):
        assert words in text


def test_a_time_is_relative_and_exact_on_hover(client):
    at = timezone.now() - timedelta(minutes=3, seconds=5)
    make_delivery(event=make_event(received_at=at))
    html = read_page(client, LOG)
    assert "3 min ago" in html
    assert f'title="{at:%Y-%m-%d %H:%M:%S} UTC"' in html


def test_an_attempt_without_an_answer_says_so(client):
    delivery = make_delivery(error="VendorUnavailable")
    make_attempt(delivery, status=None, outcome="VendorUnavailable", error="Connection refused")
    assert "No response unavailable" in text_of(read_page(client, LOG))


def test_pages_go_older_and_newer_by_key_and_keep_the_filter(client, monkeypatch):
    monkeypatch.setattr("delivery.admin.log.explorer.LOG_PAGE_SIZE", 2)
    ids = [make_delivery().pk for _ in range(5)][::-1]
    other = make_delivery(state="cancelled")
    assert listed(client, state="queued") == ids[:2]
    assert listed(client, state="queued", before=ids[1]) == ids[2:4]
    assert listed(client, state="queued", before=ids[3]) == ids[4:]
    html = read_page(client, LOG, state="queued", before=ids[1])
    assert f'href="?q=state%3Aqueued&amp;before={ids[3]}"' in html
    assert 'href="?q=state%3Aqueued">Newest' in html
    assert other.pk not in ids


def test_pages_of_a_search_that_an_index_answers_go_back_too(client, monkeypatch):
    monkeypatch.setattr("delivery.admin.log.explorer.LOG_PAGE_SIZE", 2)
    ids = [make_delivery(state="failed").pk for _ in range(5)][::-1]
    assert listed(client, q="state:failed", after=ids[4]) == ids[2:4]
    html = read_page(client, LOG, q="state:failed", before=ids[1])
    assert f'href="?q=state%3Afailed&amp;after={ids[2]}"' in html


def test_a_row_leads_to_its_delivery_and_to_its_person(client):
    make_event()  # so that events and deliveries have different ids
    delivery = make_delivery(event=make_event(user_id="ada lovelace"))
    html = read_page(client, LOG)
    assert f'<a class="log-open" href="{LOG}{delivery.pk}/change/">' in html
    assert '<a href="/admin/delivery/event/user/?id=ada%20lovelace"' in html


def test_the_last_page_has_nothing_older_and_the_first_nothing_newer(client):
    make_delivery()
    html = read_page(client, LOG)
    assert "before=" not in html
    assert "after=" not in html


def test_an_empty_list_says_what_it_waits_for_and_a_filtered_one_that_nothing_matches(client):
    assert "No deliveries yet." in read_page(client, LOG)
    make_delivery()
    assert "Nothing matches." in read_page(client, LOG, state="failed")
    assert "Nothing matches." in read_page(client, LOG, q="nobody")


def test_the_list_neither_counts_nor_skips_nor_reads_bodies(client):
    make_attempt(make_delivery(state="delivered"))
    with CaptureQueriesContext(connection) as queries:
        read_page(client, LOG)
    log_queries = [each["sql"] for each in queries if "delivery_" in each["sql"].lower()]
    assert log_queries
    for sql in log_queries:
        assert not UNBOUNDED.search(sql)
        assert "body" not in sql


@pytest.mark.parametrize("address", [LOG, EVENTS, "/admin/delivery/attempt/"])
def test_a_list_takes_as_many_queries_for_many_rows_as_for_one(
    client, django_assert_num_queries, address
):
    make_attempt(make_delivery(state="delivered"))
    with CaptureQueriesContext(connection) as first:
        read_page(client, address)
    for _ in range(20):
        make_attempt(make_delivery(state="delivered"))
    with django_assert_num_queries(len(first)):
        read_page(client, address)


def test_filters_by_installation_state_and_event(client):
    heap, eu = make_installation(name="Heap"), make_installation(name="Heap EU")
    queued = make_delivery(heap, make_event(name="Signed Up"))
    failed = make_delivery(eu, make_event(type="page", name=""), state="failed")
    assert listed(client, installation=heap.pk) == [queued.pk]
    assert listed(client, state="failed") == [failed.pk]
    assert listed(client, event="Signed Up") == [queued.pk]
    assert listed(client, event="page") == [failed.pk]
    assert listed(client, event="Signed Up", state="failed") == []


def test_filters_by_the_time_an_event_came_in(client):
    now = timezone.now()
    ages = [timedelta(days=9), timedelta(days=3), timedelta(hours=2), timedelta(minutes=1)]
    ids = [make_delivery(event=make_event(received_at=now - age)).pk for age in ages][::-1]
    assert listed(client, received="1h") == ids[:1]
    assert listed(client, received="24h") == ids[:2]
    assert listed(client, received="7d") == ids[:3]


@pytest.mark.parametrize("params", [{"installation": "x"}, {"received": "ages"}, {"q": "usr:ada"}])
def test_a_filter_that_makes_no_sense_is_said_and_finds_nothing(client, params):
    make_delivery()
    html = read_page(client, LOG, **params)
    assert 'role="alert"' in html
    assert listed(client, **params) == []


def test_a_place_that_makes_no_sense_is_the_newest_page(client):
    delivery = make_delivery()
    assert listed(client, before="x") == [delivery.pk]


@pytest.mark.parametrize("text", ["message-1x", "grace", "visitor-7", "  grace  "])
def test_search_finds_by_message_id_user_and_visitor_exactly(client, text):
    make_delivery(event=make_event(message_id="message-1", user_id="grac", anonymous_id="visitor"))
    event = make_event(message_id="message-1x", user_id="grace", anonymous_id="visitor-7")
    delivery = make_delivery(event=event)
    assert listed(client, q=text) == [delivery.pk]


def test_ids_are_found_by_time_also_with_gaps(client):
    now = timezone.now()
    for number in range(40):
        make_event(received_at=now + timedelta(seconds=number))
    Event.objects.filter(pk__in=[e.pk for e in Event.objects.all()[5:9]]).delete()
    for number in (0, 4, 7, 20, 39):
        moment = now + timedelta(seconds=number)
        expected = Event.objects.filter(received_at__gte=moment).order_by("pk").first().pk
        found = first_id(Event, "received_at", moment)
        assert Event.objects.filter(pk__gte=found).order_by("pk").first().pk == expected
    assert not Event.objects.filter(
        pk__gte=first_id(Event, "received_at", now + timedelta(hours=1))
    )


# --- one delivery ------------------------------------------------------------------------------


def test_a_delivered_one_says_when_and_shows_event_result_and_exchange(client):
    delivery = make_delivery(state="delivered", notes=json.dumps(["Left out: coupon (null)."]))
    make_attempt(delivery, answer='{"ok": true}')
    text = story_of(client, delivery)
    assert "Heap accepted it with HTTP 200" in text
    assert "No action needed." in text
    assert "Left out: coupon (null)." in text
    assert "Event as received" in text
    assert "POST https://heapanalytics.com/api/track" in text
    assert "Content-Type: application/json" in text
    assert "ok" in text.partition("HTTP 200")[2]
    assert "Revision 1 shaped this delivery." in text
    assert "Revision 1 produced 1 item" in text


def test_of_a_bulk_request_only_its_own_item_is_shown_with_the_way_to_the_rest(client):
    deliveries = [
        make_delivery(event=make_event(name=f"Event {n}"), state="delivered") for n in range(3)
    ]
    attempt = make_attempt(*deliveries)
    html = read_page(client, f"{LOG}{deliveries[1].pk}/change/")
    assert "item 2 of 3 in this request" in html
    assert "Event 1" in html
    assert "Event 0" not in html
    whole = reverse("admin:delivery_attempt_change", args=[attempt.pk])
    assert whole in html
    assert all(f"Event {n}" in read_page(client, whole) for n in range(3))


def test_an_attempt_of_a_test_is_marked(client):
    make_attempt(make_delivery(state="delivered"))
    attempts = "/admin/delivery/attempt/"
    assert "test event" not in read_page(client, attempts)
    attempt = make_attempt(make_delivery(state="delivered"), is_test=True)
    assert "test event" in read_page(client, attempts)
    story = text_of(read_page(client, reverse("admin:delivery_attempt_change", args=[attempt.pk])))
    assert "A test event, which carries no delivery" in story


def test_a_response_that_was_cut_says_so(client):
    delivery = make_delivery(state="delivered")
    make_attempt(delivery)
    note = "Only the first 65,536 bytes of the body are stored."
    assert note not in story_of(client, delivery)
    AttemptBody.objects.update(response_headers=json.dumps({CUT_NOTE: note}))
    assert story_of(client, delivery).count(note) == 1


def test_attempts_that_differ_in_nothing_are_not_said_to_be_marked(client):
    delivery = make_delivery(state="failed", error="MessageRejected")
    for _ in range(2):
        make_attempt(delivery, status=400, outcome="MessageRejected", error="HTTP 400")
    assert "changed since the previous attempt" not in story_of(client, delivery)
    make_attempt(delivery)
    assert "changed since the previous attempt" in story_of(client, delivery)


def test_a_large_body_is_shown_cut_and_says_so(client, monkeypatch):
    monkeypatch.setattr(detail, "MAX_BODY_CHARS", 50)
    attempt = make_attempt(make_delivery(state="delivered"), request={"events": ["x" * 100]})
    html = read_page(client, reverse("admin:delivery_attempt_change", args=[attempt.pk]))
    assert "first 50 characters" in html
    assert "x" * 60 not in html


@pytest.mark.parametrize(
    ("body", "position", "items", "own"),
    [
        (
            '{"app_id":"1","events":[{"a":1},{"a":2}]}',
            1,
            2,
            '{"app_id": "1", "events": [{"a": 2}]}',
        ),
        ('{"app_id":"1","users":[{"a":1},{"a":2}]}', 0, 2, '{"app_id": "1", "users": [{"a": 1}]}'),
        ('{"app_id":"1","tags":["x","y"]}', 0, 1, '{"app_id":"1","tags":["x","y"]}'),
        ('{"a":[1,2],"b":[3,4]}', 0, 2, '{"a":[1,2],"b":[3,4]}'),
        ("[1,2]", 0, 2, "[1,2]"),
        ("no JSON", 0, 2, "no JSON"),
    ],
)
def test_the_own_part_of_a_body(body, position, items, own):
    assert detail.extract_own_items(body, position, items) == own


def test_only_the_newest_attempts_are_loaded_with_their_bodies(client, monkeypatch):
    monkeypatch.setattr(detail, "ATTEMPTS_WITH_BODIES", 2)
    delivery = make_delivery()
    attempts = [make_attempt(delivery, request={"number": n}) for n in range(4)]
    html = read_page(client, f"{LOG}{delivery.pk}/change/")
    assert html.count('id="attempt-') == 2
    assert html.count("View the request and response") == 2
    assert reverse("admin:delivery_attempt_change", args=[attempts[0].pk]) in html


def test_a_refused_one_names_cause_and_fix_from_the_vendors_table(client):
    delivery = make_delivery(state="failed", error="MessageRejected", reason="HTTP 400: bad field")
    make_attempt(delivery, status=400, outcome="MessageRejected", answer="bad field")
    trouble = delivery.installation.destination.explain("MessageRejected", 400)
    text = story_of(client, delivery)
    assert "HTTP 400: bad field. It is not retried automatically." in text
    blueprint = reverse("admin:installation_blueprint", args=[delivery.installation_id])
    assert f'href="{blueprint}"' in read_page(client, f"{LOG}{delivery.pk}/change/")
    assert f"Cause {' '.join(trouble.cause.split())}" in text.replace("&#x27;", "'")
    assert "Deliver again" in text


def test_one_that_waits_says_whose_fault_it_is_and_when_it_goes_on(client):
    delivery = make_delivery(error="VendorUnavailable")
    make_attempt(delivery, status=503, outcome="VendorUnavailable")
    due_at = timezone.now() + timedelta(minutes=2)
    Lane.objects.update(due_at=due_at, last_error="HTTP 503: busy")
    text = story_of(client, delivery)
    assert f"the next attempt is at {due_at:%H:%M:%S} UTC" in text
    assert "Deliver again" not in text
    Lane.objects.update(due_at=timezone.now(), failures=1)
    text = story_of(client, delivery)
    assert "Waiting for Heap" in text
    assert "The problem is at Heap; the next attempt is due, as attempt 2" in text


def test_one_behind_refused_credentials_waits_for_a_person(client):
    delivery = make_delivery()
    Lane.objects.update(paused=True, last_error="HTTP 401")
    assert "Needs attention" in story_of(client, delivery)


def test_one_of_a_paused_installation_says_so(client):
    delivery = make_delivery()
    Installation.objects.update(enabled=False)
    assert "Heap is paused by an admin" in story_of(client, delivery)


@pytest.mark.parametrize(
    ("state", "words"), [("filtered", "Nothing was sent"), ("cancelled", "Cancelled")]
)
def test_one_that_was_not_sent_says_why(client, state, words):
    text = story_of(client, make_delivery(state=state, reason="Because of a test."))
    assert words in text
    assert "Because of a test." in text


def test_a_story_whose_bodies_were_purged_is_still_told(client):
    delivery = make_delivery(state="delivered")
    make_attempt(delivery)
    delivery.event.body.delete()
    AttemptBody.objects.all().delete()
    assert "The event body is no longer stored." in story_of(client, delivery)


def test_a_page_shows_markup_of_an_event_as_text(client):
    event = make_event(name="<script>alert(1)</script>", user_id='"><b>')
    delivery = make_delivery(event=event, state="delivered", reason="<i>")
    make_attempt(delivery, answer="<script>alert(2)</script>")
    for address in (LOG, f"{LOG}{delivery.pk}/change/", EVENTS, f"{EVENTS}{event.pk}/change/"):
        html = read_page(client, address)
        assert "<script>alert" not in html
        assert '"><b>' not in html


@pytest.mark.parametrize("name", ["delivery", "attempt", "event", "rejection"])
@pytest.mark.parametrize("pk", ["999", "none", "9" * 30])
def test_what_is_not_there_is_not_found(client, name, pk):
    assert client.get(f"/admin/delivery/{name}/{pk}/change/").status_code == 404


# --- deliver again -----------------------------------------------------------------------------


@pytest.fixture
def woken(monkeypatch):
    """The lanes that were woken."""
    lanes = []
    monkeypatch.setattr("delivery.lanes.wakeups.wake_lanes", lanes.extend)
    return lanes


def again(client, delivery):
    return client.post(reverse("admin:delivery_delivery_again", args=[delivery.pk]), follow=True)


@pytest.mark.parametrize("state", ["failed", "filtered", "cancelled", "delivered"])
def test_whatever_is_settled_can_be_delivered_again(
    client, woken, django_capture_on_commit_callbacks, state
):
    delivery = make_delivery(state=state, error="MessageRejected", reason="no", attempts=1)
    with django_capture_on_commit_callbacks(execute=True):
        answer = again(client, delivery)
    assert "1 delivery is queued again." in answer.content.decode()
    found = Delivery.objects.get()
    assert (found.state, found.error, found.reason, found.settled_at) == ("queued", "", "", None)
    assert found.queued_at > delivery.queued_at
    assert found.attempts == 1
    assert woken == [delivery.lane_id]


def test_what_is_queued_already_stays_as_it_is(client, woken):
    delivery = make_delivery(error="VendorUnavailable")
    assert "0 deliveries are queued again." in again(client, delivery).content.decode()
    assert Delivery.objects.get().queued_at == delivery.queued_at


def test_a_selection_is_delivered_again_and_nothing_else(client, woken):
    chosen = [make_delivery(state="failed") for _ in range(2)]
    other = make_delivery(state="failed")
    answer = client.post(
        f"{LOG}deliver-again/",
        {"q": "state:failed", "id": [each.pk for each in chosen]},
        follow=True,
    )
    assert answer.redirect_chain == [(f"{LOG}?q=state%3Afailed", 302)]
    assert "2 deliveries are queued again." in answer.content.decode()
    assert set(Delivery.objects.filter(state="queued")) == set(chosen)
    assert Delivery.objects.get(pk=other.pk).state == "failed"


def test_to_a_paused_installation_it_waits_and_that_is_said(client, woken):
    delivery = make_delivery(state="failed")
    Lane.objects.update(paused=True)
    assert "Heap is paused, so they wait" in again(client, delivery).content.decode()


def test_a_link_alone_delivers_nothing_again(client):
    delivery = make_delivery(state="failed")
    address = reverse("admin:delivery_delivery_again", args=[delivery.pk])
    assert client.get(address).status_code == 405
    assert Delivery.objects.get().state == "failed"


def test_it_takes_a_permission_to_deliver_again(client):
    delivery, viewer = make_delivery(state="failed"), make_user("viewer", is_superuser=False)
    viewer.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    client.force_login(viewer)
    assert "Deliver again" not in story_of(client, delivery)
    assert again(client, delivery).status_code == 403
    assert Delivery.objects.get().state == "failed"


def test_it_takes_a_permission_to_read(client):
    delivery = make_delivery()
    client.force_login(make_user("nobody", is_superuser=False))
    for address in (LOG, f"{LOG}{delivery.pk}/change/", f"{EVENTS}{delivery.event_id}/change/"):
        assert client.get(address).status_code == 403


# --- events and rejections ---------------------------------------------------------------------


def test_an_event_says_where_it_went_and_why_not_elsewhere(client):
    wanted, unwanted = make_installation(name="Heap"), make_installation(name="Heap EU")
    wants_nothing = {"version": 1, "actions": []}
    unwanted.revision = unwanted.revisions.create(number=2, blueprint=wants_nothing)
    unwanted.save()
    alias = make_event(type="alias", name="")
    delivery = make_delivery(wanted, alias, state="failed", reason="HTTP 400")
    late = make_installation(name="Heap late")
    text = text_of(read_page(client, f"{EVENTS}{alias.pk}/change/"))
    assert "Failed Heap HTTP 400" in text
    assert f"{unwanted} Its blueprint has no action for this alias." in text
    assert f"{late} The installation was added after the event was received." in text
    assert f"{LOG}{delivery.pk}/change/" in read_page(client, f"{EVENTS}{alias.pk}/change/")


def test_an_event_with_nowhere_to_go_says_so(client):
    event = make_event(notes=json.dumps(["The time was corrected."]))
    text = text_of(read_page(client, f"{EVENTS}{event.pk}/change/"))
    assert "Nothing is installed, so the event was not sent anywhere." in text
    assert "The time was corrected." in text


def test_events_are_filtered_and_searched(client):
    shop, app = make_source(), make_source("App")
    track = make_event(shop, user_id="grace")
    view = make_event(app, type="page", name="", user_id="ada")

    def found(**params):
        return [
            int(pk)
            for pk in re.findall(
                rf'href="{EVENTS}(\d+)/change', read_page(client, EVENTS, **params)
            )
        ]

    assert set(found()) == {track.pk, view.pk}
    assert set(found(type="page")) == {view.pk}
    assert set(found(source=shop.pk)) == {track.pk}
    assert set(found(event="Order Completed")) == {track.pk}
    assert set(found(q="grace")) == {track.pk}


def test_a_rejected_message_tells_why_and_what_it_was(client):
    rejection = Rejection.objects.create(source=make_source(), reason="No userId.", text="{broken")
    assert "No userId." in read_page(client, "/admin/delivery/rejection/")
    text = text_of(read_page(client, f"/admin/delivery/rejection/{rejection.pk}/change/"))
    assert "No userId." in text
    assert "{broken" in text


# --- the explorer: live, suggestions, export ---------------------------------------------------


def test_the_live_log_asks_for_rows_alone(client):
    failed = make_delivery(state="failed")
    make_delivery()
    html = read_page(client, f"{LOG}rows/", q="state:failed")
    assert re.findall(r'<tr data-id="(\d+)"', html) == [str(failed.pk)]
    assert "<html" not in html


def test_the_live_log_asks_for_what_the_rows_add_up_to_alone(client):
    make_delivery(state="failed", error="MessageRejected")
    html = read_page(client, f"{LOG}summary/", q="error:MessageRejected")
    assert "The only match" in text_of(html)
    assert "<html" not in html
    assert "<tr" not in html
    assert read_page(client, f"{LOG}summary/", q="user:nobody").strip() == ""


def test_a_row_says_what_of_it_a_person_sees_change(client):
    delivery = make_delivery()
    before = read_page(client, f"{LOG}rows/")
    make_attempt(delivery, status=503, outcome="VendorUnavailable")
    versions = [
        re.search(r'data-version="([^"]+)"', html)[1]
        for html in (before, read_page(client, f"{LOG}rows/"))
    ]
    assert versions[0] != versions[1]


@pytest.mark.parametrize(
    ("key", "text", "values"),
    [
        ("state", "fa", ["failed"]),
        ("event", "", ["Order Completed", "Signed Up"]),
        ("event", "UP", ["Signed Up"]),
        ("user", "a", ["ada", "grace"]),
        ("installation", "hea", ["Heap"]),
        ("nothing", "", []),
    ],
)
def test_the_search_box_offers_values_of_recent_rows(client, key, text, values):
    make_delivery()
    make_delivery()
    make_delivery(event=make_event(name="Signed Up", user_id="grace"))
    answer = client.get(f"{LOG}suggest/", {"key": key, "text": text})
    assert answer.json() == {"values": values}


def exported(client, **params):
    answer = client.get(f"{LOG}export/", params)
    assert answer.status_code == 200
    assert answer.streaming
    return b"".join(answer.streaming_content).decode()


def csv_rows(text):
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def test_all_that_match_are_exported_as_the_api_lists_them(client, monkeypatch):
    monkeypatch.setattr("delivery.log.export.EXPORT_CHUNK_ROWS", 2)
    failed = [make_delivery(state="failed").pk for _ in range(5)][::-1]
    make_delivery()
    lines = [
        json.loads(line)
        for line in exported(client, q="state:failed", format="ndjson").splitlines()
    ]
    assert [line["id"] for line in lines] == failed
    assert lines[0]["event"]["name"] == "Order Completed"
    assert lines[0]["installation"]["name"] == "Heap"


def test_an_export_ends_at_the_number_that_is_said(client, monkeypatch):
    monkeypatch.setattr("delivery.log.export.EXPORT_CHUNK_ROWS", 2)
    monkeypatch.setattr("delivery.log.export.EXPORT_MAX_ROWS", 3)
    for _ in range(5):
        make_delivery()
    assert len(exported(client, format="ndjson").splitlines()) == 3


def test_those_that_are_ticked_are_exported_alone(client):
    first, second, _ = make_delivery(), make_delivery(), make_delivery()
    text = exported(client, format="csv", id=[first.pk, second.pk], q="state:failed")
    assert [line["id"] for line in csv_rows(text)] == [str(second.pk), str(first.pk)]


def test_a_csv_file_says_that_it_is_utf_8(client):
    make_delivery(event=make_event(name="Größe gewählt"))
    text = exported(client, format="csv")
    assert text.startswith("\ufeffid,")  # Excel knows it by the byte order mark
    assert csv_rows(text)[0]["event.name"] == "Größe gewählt"
    assert "\ufeff" not in text[1:] + exported(client, format="ndjson")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_an_export_is_a_formula(client, text):
    make_delivery(event=make_event(name=text, user_id=text))
    [line] = csv_rows(exported(client, format="csv"))
    assert line["event.name"] == line["event.user_id"] == f"'{text}"


def test_an_export_of_another_format_is_refused(client):
    assert client.get(f"{LOG}export/", {"format": "xlsx"}).status_code == 400


def test_an_export_reads_no_bodies(client):
    make_attempt(make_delivery(state="delivered"))
    with CaptureQueriesContext(connection) as queries:
        exported(client, format="ndjson")
    assert not any("body" in each["sql"] for each in queries)


def test_what_is_queued_can_be_cancelled_and_delivered_again_after_all(client):
    queued, done = make_delivery(), make_delivery(state="delivered")
    answer = client.post(
        f"{LOG}cancel/", {"id": [queued.pk, done.pk], "q": "user:ada"}, follow=True
    )
    assert "1 delivery is cancelled." in answer.content.decode()
    assert answer.redirect_chain[0][0] == f"{LOG}?q=user%3Aada"
    queued.refresh_from_db()
    assert (queued.state, queued.reason) == ("cancelled", "Cancelled by admin.")
    assert [metric.by_source for metric in Settlement.objects.all()] == [
        json.dumps({str(queued.event.source_id): {"cancelled": 1}}, separators=(",", ":"))
    ]
    assert AuditEntry.objects.filter(action="delivery.cancelled").count() == 1
    client.post(f"{LOG}{queued.pk}/deliver-again/")
    assert "Cancel" in read_page(client, f"{LOG}{queued.pk}/change/")
    client.post(f"{LOG}{queued.pk}/cancel/")
    queued.refresh_from_db()
    assert queued.state == "cancelled"
    client.force_login(make_user("viewer", role="source_viewer"))
    assert client.post(f"{LOG}{done.pk}/cancel/").status_code == 403


def test_a_row_says_when_it_is_tried_next_and_until_when(client):
    delivery = make_delivery(error="VendorUnavailable")
    assert " left" not in text_of(read_page(client, LOG))  # no attempt has failed yet
    make_attempt(delivery, status=503, outcome="VendorUnavailable")
    Delivery.objects.update(queued_at=timezone.now() - timedelta(days=2, hours=1))
    Lane.objects.update(due_at=timezone.now() + timedelta(minutes=5, seconds=5))
    assert "next attempt in 5 min" in text_of(read_page(client, LOG))
    assert "1 · 4 d left" in text_of(read_page(client, LOG))
    Installation.objects.update(give_up_days=20)
    assert "1 · 18 d left" in text_of(read_page(client, LOG))
    Installation.objects.update(give_up_days=1)
    assert "1 · last attempt" in text_of(read_page(client, LOG))
    Installation.objects.update(give_up_days=None)
    Lane.objects.update(due_at=timezone.now() - timedelta(minutes=5))
    assert "next attempt" not in text_of(read_page(client, LOG))
    Lane.objects.update(paused=True)
    assert "needs attention" in text_of(read_page(client, LOG))
    Installation.objects.update(enabled=False)
    assert "paused" in text_of(read_page(client, LOG))
    assert " left" not in text_of(read_page(client, LOG))
    Delivery.objects.update(state="delivered")
    Installation.objects.update(enabled=True)
    assert " left" not in text_of(read_page(client, LOG))


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ("auto", ""),
        ("hand", "Queued again manually,"),
        ("replay", "Queued again by replay {},"),
        ("backfill", "Queued by backfill {},"),
    ],
)
def test_a_row_says_what_queued_it(client, trigger, words):
    delivery = make_delivery(trigger=trigger)
    replay = Replay.objects.create(
        installation=delivery.installation, wanted={}, first=0, cursor=0, end=9
    )
    Replayed.objects.create(delivery=delivery, replay=replay)
    text = text_of(read_page(client, LOG))
    assert words.format(replay.pk) in text
    assert words or "Queued by" not in text
    assert "Times are in UTC" in text


@pytest.mark.parametrize("part", ["rows/", "summary/", "suggest/", "export/?format=csv"])
def test_it_takes_a_permission_to_read_a_part_of_the_log(client, part):
    client.force_login(make_user("nobody", is_superuser=False))
    assert client.get(f"{LOG}{part}").status_code == 403


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("nothing installed", "Nothing is installed yet, so events are not sent anywhere."),
        ("no event", "Deliveries appear when events arrive."),
        ("not wanted", "Events arrived, but no blueprint has an action for them."),
    ],
)
def test_an_empty_log_says_what_to_do(client, reason, words):
    if reason != "nothing installed":
        make_installation()
    if reason == "not wanted":
        make_event()
    assert words in read_page(client, LOG)


def test_filters_are_chips_that_can_be_taken_away(client):
    make_delivery(state="failed")
    html = read_page(client, LOG, q='user:ada event:"Order Completed" state:failed')
    assert 'aria-label="Remove the filter user:ada"' in html
    assert 'href="?q=event%3A%22Order+Completed%22+state%3Afailed"' in html
    assert "Remove the filter state:failed" not in html  # the state is chosen above the list


def test_a_filter_that_no_index_knows_is_tried_on_a_bounded_part_of_the_log(client, monkeypatch):
    monkeypatch.setattr("delivery.admin.keyset.FILTER_SCAN_ROWS", 3)
    rare = make_event(name="Rare")
    others = [make_event() for _ in range(5)]
    html = read_page(client, EVENTS, event="Rare")
    assert f"{EVENTS}{rare.pk}/change" not in html
    assert f'href="?before={others[2].pk}&amp;event=Rare"' in html
    html = read_page(client, EVENTS, event="Rare", before=others[2].pk)
    assert f"{EVENTS}{rare.pk}/change" in html
    assert "Older →</span>" in html


def test_all_that_match_can_be_delivered_again_by_a_replay_that_says_the_same(client):
    delivery = make_delivery(state="failed")
    html = read_page(client, LOG, q="installation:Heap state:failed user:ada since:2h")
    address = re.search(r'href="([^"]*/replay/new/[^"]*)"', html)[1].replace("&amp;", "&")
    form = client.get(address).context["form"]
    assert form["installation"].value() == str(delivery.installation_id)
    assert form["states"].value() == ["failed"]
    assert form["user_id"].value() == "ada"
    assert form["since"].value()


def test_what_has_no_field_in_a_replay_goes_with_it_as_a_search(client):
    refused, other = make_delivery(state="failed"), make_delivery(state="failed")
    make_attempt(refused, status=400, outcome="MessageRejected")
    make_attempt(other, status=503, outcome="VendorFailed")
    html = read_page(client, LOG, q="installation:Heap state:failed status:4xx -type:page ada")
    address = re.search(r'href="([^"]*/replay/new/[^"]*)"', html)[1].replace("&amp;", "&")
    form = client.get(address).context["form"]
    assert form["q"].value() == "status:4xx -type:page ada"
    fields = {name: form[name].value() for name in ("installation", "states", "q")}
    assert client.post("/admin/delivery/replay/new/", fields).status_code == 302
    replay = Replay.objects.get()
    found = stored_replay_range(replay).matching()
    assert set(found) == {refused}
    shown = read_page(client, f"/admin/delivery/replay/{replay.pk}/change/")
    assert "status:4xx -type:page ada" in shown
    assert f"?q=replay:{replay.pk}" in shown


def test_a_large_replay_is_started_only_after_its_name_is_typed(client, monkeypatch):
    monkeypatch.setattr("delivery.admin.replays.CONFIRM_BY_NAME_ABOVE", 1)
    installation = make_installation()
    for _ in range(2):
        make_delivery(installation, state="failed")
    form = {"installation": installation.pk, "states": ["failed"], "rate": "0.5"}
    new = "/admin/delivery/replay/new/"
    text = text_of(client.post(new, {**form, "preview": "1"}).content.decode())
    assert "2 deliveries match now." in text
    assert "this takes 4.0 s" in text
    assert "to confirm" not in text
    assert "Type Heap to confirm" in text_of(client.post(new, form).content.decode())
    wrong = text_of(client.post(new, {**form, "typed": "heap"}).content.decode())
    assert "exactly as shown" in wrong
    assert not Replay.objects.exists()
    assert client.post(new, {**form, "typed": "Heap"}).status_code == 302
    assert Replay.objects.count() == 1


@pytest.mark.parametrize(
    "q", ["state:failed", "installation:Heap -state:queued", "installation:Heap -resolved:yes"]
)
def test_no_replay_is_offered_that_would_mean_something_else(client, q):
    make_attempt(make_delivery(state="failed"), status=400, outcome="MessageRejected")
    assert listed(client, q=q)
    assert "/replay/new/" not in read_page(client, LOG, q=q)
