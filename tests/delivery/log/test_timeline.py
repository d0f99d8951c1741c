"""The timeline of a delivery, and the curl command and comparisons of its page."""

import json
import subprocess
from datetime import timedelta

import pytest
from django.utils import timezone

from delivery.log import detail, querysets
from delivery.log.curl import build_curl_command, secret_variable_name
from delivery.log.field_trace import trace_fields
from delivery.log.rejections import mark_wrong_line
from delivery.log.timeline import build_timeline, compare_attempts
from delivery.models import Attempt, EventBody, Lane
from tests.support.factories import make_attempt, make_delivery, make_event

# --- the timeline ------------------------------------------------------------------------------


def moments(delivery):
    return build_timeline(
        detail.get_delivery_detail(delivery.pk, shows_bodies=True), timezone.now()
    )


def titles(delivery):
    return [moment.title for moment in moments(delivery)]


@pytest.mark.django_db
def test_it_goes_from_received_over_each_attempt_to_the_outcome():
    at = timezone.now() - timedelta(minutes=10)
    delivery = make_delivery(event=make_event(received_at=at), queued_at=at, state="delivered")
    make_attempt(delivery, started_at=at, status=503, outcome="VendorUnavailable")
    make_attempt(delivery, started_at=at + timedelta(seconds=30))
    assert titles(delivery) == [
        "Received", "Stored and queued", "Triggered", "Shaped", "Attempt 1", "Waited 30 s",
        "Attempt 2", "Delivered",
    ]  # fmt: skip


@pytest.mark.django_db
def test_it_names_the_action_that_was_triggered_and_why_the_others_were_not():
    [_, _, triggered, *_] = moments(make_delivery())
    assert triggered.detail == "Tracked events (track)"
    assert "other actions not triggered" in triggered.folded[0]
    assert any('type = "identify"' in line for line in triggered.folded[1])


@pytest.mark.django_db
def test_it_tells_what_was_changed_on_arrival_and_on_the_way():
    event = make_event(notes=json.dumps(["The clock was wrong."]))
    delivery = make_delivery(event=event, state="delivered", notes=json.dumps(["Cut: name."]))
    received, _, _, shaped, *_ = moments(delivery)
    assert received.lines == ["The clock was wrong."]
    assert shaped.lines == ["Cut: name."]


@pytest.mark.django_db
def test_it_tells_what_was_queued_again():
    at = timezone.now() - timedelta(hours=2)
    delivery = make_delivery(event=make_event(received_at=at))
    make_attempt(delivery, started_at=at, status=400, outcome="MessageRejected")
    assert titles(delivery)[-3:] == ["Attempt 1", "Queued again", "Queued"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ("hand", ("Queued again", "by hand")),
        ("replay", ("Queued again", "by a replay")),
        ("backfill", ("Queued by a backfill", "")),
    ],
)
def test_it_tells_who_queued_it_again(trigger, said):
    event = make_event(received_at=timezone.now() - timedelta(hours=2))
    delivery = make_delivery(event=event, trigger=trigger)
    assert said in [(each.title, each.detail) for each in moments(delivery)]


@pytest.mark.django_db
def test_an_attempt_says_who_sent_it_and_how_long_each_step_took():
    at = timezone.now() - timedelta(minutes=10)
    end = at + timedelta(milliseconds=1_350)
    delivery = make_delivery(event=make_event(received_at=at), state="delivered", settled_at=end)
    sent_at = at + timedelta(milliseconds=12)
    first = make_attempt(
        delivery, status=None, outcome="VendorUnavailable", started_at=sent_at, duration_ms=5
    )
    last = make_attempt(delivery, started_at=sent_at + timedelta(seconds=1), duration_ms=331)
    assert [each.steps for each in moments(delivery) if each.delivery_attempt] == [
        [],
        [],
    ]  # the steps are unknown
    Attempt.objects.filter(pk=first.pk).update(worker="web-1:7", taken_at=at)
    Attempt.objects.filter(pk=last.pk).update(worker="web-2:8", taken_at=at + timedelta(seconds=1))
    taken = "Taken from the queue by"
    assert [each.steps for each in moments(delivery) if each.delivery_attempt] == [
        [f"{taken} web-1:7", "sent 12 ms later", "ended without a response after 5 ms"],
        [f"{taken} web-2:8", "sent 12 ms later", "answered after 331 ms",
         "recorded 7 ms later"],
    ]  # fmt: skip


@pytest.mark.django_db
def test_attempts_are_compared_each_with_the_one_before_it():
    at = timezone.now() - timedelta(minutes=10)
    delivery = make_delivery(event=make_event(received_at=at), queued_at=at, state="delivered")
    fields = {"outcome": "VendorUnavailable", "duration_ms": 500, "worker": "web-1:7"}
    for seconds, changed in enumerate(
        ({"status": 503, "error": "HTTP 503"}, {"status": 503, "error": "HTTP 503"},
         {"status": None, "error": "timed out"}, {"outcome": "accepted", "worker": "web-2:8"})
    ):  # fmt: skip
        make_attempt(delivery, started_at=at + timedelta(seconds=2 + seconds), **fields | changed)
    found = compare_attempts(detail.get_delivery_detail(delivery.pk, shows_bodies=True))
    assert [each.number for each in found] == [4, 3, 2, 1]
    assert [set(each.changed_fields) for each in found] == [
        {"answer", "outcome", "error", "worker"}, {"answer", "error"}, set(), set(),
    ]  # fmt: skip
    assert [each.wait_text for each in found] == ["500 ms", "500 ms", "500 ms", "2.0 s"]


@pytest.mark.django_db
def test_one_that_waits_ends_with_when_it_goes_on():
    delivery = make_delivery(error="VendorUnavailable")
    Lane.objects.update(due_at=timezone.now() + timedelta(minutes=2), last_error="HTTP 503")
    assert "the next attempt is at" in moments(delivery)[-1].detail


@pytest.mark.django_db
def test_without_a_body_it_says_that_the_blueprint_cannot_be_asked():
    delivery = make_delivery(state="delivered")
    EventBody.objects.all().delete()
    assert "no longer stored" in moments(delivery)[2].detail


@pytest.mark.django_db
def test_the_same_persons_deliveries_are_beside_each_other():
    first, other, second = (
        make_delivery(event=make_event(user_id=user)) for user in ("ada", "grace", "ada")
    )
    assert querysets.find_adjacent_delivery(first, newer=True) == second.pk
    assert querysets.find_adjacent_delivery(second, newer=False) == first.pk
    assert (
        querysets.find_adjacent_delivery(other, newer=True)
        is querysets.find_adjacent_delivery(other, newer=False)
        is None
    )


# --- curl --------------------------------------------------------------------------------------


def run(command, **variables):
    """Return the arguments that curl would receive."""
    script = command.replace("curl ", "printf '%s\\n' ", 1)
    done = subprocess.run(["sh", "-c", script], env=variables, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_command_says_the_request_with_secrets_from_the_shell():
    headers = {"Authorization": "Basic ***", "Content-Length": "9", "X-It's": "a $HOME `b`"}
    body = '{"key": "***", "it\'s": "$(x)"}'
    command = build_curl_command(
        "POST", "https://heap.test/a?k=***", headers, body, shell_variable="HEAP_API_KEY"
    )
    assert run(command, HEAP_API_KEY="s e") == [
        "-X", "POST", "https://heap.test/a?k=s e", "-H", "Authorization: Basic s e",
        "-H", "X-It's: a $HOME `b`", "--data-raw", '{"key": "s e", "it\'s": "$(x)"}',
    ]  # fmt: skip


def test_the_shell_variable_is_named_after_vendor_and_secret():
    assert secret_variable_name("heap", frozenset({"api_key"})) == "HEAP_API_KEY"
    assert secret_variable_name("some-vendor", frozenset({"a", "b"})) == "SOME_VENDOR_SECRET"


# --- from event to payload ---------------------------------------------------------------------


def fates(event, payload):
    return {(each.path or each.sent_as): each.change for each in trace_fields(event, payload)}


def test_each_field_is_the_same_or_changed_or_renamed_or_not_sent_or_added():
    event = {
        "userId": "ada", "type": "track",
        "properties": {"total": 12.5, "gift": True, "list": [1, 2], "coupon": None},
    }  # fmt: skip
    payload = {
        "app_id": "1",
        "events": [
            {"identity": "ada", "properties": {"total": 12.5, "gift": "true", "list": "[1,2]"}}
        ],
    }  # fmt: skip
    assert fates(event, payload) == {
        "userId": "renamed",
        "type": "not sent",
        "properties.total": "same",
        "properties.gift": "same",
        "properties.list[0]": "not sent",
        "properties.list[1]": "not sent",
        "properties.coupon": "not sent",
        "app_id": "added",
        "events[0].properties.list": "added",
    }


def test_what_differs_comes_first():
    event, payload = {"a": "one", "b": "two", "c": "three"}, {"a": "one", "b": "2"}
    assert [each.change for each in trace_fields(event, payload)] == ["changed", "not sent", "same"]


def test_a_short_value_alone_does_not_make_two_fields_one():
    assert fates({"a": "1"}, {"b": "1"}) == {"a": "not sent", "b": "added"}


@pytest.mark.parametrize(("event", "payload"), [({}, {}), ([], "text"), ("text", None)])
def test_odd_values_are_compared_too(event, payload):
    assert isinstance(trace_fields(event, payload), list)


# --- rejected messages -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ('{"type": "trak", "userId": "x"}', "type: must be one of track.", '  "type": "trak",'),
        ('{"userId": 5, "event": ""}', "event: required for a track.", '  "event": ""'),
        ('{"anonymousId": ""}', "userId or anonymousId: one is required.", '  "anonymousId": ""'),
        ('{"a": 1, "b": {"a": [0]}}', "Expected `str` - at `$.b.a`", '    "a": ['),
        ('{"a": 1,\n "b": }', "JSON is malformed: invalid character (byte 15)", ' "b": }'),
        ('{"userId": "x"}', "event: required for a track.", None),
        ("", "The message cannot be parsed.", None),
    ],
)  # fmt: skip
def test_the_line_that_is_wrong_is_marked(text, reason, line):
    wrong = [each.text for each in mark_wrong_line(text, reason) if each.is_wrong]
    assert wrong == ([line] if line else [])
