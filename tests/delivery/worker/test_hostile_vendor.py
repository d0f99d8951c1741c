"""Whatever a vendor answers, one attempt is stored and shown, and the lane goes on.

PENSTOCK_HOSTILE_EXAMPLES   how many answers are tried
"""

import dataclasses
import json
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from django.db import transaction
from django.template.loader import render_to_string
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from rest_framework.renderers import JSONRenderer

from delivery.admin.log.delivery_page import attempt_panel
from delivery.api.attempts import serialize_attempt_detail
from delivery.log import detail
from delivery.log.export import export_lines
from delivery.log.representation import serialize_delivery_detail
from delivery.log.timeline import build_timeline
from delivery.models import Attempt, AttemptBody, Delivery, Lane
from delivery.outbound import client
from delivery.outbound.retry import MAX_RETRY_AFTER, RETRY_JITTER, RETRY_SCHEDULE
from delivery.worker import attempt, batch_sender
from delivery.worker import drain as worker_drain
from delivery.worker.results import MAX_ERROR_CHARS
from integrations.catalog import catalog
from integrations.errors import MessageRejected
from integrations.models import Installation
from tests.delivery.accounting.test_ledger import installed
from tests.delivery.worker.test_batch import send_in, tracks
from tests.support import hostile_vendor
from tests.support.factories import make_source
from tests.support.hostile_vendor import (
    CLOSE,
    ENDLESS,
    KEEP,
    NONE,
    RESET,
    HostileAnswer,
    HostileVendor,
    hostile_answers,
)

pytestmark = pytest.mark.django_db(transaction=True)

EXAMPLES = int(os.environ.get("PENSTOCK_HOSTILE_EXAMPLES", "30"))
GOOD = HostileAnswer(hostile_vendor.OK_RESPONSE, KEEP, 200)
OUTCOMES = {  # of the statuses that are not a success, and of no response
    "CredentialsRejected": "paused",
    "VendorUnavailable": "waits",
    "VendorFailed": "waits",
    "MessageRejected": "failed",
    "TooLarge": "failed",
    "accepted": "delivered",
}


@pytest.fixture(autouse=True)
def vendor():
    with hostile_vendor_of_worker() as vendor:
        yield vendor


@contextmanager
def hostile_vendor_of_worker() -> Iterator[HostileVendor]:
    """Run a vendor to which this process delivers, in a worker that leaves a lane at once."""
    with (
        patch.object(worker_drain, "IDLE_STAY", 0),
        patch.object(worker_drain, "SHORT_WAIT", -1),
        HostileVendor() as vendor,
        override_settings(SANDBOX_URL=vendor.url),
    ):
        yield vendor
    attempt.shared_session().close()


@contextmanager
def lane_of_one_message() -> Iterator[Lane]:
    """Yield a lane whose installation, message and log are rolled back."""
    with transaction.atomic():
        source, _ = make_source(), installed()
        send_in(source, *tracks(1))
        yield Lane.objects.get()
        transaction.set_rollback(True)


def deliver(vendor: HostileVendor, lane: Lane, answer: HostileAnswer) -> None:
    vendor.hostile_answer = answer
    seconds = (0.1, 0.25) if answer.may_stall else (client.READ_TIMEOUT, client.TOTAL_TIMEOUT)
    with (
        patch.object(client, "READ_TIMEOUT", seconds[0]),
        patch.object(client, "TOTAL_TIMEOUT", seconds[1]),
    ):
        worker_drain.drain_lane(lane.pk)
    if answer.ending in (CLOSE, RESET):  # its end might arrive during the next request
        attempt.shared_session().close()


def standing(lane: Lane) -> str:
    """Return how the only delivery stands; check that the lane agrees."""
    lane.refresh_from_db()
    state = Delivery.objects.get().state
    assert lane.lease is None
    if state == "queued":
        assert lane.paused != (lane.failures == 1 and lane.due_at is not None), "neither or both"
        return "paused" if lane.paused else "waits"
    assert (lane.paused, lane.failures, lane.due_at) == (False, 0, None)
    return state


def check_shown() -> None:
    """Render what the log shows of the only delivery, as pages, API and exports do."""
    delivery, now = Delivery.objects.get(), timezone.now()
    full = detail.get_delivery_detail(delivery.pk, shows_bodies=True)
    build_timeline(full, now)
    for shown in (
        serialize_delivery_detail(full, now),
        serialize_attempt_detail(Attempt.objects.get(), shows_bodies=True),
    ):
        json.loads(JSONRenderer().render(shown))
    for kind in ("csv", "ndjson"):
        "".join(export_lines([delivery], kind, now)).encode()
    [panel] = map(attempt_panel, full.attempts)
    html = render_to_string("delivery/log/_attempt.html", {"panel": panel})
    assert "\x00" not in html


def check_bounded() -> None:
    row, body, lane = Attempt.objects.get(), AttemptBody.objects.get(), Lane.objects.get()
    headers = json.loads(body.response_headers)
    note = headers.pop(client.CUT_NOTE, "")
    cut = len("… (cut; it has 10,000,000 characters)")
    assert all(len(value) <= client.MAX_HEADER_CHARS + cut for value in headers.values())
    assert sum(map(len, [*headers, *headers.values()])) <= client.MAX_HEADERS_CHARS
    assert len(body.response_body) <= client.MAX_RESPONSE_BYTES
    assert len(note) < 300
    for text in (row.error, Delivery.objects.get().reason, lane.last_error):
        assert len(text) <= MAX_ERROR_CHARS + cut


def check_wait(lane: Lane, asked: float | None) -> None:
    wait = (lane.due_at - lane.changed_at).total_seconds()
    least = min(asked or 0, MAX_RETRY_AFTER)
    low, high = (RETRY_SCHEDULE[0] * (1 + sign * RETRY_JITTER) for sign in (-1, 1))
    assert max(low, least) - 1 <= wait <= max(high, least), wait


def check_goes_on(vendor: HostileVendor, lane: Lane) -> None:
    """Deliver a further event once the vendor is good, and what waited before it."""
    Lane.objects.update(due_at=None, paused=False)
    source = Delivery.objects.get().event.source
    send_in(source, {**tracks(1)[0], "messageId": "message-next"})
    before = list(Delivery.objects.exclude(state="queued").values_list("pk", "state"))
    deliver(vendor, lane, GOOD)
    expected = dict(before)
    for delivery in Delivery.objects.all():
        assert delivery.state == expected.get(delivery.pk, "delivered")


def check_answer(vendor: HostileVendor, answer: HostileAnswer) -> str:
    """Deliver a message to a vendor that answers so, check all promises; return how it stands."""
    requests = len(vendor.requests)
    with lane_of_one_message() as lane:
        deliver(vendor, lane, answer)
        row = Attempt.objects.get()
        assert answer.is_early or len(vendor.requests) == requests + 1
        found = standing(lane)
        assert found == OUTCOMES[row.outcome]
        assert (row.outcome == "accepted") == (200 <= (row.status or 0) < 300)
        assert row.outcome == "accepted" or row.error
        if answer.status > NONE:
            assert row.status == answer.status
        elif answer.status == NONE:
            assert row.status is None
        if found == "waits":
            check_wait(lane, answer.retry_after if answer.status > NONE else None)
        check_shown()
        check_bounded()
        check_goes_on(vendor, lane)
    return found


@hypothesis_settings(
    max_examples=EXAMPLES,
    derandomize="PENSTOCK_HOSTILE_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(HostileAnswer(b"HTTP/1.1 302 X\r\nLocation: \xff\r\nContent-Length: 0\r\n\r\n", KEEP, 302))
@example(HostileAnswer(b"\x00\x01 secret\r\n\r\n", CLOSE))
@example(HostileAnswer(b"x\x00" * 32_000 + b"\r\n\r\n", CLOSE))
@given(hostile_answers())
def test_every_answer_is_one_attempt_and_the_lane_goes_on(vendor, answer):
    check_answer(vendor, answer)


FLOODS = {
    "an endless body": HostileAnswer(b"HTTP/1.1 200 X\r\n\r\n" + b"a" * 1_000, ENDLESS),
    "an endless body of a redirect": HostileAnswer(
        b"HTTP/1.1 302 X\r\nLocation: /\r\n\r\n" + b"a" * 1_000, ENDLESS
    ),
    "endless hints": HostileAnswer(b"HTTP/1.1 103 X\r\nX: %s\r\n\r\n" % (b"y" * 977), ENDLESS),
    "an endless line": HostileAnswer(b"HTTP/1.1 200 X\r\nX: " + b"a" * 1_000, ENDLESS),
    **{
        f"a bomb in {coding}": HostileAnswer(
            b"HTTP/1.1 200 X\r\nContent-Encoding: %s\r\n\r\n%s" % (coding.encode(), body), CLOSE
        )
        for coding, body in (
            ("gzip", hostile_vendor.BOMB),
            ("gzip, gzip", hostile_vendor.NESTED_BOMB),
            ("deflate", hostile_vendor.DEFLATE_BOMB),
        )
    },
}


@pytest.mark.parametrize("answer", FLOODS.values(), ids=FLOODS)
def test_an_answer_without_end_takes_little_memory(vendor, answer):
    with lane_of_one_message() as lane:
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            deliver(vendor, lane, answer)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert Attempt.objects.count() == 1
        assert peak - before < 8_000_000
        check_bounded()


def test_a_bug_in_the_client_leaves_an_attempt_and_a_waiting_lane(vendor, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise RecursionError("too deep")

    with lane_of_one_message() as lane:
        with monkeypatch.context() as patched:
            patched.setattr(client, "parse_retry_after", fail)
            deliver(vendor, lane, GOOD)
        row = Attempt.objects.get()
        assert (row.outcome, row.status) == ("VendorUnavailable", None)
        assert row.error == "The response cannot be read: RecursionError: too deep"
        assert standing(lane) == "waits"
        assert "Traceback" in caplog.text
        check_goes_on(vendor, lane)


def test_a_bug_in_the_worker_makes_the_lane_wait_and_say_so(vendor, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise KeyError("endpoint")

    with lane_of_one_message() as lane:
        with monkeypatch.context() as patched:
            patched.setattr(batch_sender, "with_idempotency_key", fail)
            deliver(vendor, lane, GOOD)
        assert standing(lane) == "waits"
        assert lane.last_error == "A bug in Penstock: KeyError('endpoint')"
        assert "Traceback" in caplog.text
        check_goes_on(vendor, lane)


def test_what_a_destination_says_about_an_answer_is_stored_whatever_it_is(vendor, monkeypatch):
    def judge(response):
        raise MessageRejected(f"\x00\ud800{'!' * 10_000}")

    rude = dataclasses.replace(catalog()["heap"], judge=judge)
    monkeypatch.setattr(Installation, "destination", rude)
    with lane_of_one_message() as lane:
        deliver(vendor, lane, GOOD)
        assert standing(lane) == "failed"
        start = f"�?{'!' * (MAX_ERROR_CHARS - 2)}… (cut; it has 10,002 characters)"
        assert Attempt.objects.get().error == Delivery.objects.get().reason == start
        check_shown()
