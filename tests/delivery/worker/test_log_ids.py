"""What a worker logs: ids with a problem, and nothing for an event that is delivered."""

import logging

import pytest

from delivery.models import Delivery, Lane
from delivery.worker import attempt, shape_batch
from delivery.worker import drain as worker_drain
from integrations.log_records import IdsFilter
from tests.support import factories

pytestmark = pytest.mark.django_db

IDS = ("lane_id", "event_id", "delivery_id", "attempt_id")


@pytest.fixture
def lane(vendor, caplog, monkeypatch):
    monkeypatch.setattr(worker_drain, "IDLE_STAY", 0)
    caplog.handler.addFilter(IdsFilter())
    factories.make_installation()
    yield Lane.objects.get()
    attempt.shared_session().close()


def ids_of(record):
    return [getattr(record, name, None) for name in IDS]


def test_a_bug_is_logged_with_the_ids_of_what_it_happened_to(lane, caplog, monkeypatch):
    delivery = factories.make_delivery()

    def broken(*args):
        raise RuntimeError("bug")

    monkeypatch.setattr(shape_batch, "shape_message", broken)
    worker_drain.drain_lane(lane.pk)

    [record] = caplog.records
    assert ids_of(record) == [lane.pk, delivery.event_id, delivery.pk, None]


def test_events_that_are_accepted_and_delivered_are_logged_at_debug_only(
    lane, caplog, client, source
):
    caplog.set_level(logging.DEBUG, "delivery")
    batch = [{"type": "track", "event": "Seen", "userId": "ada"}] * 5
    client.post(
        "/v1/batch", {"batch": batch}, "application/json", headers={"x-write-key": source.write_key}
    )
    worker_drain.drain_lane(lane.pk)

    delivered = Delivery.objects.order_by("pk").values_list("lane", "pk", "last_attempt")
    lines = [each for each in caplog.records if each.name.startswith("delivery")]
    assert len(delivered) == 5
    assert {each.levelno for each in lines} == {logging.DEBUG}
    assert [ids_of(each) for each in lines] == [[lane, None, pk, at] for lane, pk, at in delivered]
