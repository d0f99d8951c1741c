"""Previews, test events, and the test of a connection."""

import copy
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from delivery.accounting import metrics, record
from delivery.accounting.ledger import build_ledger
from delivery.models import Attempt, AttemptBody, Delivery, Event, Told
from delivery.operations import alerts
from delivery.status.installations import with_state
from delivery.tester import probe_connection, test_message
from delivery.tester.preview import (
    InvalidMessage,
    NoSuchEvent,
    load_stored_message,
    parse_pasted_message,
    preview_message,
)
from delivery.transform.shape import shape_message
from integrations.blueprints import BlueprintError, compile_blueprint
from integrations.destinations.heap.sandbox import Sandbox
from integrations.models import Installation
from tests.support.factories import make_event, make_installation
from tests.support.fake_vendor import FakeVendor

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECRET = "canary-secret"
CONFIG = {"app_id": "1234567890", "api_key": SECRET}


@pytest.fixture
def heap(settings):
    settings.SANDBOX_URL = "http://127.0.0.1:9"
    return make_installation(config={**CONFIG, "region": "sandbox"})


@pytest.fixture
def vendor(heap, settings):
    with FakeVendor() as vendor:
        settings.SANDBOX_URL = vendor.url
        yield vendor


def track(**fields):
    return parse_pasted_message(
        {"type": "track", "event": "Order Completed", "userId": "ada", "messageId": "message-1"}
        | fields,
        NOW,
    )


def with_trigger(installation, trigger, **fields):
    """Return the installation's blueprint with its first action only and another trigger."""
    action = copy.deepcopy(installation.revision.blueprint["actions"][0])
    return {"version": 1, "actions": [{**action, "trigger": trigger, **fields}]}


# --- the message -------------------------------------------------------------------------------


def test_a_stored_event_is_read_as_it_will_be_delivered():
    message = load_stored_message(make_event(name="Order Completed").pk)
    assert (message.type, message.name, message.user_id) == ("track", "Order Completed", "ada")
    assert message.properties == {"order_id": "A-1001"}


@pytest.mark.django_db
def test_an_event_that_is_gone_is_said_to_be():
    event = make_event()
    event.body.delete()
    for pk in (event.pk, event.pk + 1):
        with pytest.raises(NoSuchEvent, match=f"There is no event {pk}, or its body"):
            load_stored_message(pk)


def test_a_pasted_message_is_read_as_if_a_source_had_sent_it():
    message = track(userId=7, timestamp="2026-11-20T08:00:00Z")
    assert (message.user_id, message.timestamp.day, message.received_at) == ("7", 20, NOW)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "A message must be a JSON object"),
        ({"type": "trak", "userId": "ada"}, "type: must be one of"),
        ({"type": "track", "userId": "ada"}, "event: required for a track"),
        ({"type": "page"}, "userId or anonymousId: one is required"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(given, said):
    with pytest.raises(InvalidMessage, match=said):
        parse_pasted_message(given, NOW)


# --- preview -----------------------------------------------------------------------------------


def test_a_preview_shows_what_each_action_does_and_the_exact_request(heap):
    made = preview_message(heap, track(properties={"total": 5, "cart": {"items": 2}}))
    first, *others = made.actions
    assert (first.name, first.triggered, first.items) == ("Tracked events", True, 1)
    assert first.fields["properties"] == {"total": 5, "cart": {"items": 2}}
    assert [each.reasons for each in others][0] == [
        'type = "page" is not met: the value is "track".'
    ]
    assert not any(each.triggered for each in others)
    [request] = made.requests
    assert (made.outcome, request.method) == ("sent", "POST")
    assert request.url == "http://127.0.0.1:9/api/track"
    assert request.headers["User-Agent"].startswith("Penstock/")
    [event] = json.loads(request.body)["events"]
    assert event["properties"] == {"total": 5, "cart.items": 2}
    assert made.notes == ["Flattened, with dots in the names: properties.cart."]


def test_a_preview_sends_nothing_and_keeps_nothing(vendor, heap):
    preview_message(heap, track(anonymousId="visitor"))
    assert vendor.received == []
    assert not any(model.objects.exists() for model in (Event, Delivery, Attempt, Told))


def test_a_preview_follows_a_blueprint_that_is_not_saved(heap):
    unsaved = with_trigger(heap, 'type = "track" and properties.total > 10')
    made = preview_message(heap, track(properties={"total": 5}), unsaved)
    assert (made.outcome, made.reason) == (
        "filtered",
        "It triggers no action of the blueprint.",
    )
    assert made.actions[0].reasons == ["properties.total > 10 is not met: the value is 5."]
    assert heap.revisions.count() == 1


def test_a_blueprint_that_cannot_be_used_is_refused_with_all_that_is_wrong(heap):
    with pytest.raises(BlueprintError, match="position 6"):
        preview_message(heap, track(), with_trigger(heap, "type track"))


def test_an_action_that_is_switched_off_says_so(heap):
    [step] = preview_message(
        heap, track(), with_trigger(heap, "type = track", enabled=False)
    ).actions
    assert (step.triggered, step.reasons) == (False, ["The action is switched off."])


def test_what_passes_although_no_action_takes_it_is_shown(heap):
    passing = {**with_trigger(heap, "event = Other"), "otherwise": "pass"}
    made = preview_message(heap, track(), passing)
    assert [(each.name, each.triggered) for each in made.actions] == [
        ("Tracked events", False),
        ("Everything else", True),
    ]
    assert made.outcome == "sent"


def test_what_the_destination_refuses_is_said_by_the_action_and_of_the_whole(heap):
    made = preview_message(heap, track(userId="a" * 256))
    assert made.outcome == "failed"
    assert made.reason == made.actions[0].error
    assert "The userId has 256 characters" in made.reason


def test_a_mapping_that_makes_no_object_is_an_error_of_its_action(heap):
    odd = with_trigger(heap, "type = track", mapping={"@path": "$.event"})
    made = preview_message(heap, track(), odd)
    assert made.actions[0].error == "Action 'Tracked events': its mapping must produce an object."
    assert made.outcome == "failed"


def test_a_fact_that_the_vendor_knows_is_not_shown_as_sent(heap):
    message = track(anonymousId="visitor")
    link, _ = preview_message(heap, message).requests
    known = json.loads(link.body)
    Told.objects.create(installation=heap, key=f"link:{known['user_id']}", value=known["identity"])
    made = preview_message(heap, message)
    assert [each.url.rpartition("/")[2] for each in made.requests] == ["track"]
    assert made.notes == [
        f"Not sent again, because the vendor already knows link:{known['user_id']} = ada."
    ]


def test_a_preview_shows_no_secret(heap):
    made = preview_message(heap, track(properties={"key": SECRET}))
    assert SECRET not in made.requests[0].body
    assert "***" in made.requests[0].body


def test_a_preview_needs_no_sandbox_to_show_what_the_actions_do(heap, settings):
    settings.SANDBOX_URL = ""
    made = preview_message(heap, track())
    assert (made.outcome, made.actions[0].triggered) == ("failed", True)
    assert "No sandbox is running here" in made.reason


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ("event = A", ['event = A is not met: the value is "Order Completed".']),
        ("type = track and event = A and userId = bob", [
            'event = A is not met: the value is "Order Completed".',
            'userId = bob is not met: the value is "ada".',
        ]),
        ("event = A or (type = track and userId = null)", [
            'event = A is not met: the value is "Order Completed".',
            'userId = null is not met: the value is "ada".',
        ]),
        ("!(event = A or type = track)", [
            'type = track is met, but must not be: the value is "track".'
        ]),
        ("traits.age >= 18", ["traits.age >= 18 is not met: there is no value."]),
        ('!contains(event, "Order")', [
            '!contains(event, "Order") is not met: the value is "Order Completed".'
        ]),
        ('match( event , "*Paid" )', [
            'match( event , "*Paid" ) is not met: the value is "Order Completed".'
        ]),
    ],
)  # fmt: skip
def test_the_conditions_that_decide_are_named_with_what_was_found(heap, trigger, said):
    [step] = preview_message(heap, track(), with_trigger(heap, trigger)).actions
    assert step.reasons == said


@pytest.mark.parametrize("variant", ["default", "retail", "segment-parity"])
@pytest.mark.parametrize("kind", ["track", "page", "identify", "group"])
def test_a_preview_and_a_delivery_agree(settings, variant, kind):
    installation = make_installation(config={**CONFIG, "region": "us"}, variant=variant)
    message = track(type=kind, groupId="g", traits={"a": 1}, event="Order Completed")
    made = preview_message(installation, message)
    blueprint = compile_blueprint(installation.revision.blueprint)
    parcel = shape_message(message, blueprint, installation.destination, installation.settings())
    assert sum(each.items for each in made.actions) == len(parcel.items)
    assert (made.outcome == "sent") is bool(parcel.items)
    assert any(each.triggered for each in made.actions) is blueprint.wants(
        {"type": kind, "event": "Order Completed"}
    )


# --- test events -------------------------------------------------------------------------------


def test_a_test_event_is_sent_at_once_and_kept_as_attempts_of_a_test(vendor, heap):
    tried = test_message.send_test_event(heap, track(), now=NOW)
    [(path, _, body)] = vendor.received
    [event] = body["events"]
    assert (path, event["event"], event["identity"]) == ("/api/track", "Order Completed", "ada")
    assert (tried.accepted, tried.summary) == (True, "Heap accepted it.")
    attempt = Attempt.objects.get()
    assert (attempt.is_test, attempt.items, attempt.status) == (True, 1, 200)
    assert json.loads(AttemptBody.objects.get().request_body) == body


def test_a_test_event_is_new_to_the_vendor_each_time_and_happens_now(vendor, heap):
    message = load_stored_message(make_event(message_id="message-1").pk)
    tried = [test_message.send_test_event(heap, message, now=NOW) for _ in range(2)]
    events = [body["events"][0] for _, _, body in vendor.received]
    assert [each["idempotency_key"] for each in events] == [each.message_id for each in tried]
    assert len({each.message_id for each in tried}) == 2
    assert all(each.message_id.startswith("penstock-test-") for each in tried)
    assert {each["timestamp"] for each in events} == {"2026-11-21T09:30:00.000Z"}


def test_the_ledger_knows_nothing_of_a_test_event(vendor, heap):
    before = build_ledger()
    test_message.send_test_event(heap, track(), now=NOW)
    assert build_ledger() == before
    assert build_ledger().closes


def test_test_events_that_fail_count_nowhere(vendor, heap):
    """They affect neither metrics nor alerts nor the lane, and leave no delivery."""
    vendor.answers = [(500, {}, "")] * 25
    for _ in range(25):
        assert not test_message.send_test_event(heap, track(), now=timezone.now()).accepted
    assert test_message.send_test_event(heap, track(), now=timezone.now()).accepted
    assert Attempt.objects.filter(is_test=True).count() == 26
    now = timezone.now()
    counted = metrics.read_series(since=now - HOUR, until=now, step=record.MetricStep.MINUTE).total
    assert (counted.attempts, counted.refused, counted.delivered) == (0, 0, 0)
    assert list(alerts.find_alerts(now)) == []
    lane = heap.lanes.get()
    assert (lane.failures, lane.due_at, lane.last_error, lane.paused) == (0, None, "", False)
    assert with_state(Installation.objects.all()).get().delivered_at is None
    assert not Delivery.objects.exists()


def test_what_a_test_event_told_the_vendor_is_not_told_again(vendor, heap):
    message = track(anonymousId="visitor")
    for _ in range(2):
        assert test_message.send_test_event(heap, message, now=NOW).accepted
    assert [path for path, _, _ in vendor.received] == [
        "/api/v1/identify", "/api/track", "/api/track",
    ]  # fmt: skip


def test_a_refused_test_event_says_what_the_vendor_said_and_stops(vendor, heap):
    vendor.answers = [(400, {}, f"postBody.identity is odd {SECRET}")]
    tried = test_message.send_test_event(heap, track(anonymousId="visitor"), now=NOW)
    assert not tried.accepted
    assert tried.summary == "Heap did not accept it. HTTP 400: postBody.identity is odd ***"
    assert "compare Heap's response" in tried.fix
    assert len(vendor.received) == 1
    assert not Told.objects.exists()


def test_a_test_event_that_cannot_be_shaped_says_why(vendor, heap):
    tried = test_message.send_test_event(heap, track(userId="a" * 256), now=NOW)
    assert tried.summary.startswith("Nothing was sent. The userId has 256 characters")
    tried = test_message.send_test_event(heap, track(), with_trigger(heap, "event = A"), now=NOW)
    assert tried.summary == "Nothing was sent. It triggers no action of the blueprint."
    assert vendor.received == []


def test_a_vendor_that_is_away_is_said_to_be(heap):
    tried = test_message.send_test_event(heap, track(), now=NOW)
    assert (tried.accepted, tried.attempts[0].outcome) == (False, "VendorUnavailable")
    assert "Connection refused" in tried.summary


# --- the connection ----------------------------------------------------------------------------


def test_the_connection_is_tested_without_leaving_anything_behind(heap, settings):
    with Sandbox() as sandbox:
        settings.SANDBOX_URL = sandbox.url
        found = probe_connection.test_connection(heap)
        assert [each.level for each in found] == ["good", "good", "unknown"]
        assert "accepts the API key" in found[1].text
        assert "accepts any number as an App ID" in found[2].text
        assert sandbox.state.events == []
    assert not Attempt.objects.exists()


def test_without_a_key_there_is_nothing_to_ask_about_it(vendor, settings):
    bare = make_installation("Bare", config={"app_id": "1", "region": "sandbox"})
    assert [each.level for each in probe_connection.test_connection(bare)] == ["good", "unknown"]


@pytest.mark.parametrize(
    ("answers", "levels", "said"),
    [
        ([400, 401], ["good", "bad", "unknown"], "does not accept the API key"),
        ([400, 500], ["good", "unknown", "unknown"], "did not say whether"),
        ([(403, {}, "Forbidden by squid"), 200], ["bad", "good", "unknown"], "Forbidden by squid"),
    ],
)
def test_what_the_vendor_answers_is_put_in_words(vendor, heap, answers, levels, said):
    vendor.answers = answers
    found = probe_connection.test_connection(heap)
    assert [each.level for each in found] == levels
    assert said in " ".join(each.text for each in found)


def test_a_vendor_that_is_not_there_is_bad_news(heap, settings):
    assert [each.level for each in probe_connection.test_connection(heap)] == [
        "bad",
        "bad",
        "unknown",
    ]
    settings.SANDBOX_URL = ""
    assert "No sandbox is running here" in probe_connection.test_connection(heap)[0].text


def test_a_connection_shows_no_secret(vendor, heap):
    vendor.answers = [(500, {}, f"you said {SECRET}")]
    assert SECRET not in str(probe_connection.test_connection(heap))
