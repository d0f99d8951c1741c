"""Batches: from the queue to the vendor and into the log."""

import json
import logging
import os
import socket
import threading
from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from delivery.ingest import envelope as ingest_envelope
from delivery.ingest import parsing
from delivery.ingest.parsing import IngestLimits, RequestContext
from delivery.ingest.store import store_messages
from delivery.lanes import leases
from delivery.lanes.leases import LeaseLost
from delivery.models import Attempt, AttemptBody, Delivery, EventBody, Lane, Told
from delivery.outbound import client, retry
from delivery.status.installations import describe_installation, with_state
from delivery.worker import attempt, batch, batch_sender, lane_threads, settle, shape_batch
from delivery.worker import drain as worker_drain
from delivery.worker.batch import deliver_batch
from integrations.catalog import catalog
from integrations.destination import ShapedMessage
from integrations.installations.install import install
from integrations.models import Installation
from tests.support.fake_vendor import FakeVendor, reset_connection
from tests.support.processes import eventually

pytestmark = pytest.mark.django_db

CANARY = "canary-/\"secret'+ü"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(worker_drain, "IDLE_STAY", 0)
    yield
    attempt.shared_session().close()  # closes connections, so that the vendor's threads end


@pytest.fixture
def heap(settings):
    settings.SANDBOX_URL = "http://127.0.0.1:9"
    config = {"app_id": "123", "api_key": CANARY}
    return install(catalog()["heap"], name="Heap", config=config)


@pytest.fixture
def vendor(heap, settings):
    with FakeVendor() as vendor:
        settings.SANDBOX_URL = vendor.url
        yield vendor


def send_in(source, *messages):
    """Store messages as a request would."""
    body = json.dumps({"batch": messages}).encode()
    _, envelope, _ = ingest_envelope.parse_envelope(body)
    now = timezone.now()
    terms = RequestContext(now=now, limits=IngestLimits(65_536, 2_500, 5_000_000))
    read = parsing.parse_messages(body, envelope, terms)
    assert not read.rejected
    store_messages(source, read.messages, (), now=now)


def tracks(count, **fields):
    return [
        {"type": "track", "event": f"E{n}", "userId": "ada", "messageId": f"message-{n:04}"}
        | fields
        for n in range(count)
    ]


def drain():
    done = worker_drain.drain_lane(Lane.objects.get().pk)
    return done, {d.event.message_id: d for d in Delivery.objects.select_related("event")}


def keys(vendor):
    """Return the idempotency keys of each request, in order."""
    return [[e["idempotency_key"] for e in body["events"]] for _, _, body in vendor.received]


def test_a_batch_is_one_request_in_the_order_received(source, heap, vendor):
    send_in(source, *tracks(5))
    done, deliveries = drain()
    assert keys(vendor) == [[f"message-{n:04}" for n in range(5)]]
    assert done == 5
    assert {d.state for d in deliveries.values()} == {"delivered"}
    attempt = Attempt.objects.get()
    assert (attempt.status, attempt.outcome, attempt.items) == (200, "accepted", 5)
    assert [c.position for c in attempt.carried.order_by("delivery_id")] == [0, 1, 2, 3, 4]
    assert {d.last_attempt_id for d in deliveries.values()} == {attempt.pk}
    assert {d.revision_id for d in deliveries.values()} == {heap.revision_id}


def test_the_log_has_exactly_what_was_sent_and_answered(source, heap, vendor):
    vendor.answers = [(200, {"X-Answer": "yes"}, '{"fine":true}')]
    send_in(source, *tracks(1))
    drain()
    body = AttemptBody.objects.get()
    [(_, headers, sent)] = vendor.received
    assert json.loads(body.request_body) == sent
    assert headers.items() >= json.loads(body.request_headers).items()
    assert body.response_body == '{"fine":true}'
    assert json.loads(body.response_headers)["X-Answer"] == "yes"


def test_an_attempt_says_which_process_sent_it_and_when_that_had_taken_it(source, heap, vendor):
    send_in(source, *tracks(1))
    before = timezone.now()
    drain()
    attempt = Attempt.objects.get()
    assert attempt.worker == f"{socket.gethostname()}:{os.getpid()}"
    assert before < attempt.taken_at < attempt.started_at


@pytest.mark.parametrize("answer", [500, 503, 429, 408, 302, reset_connection])
def test_while_the_vendor_is_unavailable_the_lane_waits_and_nothing_is_lost(
    source, heap, vendor, monkeypatch, answer
):
    vendor.answers = [answer]
    send_in(source, *tracks(3))
    before = timezone.now()
    monkeypatch.setattr(worker_drain, "SHORT_WAIT", 0)
    monkeypatch.setattr(retry, "RETRY_SCHEDULE", (60,))  # longer than a slow settlement
    done, deliveries = drain()
    lane = Lane.objects.get()
    assert done == 0
    assert {(d.state, d.attempts, d.error) for d in deliveries.values()} == {
        ("queued", 1, "VendorFailed" if answer == 500 else "VendorUnavailable")
    }
    assert lane.failures == 1
    assert timedelta(seconds=48) <= lane.due_at - before <= timedelta(seconds=90)
    assert lane.lease is None
    assert worker_drain.drain_lane(lane.pk) == 0  # it is not due yet
    Lane.objects.update(due_at=timezone.now())
    done, deliveries = drain()
    assert {(d.state, d.attempts, d.error) for d in deliveries.values()} == {("delivered", 2, "")}
    assert keys(vendor)[0] == keys(vendor)[1]  # so that the vendor can ignore a repetition
    lane.refresh_from_db()
    assert (lane.failures, lane.due_at, lane.last_error) == (0, None, "")


def test_who_stops_hands_the_lane_on(source, heap, vendor, monkeypatch, tmp_path):
    """The supervisor of another cluster can then wake the lane at once."""
    stop_file = tmp_path / "stop"
    stop_file.touch()
    send_in(source, *tracks(1))
    Lane.objects.update(woken_at=timezone.now())
    monkeypatch.setenv("PENSTOCK_STOP_FILE", str(stop_file))
    assert drain()[0] == 0
    assert Lane.objects.get().woken_at is None
    assert vendor.received == []


def test_a_short_wait_is_waited_out_with_the_lease(source, heap, vendor):
    vendor.answers = [503]
    send_in(source, *tracks(1))
    done, _ = drain()
    assert done == 1
    assert len(vendor.received) == 2


def test_the_vendor_is_not_asked_again_before_the_time_it_named(source, heap, vendor):
    vendor.answers = [(429, {"Retry-After": "120"}, "")]
    send_in(source, *tracks(1))
    before = timezone.now()
    drain()
    wait = Lane.objects.get().due_at - before
    assert timedelta(seconds=120) <= wait <= timedelta(seconds=125)


def test_what_is_too_old_is_given_up_when_the_vendor_stays_away(source, heap, vendor, monkeypatch):
    vendor.answers = [503]
    send_in(source, *tracks(2))
    old = Delivery.objects.order_by("pk").first()
    Delivery.objects.filter(pk=old.pk).update(queued_at=timezone.now() - timedelta(days=7.1))
    monkeypatch.setattr(worker_drain, "SHORT_WAIT", 0)
    done, deliveries = drain()
    assert done == 1
    assert [d.state for _, d in sorted(deliveries.items())] == ["failed", "queued"]
    assert "Gave up after 7 days" in deliveries["message-0000"].reason


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_pause_the_lane_until_it_is_resumed(source, heap, vendor, status):
    vendor.answers = [(status, {}, "who are you?")]
    send_in(source, *tracks(2))
    done, deliveries = drain()
    lane = Lane.objects.get()
    assert done == 0
    assert lane.paused
    assert "who are you?" in lane.last_error
    assert {d.state for d in deliveries.values()} == {"queued"}
    assert drain()[0] == 0
    assert len(vendor.received) == 1
    Lane.objects.update(paused=False)
    assert drain()[0] == 2


def refuse_those_with(vendor, words):
    def answer(handler):
        body = json.dumps(vendor.received[-1][2])
        status = 400 if words in body else 200
        handler.send_response(status)
        handler.send_header("Content-Length", "3")
        handler.end_headers()
        handler.wfile.write(b"bad" if status == 400 else b"{} ")

    return answer


def test_a_guilty_message_stands_alone_and_the_others_go_on(source, heap, vendor):
    messages = tracks(64)
    messages[37]["properties"] = {"guilty": "yes"}
    send_in(source, *messages)
    vendor.answers = [refuse_those_with(vendor, "guilty")] * 100
    done, deliveries = drain()
    assert done == 64
    failed = [d for d in deliveries.values() if d.state == "failed"]
    assert [d.event.message_id for d in failed] == ["message-0037"]
    assert (failed[0].error, "bad" in failed[0].reason) == ("MessageRejected", True)
    assert sum(d.state == "delivered" for d in deliveries.values()) == 63
    assert len(vendor.received) <= 2 * 6 + 1  # 2·log2(n) + k
    accepted = [key for key, (_, _, body) in zip(keys(vendor), vendor.received, strict=True)
                if "guilty" not in json.dumps(body)]  # fmt: skip
    sent = [each for request in accepted for each in request]
    assert sent == [f"message-{n:04}" for n in range(64) if n != 37]  # and still in order


def test_a_bug_for_one_message_fails_that_message_alone(source, heap, vendor, monkeypatch, caplog):
    def items(action, message, config, real=heap.destination.items):
        if message.name == "E1":
            raise ZeroDivisionError("oops")
        return real(action, message, config)

    broken = _with_items(heap.destination, items)
    monkeypatch.setitem(catalog(), "heap", broken)
    send_in(source, *tracks(3))
    with caplog.at_level(logging.CRITICAL):
        _, deliveries = drain()
    assert [d.state for _, d in sorted(deliveries.items())] == ["delivered", "failed", "delivered"]
    assert "oops" in deliveries["message-0001"].reason


def test_what_kills_its_workers_is_found_within_five_claims_and_fails_alone(
    source, heap, vendor, monkeypatch
):
    class Died(BaseException):
        pass

    def shape_or_die(message, *rest, real=shape_batch.shape_message):
        if message.message_id == "message-0003":
            raise Died
        return real(message, *rest)

    send_in(source, *tracks(6))
    lane = Lane.objects.get().pk
    monkeypatch.setattr(shape_batch, "shape_message", shape_or_die)
    died = 0
    while (held := leases.acquire_lease(lane, timezone.now())) and died < 10:
        try:
            deliver_batch(held, go_on=lambda: True)
            break
        except Died:
            died += 1
            Lane.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert died == 4
    states = {d.event.message_id: d for d in Delivery.objects.select_related("event")}
    assert states.pop("message-0003").reason == "4 workers crashed, the last two on this delivery."
    assert {d.state for d in states.values()} == {"delivered"}
    leases.release_lease(held)
    lane = Lane.objects.get()
    assert (lane.deaths, lane.suspect, lane.suspected) == (0, None, 0)


def test_care_ends_when_as_many_are_done_as_the_dead_could_have_had(
    source, heap, vendor, settings, monkeypatch
):
    monkeypatch.setattr(batch, "CAREFUL_BATCH_SIZE", 2)
    settings.BATCH_SIZE = 4
    send_in(source, *tracks(5))
    Lane.objects.update(deaths=leases.CAREFUL_AFTER_CRASHES)
    noted = []
    real = leases.mark_suspect
    monkeypatch.setattr(leases, "mark_suspect", lambda *args: (noted.append(args[1]), real(*args)))
    drain()
    assert len([pk for pk in noted if pk]) == 4


def test_a_lease_from_a_clock_that_was_set_back_is_no_lease(source, heap, vendor):
    send_in(source, *tracks(1))
    lane = Lane.objects.get().pk
    ahead = timezone.now() + timedelta(hours=1)
    assert leases.acquire_lease(lane, ahead)
    assert drain()[0] == 1


def test_a_body_that_cannot_be_read_fails_alone(source, heap, vendor, caplog):
    send_in(source, *tracks(2))
    first = Delivery.objects.order_by("pk").first()
    EventBody.objects.filter(event=first.event_id).update(text='{"a":' * 5_000 + "1" + "}" * 5_000)
    with caplog.at_level(logging.CRITICAL):
        _, deliveries = drain()
    assert [d.state for _, d in sorted(deliveries.items())] == ["failed", "delivered"]
    assert "RecursionError" in deliveries["message-0000"].reason


def test_nothing_to_send_is_filtered_with_the_reason(source, heap, vendor, monkeypatch):
    nothing = _with_items(heap.destination, lambda *_: ShapedMessage(nothing="Not today."))
    monkeypatch.setitem(catalog(), "heap", nothing)
    send_in(source, *tracks(1))
    _, deliveries = drain()
    [delivery] = deliveries.values()
    assert (delivery.state, delivery.reason) == ("filtered", "Not today.")
    assert vendor.received == []


def test_a_delivery_keeps_its_last_attempt_when_nothing_more_is_sent(
    source, heap, vendor, monkeypatch
):
    send_in(source, *tracks(1))
    drain()
    nothing = _with_items(heap.destination, lambda *_: ShapedMessage(nothing="Not today."))
    monkeypatch.setitem(catalog(), "heap", nothing)
    Delivery.objects.update(state="queued")
    _, deliveries = drain()
    [delivery] = deliveries.values()
    assert (delivery.state, delivery.attempts) == ("filtered", 1)
    assert delivery.last_attempt == Attempt.objects.get()


def test_what_cannot_be_written_down_whole_is_not_written_at_all(source, heap, vendor, monkeypatch):
    def broken(*args):
        raise OperationalError("the disk is full")

    send_in(source, *tracks(1))
    with monkeypatch.context() as broke:
        broke.setattr(settle, "_update_deliveries", broken)
        with pytest.raises(OperationalError):
            drain()
    assert not Attempt.objects.exists()
    assert drain()[0] == 1  # the lease was released


def test_a_vendor_is_told_once_who_a_visitor_is(source, heap, vendor):
    for n, message in enumerate(tracks(3, anonymousId="visitor")):
        send_in(source, message)
        if n != 1:
            drain()
    paths = [path for path, _, _ in vendor.received]
    assert paths == ["/api/v1/identify", "/api/track", "/api/track"]
    assert Told.objects.count() == 1


def test_another_identity_for_the_same_visitor_is_not_sent_and_noted(source, heap, vendor):
    send_in(source, *tracks(1, anonymousId="visitor"))
    send_in(source, *tracks(1, anonymousId="visitor", userId="bob", messageId="other-message"))
    _, deliveries = drain()
    assert [path for path, _, _ in vendor.received].count("/api/v1/identify") == 1
    assert "ada" in deliveries["other-message"].notes


def test_a_link_that_failed_is_sent_with_the_next_message(source, heap, vendor):
    vendor.answers = [400]
    send_in(source, *tracks(1, anonymousId="visitor"))
    drain()
    assert Told.objects.count() == 0
    send_in(source, *tracks(1, anonymousId="visitor", messageId="next-message"))
    drain()
    assert [path for path, _, _ in vendor.received].count("/api/v1/identify") == 2


def test_a_paused_installation_sends_nothing_and_keeps_its_queue(source, heap, vendor):
    heap.enabled = False
    heap.save()
    send_in(source, *tracks(2))
    assert drain()[0] == 0
    assert Delivery.objects.filter(state="queued").count() == 2
    heap.enabled = True
    heap.save()
    assert drain()[0] == 2


def test_secrets_reach_neither_attempt_nor_delivery(source, heap, vendor, monkeypatch):
    """However they got into a request, and however the vendor repeats them."""
    response = json.dumps({"you said": CANARY})
    vendor.answers = [(400, {"X-Echo": "canary"}, response)]
    send_in(source, *tracks(1, properties={"mistake": CANARY}))
    _, deliveries = drain()
    [delivery] = deliveries.values()
    body = AttemptBody.objects.get()
    kept = delivery.reason + Attempt.objects.get().error + "".join(
        (body.request_body, body.response_body, body.request_headers, body.response_headers)
    )  # fmt: skip
    assert "***" in body.request_body
    assert "***" in body.response_body
    assert "canary-/" not in kept


@pytest.mark.parametrize("status", [401, 503])
def test_what_a_lane_says_holds_no_secret(source, heap, vendor, status):
    vendor.answers = [(status, {}, f"you said {CANARY}")]
    send_in(source, *tracks(1))
    with patch.object(worker_drain, "SHORT_WAIT", 0):
        drain()
    assert Lane.objects.get().last_error.endswith(f"HTTP {status}: you said ***")


@pytest.mark.parametrize("part", ["limits", "request", "judge", "allowances"])
def test_a_bug_in_a_destination_pauses_its_lane_and_is_named(source, heap, vendor, part):
    """No message is at fault, so none fails; unless paused, the lane would retry for ever."""
    send_in(source, *tracks(2, anonymousId="visitor"))
    with patch.dict(catalog(), heap=replace(catalog()["heap"], **{part: broken})):
        drain()
    lane = Lane.objects.get()
    assert (lane.paused, Delivery.objects.filter(state="queued").count()) == (True, 2)
    assert lane.last_error == (
        "Heap's code here cannot use its settings, or has a bug: KeyError('app_id')"
    )
    Lane.objects.all().resume()
    drain()
    assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}


def broken(*_):
    raise KeyError("app_id")


def test_unreadable_secrets_pause_the_lane_and_say_what_to_do(source, heap, vendor, settings):
    send_in(source, *tracks(1))
    settings.SECRETS_KEYS = ["b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXItb3Q="]
    assert drain()[0] == 0
    lane = Lane.objects.get()
    assert lane.paused
    assert "PENSTOCK_SECRETS_KEYS" in lane.last_error


# --- a message on which the vendor fails ------------------------------------------------------


def fail_on(vendor, words, status=500):
    """Respond with `status` to every request that contains these words, however often."""

    def answer(handler):
        guilty = words in json.dumps(vendor.received[-1][2])
        handler.send_response(status if guilty else 200)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    vendor.answers = [answer] * 1_000


def drain_without_waiting(monkeypatch, times):
    monkeypatch.setattr(worker_drain, "SHORT_WAIT", 0)
    for _ in range(times):
        Lane.objects.update(due_at=None)
        _, deliveries = drain()
    return deliveries


def test_a_poisonous_message_is_found_and_set_aside_and_the_others_go_on(
    source, heap, vendor, monkeypatch
):
    fail_on(vendor, "poison")
    messages = tracks(64)
    messages[21]["properties"] = {"poison": "yes"}
    send_in(source, *messages)
    deliveries = drain_without_waiting(monkeypatch, 3)
    poison = deliveries["message-0021"]
    assert (poison.state, poison.error) == ("queued", "VendorFailed")
    assert poison.failures >= 1  # a busy machine may retry it before the third drain
    assert poison.due_at > timezone.now() - timedelta(seconds=1)
    assert "Set aside" in poison.reason
    assert sum(d.state == "delivered" for d in deliveries.values()) == 63
    lane = Lane.objects.get()
    assert (lane.failures, lane.due_at) == (0, None)
    assert len(vendor.received) <= 2 + 2 * 6 + 1


def test_what_was_set_aside_is_tried_alone_and_delays_nobody(source, heap, vendor, monkeypatch):
    fail_on(vendor, "poison")
    messages = tracks(2)
    messages[0]["properties"] = {"poison": "yes"}
    send_in(source, *messages)
    drain_without_waiting(monkeypatch, 3)
    Delivery.objects.filter(state="queued").update(due_at=timezone.now())
    send_in(source, *tracks(1, messageId="fresh-message"))
    vendor.received.clear()
    _, deliveries = drain()
    assert keys(vendor) == [["fresh-message"], ["message-0000"]]
    assert deliveries["fresh-message"].state == "delivered"
    poison = deliveries["message-0000"]
    assert (poison.state, poison.failures) == ("queued", 2)
    assert poison.due_at - timezone.now() > timedelta(seconds=3)  # the retry schedule continues
    assert Lane.objects.get().failures == 0
    vendor.answers.clear()
    Delivery.objects.filter(state="queued").update(due_at=timezone.now())
    _, deliveries = drain()
    assert deliveries["message-0000"].state == "delivered"


def test_a_vendor_that_fails_on_everything_is_not_taken_for_poison(
    source, heap, vendor, monkeypatch
):
    fail_on(vendor, "")
    send_in(source, *tracks(64))
    deliveries = drain_without_waiting(monkeypatch, 3)
    assert {(d.state, d.failures) for d in deliveries.values()} == {("queued", 0)}
    assert Lane.objects.get().failures == 3
    assert len(vendor.received) <= 2 + 6 + 3


def test_a_lone_message_that_fails_makes_the_lane_wait(source, heap, vendor, monkeypatch):
    fail_on(vendor, "")
    send_in(source, *tracks(1))
    deliveries = drain_without_waiting(monkeypatch, 4)
    assert deliveries["message-0000"].failures == 0
    assert Lane.objects.get().failures == 4


@pytest.mark.parametrize("status", [429, 503])
def test_a_vendor_that_says_it_is_busy_is_not_searched_for_poison(
    source, heap, vendor, monkeypatch, status
):
    fail_on(vendor, "", status)
    send_in(source, *tracks(64))
    drain_without_waiting(monkeypatch, 4)
    assert [len(each) for each in keys(vendor)] == [64] * 4


def test_what_was_set_aside_for_too_long_is_given_up(source, heap, vendor, monkeypatch):
    fail_on(vendor, "poison")
    messages = tracks(2)
    messages[0]["properties"] = {"poison": "yes"}
    send_in(source, *messages)
    drain_without_waiting(monkeypatch, 3)
    heap.give_up_days = 1
    heap.save()
    day = timezone.now() - timedelta(days=1.1)
    Delivery.objects.filter(state="queued").update(due_at=timezone.now(), queued_at=day)
    _, deliveries = drain()
    assert deliveries["message-0000"].state == "failed"
    assert "Gave up after 1 days" in deliveries["message-0000"].reason


def test_a_message_too_large_fails_with_its_size(source, heap, vendor):
    vendor.answers = [413, 413, 200]
    send_in(source, *tracks(2))
    _, deliveries = drain()
    assert deliveries["message-0000"].error == "TooLarge"
    assert "bytes" in deliveries["message-0000"].reason
    assert deliveries["message-0001"].state == "delivered"


# --- the circuit -------------------------------------------------------------------------------


def test_after_five_failures_one_delivery_asks_and_then_all_go(source, heap, vendor, monkeypatch):
    vendor.answers = [503] * 6
    send_in(source, *tracks(10))
    drain_without_waiting(monkeypatch, 6)
    assert [len(each) for each in keys(vendor)] == [10, 10, 10, 10, 10, 1]
    drain_without_waiting(monkeypatch, 1)
    assert [len(each) for each in keys(vendor)[6:]] == [1, 9]


def test_a_lane_knows_since_when_its_vendor_fails(source, heap, vendor, monkeypatch):
    vendor.answers = [503] * 3
    send_in(source, *tracks(1))
    drain_without_waiting(monkeypatch, 1)
    began = Lane.objects.get().changed_at
    drain_without_waiting(monkeypatch, 2)
    assert (Lane.objects.get().failures, Lane.objects.get().changed_at) == (3, began)
    drain_without_waiting(monkeypatch, 1)
    assert Lane.objects.get().changed_at > began


def test_while_a_vendor_that_failed_is_tried_again_it_is_still_waited_for(
    source, heap, vendor, monkeypatch
):
    vendor.answers = [503] * 2
    send_in(source, *tracks(1))
    monkeypatch.setattr(worker_drain, "SHORT_WAIT", 0)
    send, states = client.send_request, []

    def state():
        [installation] = with_state(Installation.objects.all())
        words = describe_installation(installation, installation.lanes.all(), timezone.now())
        return words.title, words.detail.rpartition("; ")[2]

    monkeypatch.setattr(
        client, "send_request", lambda *a, **k: (states.append(state()), send(*a, **k))[1]
    )
    for _ in range(3):
        drain()
        Lane.objects.update(due_at=timezone.now())
    assert states == [("Delivering", ""), *[("Waiting for Heap", "a retry is running now")] * 2]
    assert state() == ("Up to date", "")


def test_what_one_lane_learns_of_the_vendor_its_other_lanes_know(source, heap, vendor, monkeypatch):
    heap.lane_count = 2
    heap.save()
    vendor.answers = [503] * 5
    for user in "abcdefgh":
        send_in(source, *tracks(1, userId=user, messageId=f"of-user-{user}"))
    one, other = Lane.objects.order_by("pk")
    monkeypatch.setattr(worker_drain, "SHORT_WAIT", 0)
    for _ in range(5):
        Lane.objects.filter(pk=one.pk).update(due_at=None)
        worker_drain.drain_lane(one.pk)
    one.refresh_from_db()
    other.refresh_from_db()
    assert other.failures == 5
    assert other.due_at > one.due_at
    Lane.objects.filter(pk=one.pk).update(due_at=None)
    worker_drain.drain_lane(one.pk)
    other.refresh_from_db()
    assert (other.failures, other.due_at) == (0, None)


# --- lanes by user -----------------------------------------------------------------------------


def test_each_user_stays_in_one_lane(source, heap, vendor):
    heap.lane_count = 4
    heap.save()
    for number in range(3):
        for user in range(20):
            send_in(source, *tracks(1, userId=f"u{user}", messageId=f"message-{number}-{user}"))
    by_user = {}
    for user, lane in Delivery.objects.values_list("event__user_id", "lane"):
        by_user.setdefault(user, set()).add(lane)
    assert {len(used) for used in by_user.values()} == {1}
    assert len(set.union(*by_user.values())) == 4
    for lane in Lane.objects.all():
        worker_drain.drain_lane(lane.pk)
    assert Delivery.objects.filter(state="delivered").count() == 60


def test_a_blueprint_that_cannot_be_used_loses_nothing_and_says_why(source, heap, vendor):
    action = {"name": "A", "trigger": "evnt = 1", "kind": "track", "mapping": {}}
    blueprint = {"version": 1, "actions": [action]}
    heap.revision = heap.revisions.create(number=2, blueprint=blueprint)
    heap.save()
    send_in(source, *tracks(1))
    assert drain()[0] == 0
    lane = Lane.objects.get()
    assert lane.paused
    assert "actions/0/trigger: position 1: expected a field" in lane.last_error
    assert Delivery.objects.get().state == "queued"


# --- the lease ---------------------------------------------------------------------------------


def test_a_lane_has_one_worker_at_a_time(source, heap, vendor):
    send_in(source, *tracks(1))
    lane = Lane.objects.get()
    now = timezone.now()
    held = leases.acquire_lease(lane.pk, now)
    assert leases.acquire_lease(lane.pk, now) is None
    assert worker_drain.drain_lane(lane.pk) == 0
    leases.release_lease(held)
    assert leases.acquire_lease(lane.pk, now) is not None


@pytest.mark.django_db(transaction=True)
def test_of_workers_that_lease_in_the_same_moment_one_gets_the_lane(source, heap):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite in memory has one connection")
    send_in(source, *tracks(1))
    lane = Lane.objects.get()
    taken = []

    def lease():
        taken.append(leases.acquire_lease(lane.pk, timezone.now()))
        connection.close()

    threads = [threading.Thread(target=lease) for _ in range(4)]
    with transaction.atomic():
        Lane.objects.select_for_update().get()  # each thread sees a free lane; none can write
        for thread in threads:
            thread.start()
        eventually(lambda: blocked() == len(threads), 10.0)
    for thread in threads:
        thread.join()
    assert sum(held is not None for held in taken) == 1


def blocked():
    """Return how many of the test's connections wait for a lock of another one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # otherwise the first reading is repeated
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0]


def test_a_lease_that_ran_out_goes_to_the_next_worker(source, heap, vendor):
    send_in(source, *tracks(1))
    lane = Lane.objects.get()
    now = timezone.now()
    leases.acquire_lease(lane.pk, now - 2 * leases.LEASE_DURATION)
    assert leases.acquire_lease(lane.pk, now) is not None


def test_a_worker_that_lost_its_lease_writes_nothing(source, heap, vendor):
    send_in(source, *tracks(2))
    lane = Lane.objects.get()
    slow = leases.acquire_lease(lane.pk, timezone.now() - 2 * leases.LEASE_DURATION)
    quick = leases.acquire_lease(lane.pk, timezone.now())
    with pytest.raises(LeaseLost):
        deliver_batch(slow, go_on=lambda: True)
    assert len(vendor.received) == 1  # it had sent the request, and did nothing else
    assert not Attempt.objects.exists()
    assert Delivery.objects.filter(state="queued", attempts=0).count() == 2
    leases.release_lease(slow)
    lane.refresh_from_db()
    assert lane.lease == quick.token
    deliver_batch(quick, go_on=lambda: True)
    assert keys(vendor)[0] == keys(vendor)[1]
    assert Delivery.objects.filter(state="delivered").count() == 2


def test_the_lease_outlasts_an_exchange_and_its_settling():
    longest = batch_sender.SETTLE_AFTER + client.TOTAL_TIMEOUT
    assert leases.LEASE_DURATION.total_seconds() > longest + 5
    assert leases.LEASE_DURATION.total_seconds() > 5 * worker_drain.WAIT_STEP


def test_a_process_leaves_a_lane_before_the_cluster_would_kill_it(settings):
    assert 1.5 * lane_threads.MAX_STAY < settings.Q_CLUSTER["timeout"] < settings.Q_CLUSTER["retry"]
    assert lane_threads.MAX_STAY > worker_drain.LANE_BUDGET


def _with_items(destination, items):
    return replace(destination, items=items)
