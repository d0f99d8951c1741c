"""What is old is purged, what is queued never, and the ledger still closes."""

from datetime import timedelta

import pytest
from django.utils import timezone

from delivery import retention
from delivery.ledger import ledger
from delivery.models import (
    Attempt,
    AttemptBody,
    Carried,
    Delivery,
    Event,
    EventBody,
    Rejection,
    Tally,
)
from tests import make
from tests.test_ledger import installed, put_in

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def days(number):
    return NOW - timedelta(days=number)


@pytest.fixture
def source():
    return make.make_source()


def grow_old(number):
    """Let everything there is have happened that many days ago."""
    Event.objects.update(received_at=days(number))
    Tally.objects.update(at=days(number))
    Delivery.objects.exclude(state="queued").update(settled_at=days(number))
    Attempt.objects.update(started_at=days(number))


def settle(state, **fields):
    Delivery.objects.update(state=state, settled_at=NOW, **fields)


def test_what_is_young_stays(source):
    installed()
    put_in(source, 3)
    settle("delivered")
    grow_old(29)
    assert sum(retention.purge(NOW).values()) == 0
    assert Event.objects.count() == Delivery.objects.count() == 3


def test_what_is_old_goes_and_stays_in_the_ledger(source):
    installed(trigger='type = "track"')
    put_in(source, 3)
    put_in(source, 2, "page")
    settle("delivered")
    before = ledger()
    grow_old(31)
    purged = retention.purge(NOW)
    assert (purged["deliveries"], purged["events"]) == (3, 5)
    assert not any(m.objects.exists() for m in (Event, EventBody, Delivery))
    assert ledger() == before
    assert ledger().closes
    put_in(source, 1)
    assert ledger().closes
    assert ledger().lines[0].in_scope == 6


def test_what_is_queued_is_never_purged_and_keeps_its_event(source):
    installed()
    put_in(source, 3)
    grow_old(400)
    retention.purge(NOW)
    assert Delivery.objects.filter(state="queued").count() == 3
    assert Event.objects.count() == EventBody.objects.count() == 3
    assert ledger().closes


def test_attempt_bodies_go_before_their_attempts():
    delivery = make.make_delivery(state="delivered")
    make.make_attempt(delivery)
    Attempt.objects.update(started_at=days(8))
    retention.purge(NOW)
    assert (AttemptBody.objects.count(), Attempt.objects.count()) == (0, 1)
    Attempt.objects.update(started_at=days(31))
    retention.purge(NOW)
    assert (Attempt.objects.count(), Carried.objects.count()) == (0, 0)
    assert Delivery.objects.count() == 1


def test_each_age_is_a_setting(source, settings):
    settings.KEEP_DELIVERIES_DAYS = 1
    installed()
    put_in(source, 2)
    settle("failed")
    grow_old(2)
    assert retention.purge(NOW)["deliveries"] == 2
    assert Event.objects.count() == 2
    assert ledger().closes


def test_old_rejections_go(source):
    Rejection.objects.create(source=source, received_at=days(31), reason="r", text="t")
    retention.purge(NOW)
    assert not Rejection.objects.exists()


def test_a_purge_goes_on_in_batches_until_its_time_is_up(source, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    put_in(source, 5)
    grow_old(31)
    assert retention.purge(NOW, budget=0)["events"] == 0
    assert Event.objects.count() == 5
    assert retention.purge(NOW)["events"] == 5
