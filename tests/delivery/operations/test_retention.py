"""Retention: old rows are purged, queued deliveries never, and the ledger still closes."""

from datetime import timedelta
from functools import partial
from threading import Thread

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ

from delivery import tasks
from delivery.accounting.ledger import build_ledger
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
from delivery.operations import retention
from delivery.replay import chunk as replay_chunk
from delivery.replay import lifecycle
from delivery.replay.selection import ReplaySelection, stored_replay_range
from tests.delivery.accounting.test_ledger import installed, put_in
from tests.support import factories

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def days(number):
    return NOW - timedelta(days=number)


def grow_old(number):
    """Make all rows look `number` days old."""
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
    assert sum(retention.purge_old_rows(NOW).values()) == 0
    assert Event.objects.count() == Delivery.objects.count() == 3


def test_what_is_old_goes_and_stays_in_the_ledger(source):
    installed(trigger='type = "track"')
    put_in(source, 3)
    put_in(source, 2, "page")
    settle("delivered")
    before = build_ledger()
    grow_old(31)
    purged = retention.purge_old_rows(NOW)
    assert (purged["deliveries"], purged["events"]) == (3, 5)
    assert not any(m.objects.exists() for m in (Event, EventBody, Delivery))
    assert build_ledger() == before
    assert build_ledger().closes
    put_in(source, 1)
    assert build_ledger().closes
    assert build_ledger().lines[0].in_scope == 6


def test_what_is_queued_is_never_purged_and_keeps_its_event(source):
    installed()
    put_in(source, 3)
    grow_old(400)
    retention.purge_old_rows(NOW)
    assert Delivery.objects.filter(state="queued").count() == 3
    assert Event.objects.count() == EventBody.objects.count() == 3
    assert build_ledger().closes


def test_attempt_bodies_go_before_their_attempts():
    delivery = factories.make_delivery(state="delivered")
    factories.make_attempt(delivery)
    Attempt.objects.update(started_at=days(8))
    retention.purge_old_rows(NOW)
    assert (AttemptBody.objects.count(), Attempt.objects.count()) == (0, 1)
    Attempt.objects.update(started_at=days(31))
    retention.purge_old_rows(NOW)
    assert (Attempt.objects.count(), Carried.objects.count()) == (0, 0)
    assert Delivery.objects.count() == 1


def test_each_age_is_a_setting(source, settings):
    settings.KEEP_DELIVERIES_DAYS = 1
    installed()
    put_in(source, 2)
    settle("failed")
    grow_old(2)
    assert retention.purge_old_rows(NOW)["deliveries"] == 2
    assert Event.objects.count() == 2
    assert build_ledger().closes


def test_old_rejections_go(source):
    Rejection.objects.create(source=source, received_at=days(31), reason="r", text="t")
    retention.purge_old_rows(NOW)
    assert not Rejection.objects.exists()


def test_a_purge_goes_on_in_batches_until_its_time_is_up(source, monkeypatch):
    monkeypatch.setattr(retention, "PURGE_BATCH_ROWS", 2)
    put_in(source, 5)
    grow_old(31)
    assert retention.purge_old_rows(NOW, budget=0)["events"] == 0
    assert Event.objects.count() == 5
    assert retention.purge_old_rows(NOW)["events"] == 5


def backfill_of(heap):
    """Start a backfill; return a function that makes the deliveries of its first chunk."""
    replay = lifecycle.start_replay("backfill", heap, ReplaySelection())
    span = stored_replay_range(replay)
    chunk = replay_chunk.next_chunk(span, replay.first, 10, heap.revision_id)
    return partial(
        replay_chunk.backfill_chunk, replay, chunk, replay_chunk.lane_for_replay(replay), NOW
    )


@pytest.mark.django_db(transaction=True)
def test_an_event_that_a_backfill_is_just_delivering_is_not_purged(source):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    put_in(source, 3)
    grow_old(31)
    make_deliveries = backfill_of(installed())

    def purge():
        try:
            retention.purge_old_rows(NOW)
        finally:
            connections.close_all()

    other = Thread(target=purge)
    with transaction.atomic():
        assert make_deliveries() == 3
        other.start()
        other.join(1.0)
    other.join()
    assert Event.objects.count() == 3
    assert build_ledger().closes


def test_a_backfill_makes_nothing_of_an_event_that_was_purged_meanwhile(source):
    put_in(source, 3)
    grow_old(31)
    make_deliveries = backfill_of(installed())
    assert retention.purge_old_rows(NOW)["events"] == 3
    assert make_deliveries() == 0
    assert build_ledger().closes


def test_what_lies_between_purged_rows_keeps_all_it_has(source):
    installed()
    put_in(source, 3)
    first, queued, last = Delivery.objects.order_by("pk")
    for each in (first, queued, last):
        factories.make_attempt(each)
    settle("delivered")
    grow_old(29)
    Delivery.objects.update(settled_at=days(31))
    Event.objects.update(received_at=days(31))
    Delivery.objects.filter(pk=queued.pk).deliver_again(NOW, Delivery.Trigger.HAND)
    purged = retention.purge_old_rows(NOW)
    assert (purged["deliveries"], purged["events"]) == (2, 2)
    assert [each.delivery_id for each in Carried.objects.all()] == [queued.pk]
    assert [each.event_id for each in EventBody.objects.all()] == [queued.event_id]
    assert build_ledger().closes


@pytest.mark.parametrize(("at_work", "purged"), [(True, 2), (False, 5)])
def test_a_purge_rests_while_others_work(source, monkeypatch, at_work, purged):
    monkeypatch.setattr(retention, "PURGE_BATCH_ROWS", 2)
    monkeypatch.setattr(retention, "REST_FACTOR", 1e9)
    put_in(source, 5)
    grow_old(31)
    if at_work:
        Tally.objects.create(source=source, at=timezone.now(), events=0, unwanted="{}")
    assert retention.purge_old_rows(NOW, budget=0.5)["events"] == purged


def test_a_purge_stops_when_the_cluster_does(source, monkeypatch, tmp_path):
    put_in(source, 5)
    grow_old(31)
    (tmp_path / "stop").touch()
    monkeypatch.setenv("PENSTOCK_STOP_FILE", str(tmp_path / "stop"))
    assert not retention.purge_old_rows(NOW)


@pytest.mark.django_db(transaction=True)
def test_the_sweep_asks_for_a_purge_and_the_cluster_does_it(source):
    put_in(source, 5)
    grow_old(31)
    OrmQ.objects.all().delete()
    tasks.sweep()
    [purge] = [task for task in OrmQ.objects.all() if task.func().endswith(".purge")]
    assert Event.objects.count() == 5
    import_string(purge.func())()
    assert not Event.objects.exists()
