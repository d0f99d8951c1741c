"""Wake-ups: queued once, answered once, and queued again when they were lost."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from delivery import tasks
from delivery.ingest.parsing import ParsedMessage
from delivery.ingest.store import store_messages
from delivery.lanes import leases, wakeups
from delivery.models import Heartbeat, Lane
from integrations.catalog import catalog
from integrations.installations.install import install
from integrations.models import Source

pytestmark = pytest.mark.django_db


@pytest.fixture
def lane():
    install(catalog()["heap"], name="Heap", config={"app_id": "1"})
    source = Source.objects.create(name="Shop")
    put_in(source, "first")
    return Lane.objects.get()


def put_in(source, message_id):
    now = timezone.now()
    message = ParsedMessage(
        message_id=message_id,
        type="track",
        name="E",
        user_id="ada",
        anonymous_id="",
        timestamp=now,
        text="{}",
    )
    store_messages(source, [message], (), now=now)


def rung():
    """Return the wake-ups that were queued for lanes."""
    names = [task.func() for task in OrmQ.objects.all()]
    return [each for each in names if each == "delivery.tasks.drain"]


def test_an_event_rings_for_its_lane(lane):
    assert rung() == ["delivery.tasks.drain"]
    [task] = OrmQ.objects.all()
    assert task.args() == (lane.pk,)


def test_many_events_ring_once(lane):
    source = Source.objects.get()
    for number in range(10):
        put_in(source, f"message {number}")
    assert len(rung()) == 1


def test_a_bell_that_nobody_answers_is_rung_again(lane):
    Lane.objects.update(woken_at=timezone.now() - 2 * wakeups.REPEAT_WAKEUP_AFTER)
    tasks.sweep()
    assert len(rung()) == 2


def test_a_lane_at_work_is_not_rung_for(lane):
    leases.acquire_lease(lane.pk, timezone.now())
    put_in(Source.objects.get(), "second")
    assert len(rung()) == 1


def test_a_lane_is_rung_for_again_once_somebody_has_answered(lane):
    leases.release_lease(leases.acquire_lease(lane.pk, timezone.now()))
    put_in(Source.objects.get(), "second")
    assert len(rung()) == 2


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, True),
        ({"paused": True}, False),
        ({"due_at": timedelta(seconds=60)}, False),
        ({"due_at": timedelta(seconds=-1)}, True),
        (
            {"lease": "7f7d1f0e-6a5c-4a0e-9c52-111111111111", "lease_until": timedelta(seconds=20)},
            False,
        ),
        ({"lease": "7f7d1f0e-6a5c-4a0e-9c52-111111111111", "lease_until": timedelta(-1)}, True),
    ],
)
def test_stranded_lanes_have_work_may_work_and_have_no_worker(lane, change, found):
    now = timezone.now()
    Lane.objects.update(
        **{k: now + v if isinstance(v, timedelta) else v for k, v in change.items()}
    )
    assert wakeups.lanes_needing_a_worker(now) == ([lane.pk] if found else [])


def test_an_empty_lane_is_not_stranded(lane):
    lane.delivery_set.update(state="delivered")
    assert wakeups.lanes_needing_a_worker(timezone.now()) == []


def test_a_lane_whose_deliveries_are_all_set_aside_is_not_stranded(lane):
    now = timezone.now()
    lane.delivery_set.update(due_at=now + timedelta(seconds=60))
    assert wakeups.lanes_needing_a_worker(now) == []
    assert wakeups.lanes_needing_a_worker(now + timedelta(seconds=61)) == [lane.pk]


def test_the_sweep_leaves_a_sign_of_life(lane):
    before = timezone.now()
    tasks.sweep()
    assert Heartbeat.objects.get(name="sweep").at >= before


def test_a_broker_that_fails_loses_no_event(lane, monkeypatch, caplog):
    def broken(*args):
        raise ConnectionError("no broker")

    monkeypatch.setattr(wakeups, "async_task", broken)
    Lane.objects.update(woken_at=None)
    put_in(Source.objects.get(), "second")
    assert lane.delivery_set.count() == 2
    assert "Could not queue drain" in caplog.text


def test_the_leases_of_a_dead_cluster_are_freed_and_only_those(lane, monkeypatch):
    monkeypatch.setenv("PENSTOCK_CLUSTER", "dead")
    now = timezone.now()
    leases.acquire_lease(lane.pk, now)
    assert leases.count_live_leases("dead", now) == 1
    assert leases.release_cluster_leases("other") == 0
    assert leases.release_cluster_leases("dead") == 1
    assert leases.acquire_lease(lane.pk, now) is not None
