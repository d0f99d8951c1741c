"""The metrics: exact counts, before and after a roll-up."""

import random
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from delivery import tasks
from delivery.accounting import histogram, metrics, queues, record, rollup
from delivery.accounting.ledger import build_ledger
from delivery.lanes import leases
from delivery.models import Delivery, Lane, Metric, Settlement, Tally
from delivery.worker import attempt, batch, results, settle
from delivery.worker import drain as worker_drain
from delivery.worker.backlog import next_batch
from tests.delivery.accounting.test_ledger import installed, put_in
from tests.support import factories
from tests.support.fake_vendor import FakeVendor

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
Step = record.MetricStep


@pytest.fixture
def vendor(settings, monkeypatch):
    monkeypatch.setattr(worker_drain, "IDLE_STAY", 0)
    with FakeVendor() as vendor:
        settings.SANDBOX_URL = vendor.url
        yield vendor
    attempt.shared_session().close()


def today(**of):
    now = timezone.now()
    return metrics.read_series(since=now - HOUR, until=now, step=Step.MINUTE, **of)


def drain():
    for lane in Lane.objects.all():
        worker_drain.drain_lane(lane.pk)


def settled(source, *, at, installation, count=1, state="delivered", seconds=1.0):
    """Record a batch of `count` deliveries, each settled `seconds` after it was queued."""
    each = results.DeliveryResult(
        delivery_id=0, source_id=source.pk, queued_at=at - timedelta(seconds=seconds), state=state
    )
    record.record_settled_batch(installation.pk, [each] * count, ["accepted"], at)


def test_what_comes_in_and_what_becomes_of_it_is_counted(source, vendor):
    heap = installed(trigger='type = "track"', mapping={"event": {"@path": "$.event"}})
    put_in(source, 5, text='{"event": "E"}')
    put_in(source, 2, "page")
    drain()
    total = today(installation=heap.pk).total
    assert (total.accepted, total.unwanted) == (7, 2)
    delivered = Delivery.objects.filter(state="delivered").count()
    assert total.delivered + total.filtered == 5
    assert total.delivered == delivered
    assert total.attempts == len(vendor.received)


def test_rolling_up_changes_nothing_that_is_read(source, vendor):
    heap = installed()
    put_in(source, 4)
    drain()
    before = [today(), today(installation=heap.pk), today(source=source.pk)]
    assert rollup.roll_up_metrics(timezone.now()) > 0
    assert not Tally.objects.exists()
    assert not Settlement.objects.exists()
    after = [today(), today(installation=heap.pk), today(source=source.pk)]
    assert [each.total for each in after] == [each.total for each in before]
    put_in(source, 1)
    rollup.roll_up_metrics(timezone.now())
    assert today().total.accepted == 5


def test_the_ledger_closes_over_what_was_rolled_up(source):
    installed(trigger='type = "track"')
    put_in(source, 3)
    put_in(source, 2, "page")
    before = build_ledger()
    rollup.roll_up_metrics(timezone.now())
    assert build_ledger() == before
    assert build_ledger().closes


def test_the_sweep_rolls_up(source):
    put_in(source, 3)
    tasks.sweep()
    assert not Tally.objects.exists()


def test_all_steps_say_the_same(source):
    installed()
    put_in(source, 3)
    rollup.roll_up_metrics(timezone.now())
    now = timezone.now()
    ranges = {Step.MINUTE: HOUR, Step.HOUR: 24 * HOUR, Step.DAY: 240 * HOUR}
    totals = [
        metrics.read_series(since=now - length, until=now, step=step).total.accepted
        for step, length in ranges.items()
    ]
    assert totals == [3, 3, 3]


def test_a_step_in_which_nothing_happened_has_a_point_too(source):
    heap = factories.make_installation()
    at = record.floor_to_step(timezone.now(), 3_600) - HOUR
    settled(source, at=at + timedelta(minutes=30), installation=heap)
    points = metrics.read_series(since=at - 2 * HOUR, until=at + 2 * HOUR, step=Step.HOUR).points
    assert [point.at for point in points] == [at + n * HOUR for n in (-2, -1, 0, 1)]
    assert [point.delivered for point in points] == [0, 0, 1, 0]
    assert points[0].p50_ms is None


def test_all_installations_together_accept_each_event_once(source):
    installed("One")
    installed("Two")
    put_in(source, 3)
    assert today().total.accepted == 3
    now = timezone.now()
    each = metrics.read_series_by_installation(since=now - HOUR, until=now, step=Step.MINUTE)
    assert [series.total.accepted for series in each.values()] == [3, 3]


def test_sources_are_told_apart(source):
    heap = factories.make_installation()
    other = factories.make_source("App")
    settled(source, at=timezone.now(), installation=heap, count=2)
    settled(other, at=timezone.now(), installation=heap, count=3, state="failed")
    for _ in range(2):
        assert today(source=source.pk).total.delivered == 2
        assert today(source=other.pk, installation=heap.pk).total.failed == 3
        now = timezone.now()
        each = metrics.read_series_by_source(since=now - HOUR, until=now, step=Step.MINUTE)
        assert each.keys() == {source.pk, other.pk}
        rollup.roll_up_metrics(timezone.now())


def test_percentiles_are_right_to_within_the_error_that_is_documented():
    dice = random.Random(7)
    times = [dice.lognormvariate(0, 3) for _ in range(5_000)]
    counts = {}
    for seconds in times:
        number = histogram.latency_bucket(seconds)
        counts[number] = counts.get(number, 0) + 1
    for percent in histogram.PERCENTILES:
        exact = 1_000 * sorted(times)[len(times) * percent // 100 - 1]
        assert histogram.percentile(counts, percent) == pytest.approx(exact, rel=0.1)
    assert histogram.percentile({}, 50) is None


def test_latencies_of_several_batches_add_up(source):
    heap = factories.make_installation()
    now = timezone.now()
    settled(source, at=now, installation=heap, count=98, seconds=0.1)
    rollup.roll_up_metrics(now)
    settled(source, at=now, installation=heap, count=2, seconds=10)
    total = today().total
    assert total.p50_ms == pytest.approx(100, rel=histogram.PERCENTILE_ERROR)
    assert total.p99_ms == pytest.approx(10_000, rel=histogram.PERCENTILE_ERROR)


def test_latencies_of_several_installations_add_up(source):
    now = timezone.now()
    settled(source, at=now, installation=factories.make_installation(), count=97, seconds=10)
    settled(source, at=now, installation=factories.make_installation("Two"), count=3, seconds=10)
    settled(
        source, at=now, installation=factories.make_installation("Three"), count=60, seconds=0.1
    )
    for _ in "ab":
        total = today().total
        assert total.delivered == 160
        assert total.p50_ms == pytest.approx(10_000, rel=histogram.PERCENTILE_ERROR)
        rollup.roll_up_metrics(now)


def test_what_was_cancelled_while_it_was_on_its_way_is_not_counted_as_delivered(source, vendor):
    installed()
    put_in(source, 3)
    first = Delivery.objects.order_by("pk").first()
    lane = Lane.objects.get()
    held = leases.acquire_lease(lane.pk, timezone.now())
    queued = next_batch(lane.pk, limit=10, now=timezone.now())
    outcome = batch.attempt_batch(held, Lane.objects.get(), queued, go_on=lambda: True)
    Delivery.objects.filter(pk=first.pk).update(state="cancelled", settled_at=timezone.now())
    settle.settle_outcome(held, outcome)
    assert today().total.delivered == Delivery.objects.filter(state="delivered").count() == 2


def test_a_queue_is_seen_once_a_minute_and_its_peak_is_kept(source):
    heap = installed()
    put_in(source, 3)
    queued_at = timezone.now() - timedelta(minutes=10)
    Delivery.objects.filter(pk=Delivery.objects.first().pk).update(queued_at=queued_at)
    assert queues.read_queues()[heap.pk] == queues.QueueSize(3, queued_at)
    rollup.roll_up_metrics(timezone.now())
    Delivery.objects.update(state="delivered")
    rollup.roll_up_metrics(timezone.now())
    point = today(installation=heap.pk).total
    assert point.queued == 3
    assert point.oldest_queued_s == pytest.approx(600, abs=5)
    assert queues.read_queues() == {}


def test_the_queues_of_an_installations_lanes_are_one(source):
    heap = installed()
    put_in(source, 2)
    first, second = Delivery.objects.order_by("pk")
    long_ago = timezone.now() - timedelta(hours=2)
    Delivery.objects.filter(pk=first.pk).update(queued_at=long_ago)
    Delivery.objects.filter(pk=second.pk).update(
        lane=Lane.objects.create(installation=heap, number=1)
    )
    for among in (None, [heap.pk]):
        assert queues.read_queues(among) == {heap.pk: queues.QueueSize(2, long_ago)}
    assert queues.read_queues([]) == queues.read_queues([heap.pk + 1]) == {}


def test_what_is_too_long_for_its_steps_is_refused(source):
    now = timezone.now()
    with pytest.raises(metrics.StepTooShort, match="longer step"):
        metrics.read_series(since=now - 26 * HOUR, until=now, step=Step.MINUTE)
    with pytest.raises(metrics.StepTooShort, match="kept for 2 days"):
        metrics.read_series(since=now - 60 * HOUR, until=now - 50 * HOUR, step=Step.MINUTE)


def test_minutes_are_forgotten_before_hours(source):
    heap = factories.make_installation()
    now = timezone.now()
    settled(source, at=now - timedelta(days=3), installation=heap)
    rollup.roll_up_metrics(now)
    assert set(Metric.objects.values_list("step", flat=True)) == {Step.HOUR, Step.DAY}


@pytest.mark.django_db(transaction=True)
def test_a_reader_never_counts_a_row_twice_or_not_at_all(source):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's test database has one connection")
    heap = factories.make_installation()
    for _ in range(300):
        settled(source, at=timezone.now(), installation=heap)
    rollup.ROLLUP_BATCH_ROWS, usual = 10, rollup.ROLLUP_BATCH_ROWS
    rolling = threading.Thread(target=roll_up_and_hang_up)
    rolling.start()
    seen = set()
    while rolling.is_alive():
        seen.add(today().total.delivered)
    rolling.join()
    rollup.ROLLUP_BATCH_ROWS = usual
    assert seen == {300}
    assert not Settlement.objects.exists()


def roll_up_and_hang_up():
    rollup.roll_up_metrics(timezone.now(), budget=60)
    connection.close()
