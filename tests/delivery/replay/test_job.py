"""Replays and backfills, as jobs that survive any interruption."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from delivery.accounting import rollup
from delivery.accounting.ledger import build_ledger
from delivery.lanes import leases, routes
from delivery.models import Delivery, Event, Lane, Replay, Replayed, Tally
from delivery.operations import retention
from delivery.replay import estimate, job, lifecycle, pace
from delivery.replay.lifecycle import InvalidReplayState, ReplayAlreadyRunning
from delivery.replay.pace import ReplayWindow
from delivery.replay.selection import ReplaySelection, build_replay_range
from delivery.worker import attempt, drain
from integrations.keyset import filter_time_range
from integrations.models import Revision
from tests.delivery.accounting.test_ledger import installed, put_in
from tests.support import factories
from tests.support.fake_vendor import FakeVendor

pytestmark = pytest.mark.django_db

NOW = timezone.now()
ANY = ("delivered", "failed", "filtered", "cancelled")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(drain, "IDLE_STAY", 0)
    yield
    attempt.shared_session().close()


def settle(state="failed", **fields):
    Delivery.objects.update(state=state, settled_at=NOW, **fields)


def sent():
    Delivery.objects.filter(state="queued").update(state="delivered", settled_at=NOW)


def go(replay, steps=50):
    """Take steps as the cluster does, but send nothing; return the replay."""
    window = ReplayWindow()
    for _ in range(steps):
        if job.step_replay(replay.pk, window, timezone.now()) is None:
            break
    replay.refresh_from_db()
    return replay


def send(installation, steps=50):
    """Take steps and send until nothing is left to do; return the replay."""
    replay = Replay.objects.latest("pk")
    window = ReplayWindow()
    for _ in range(steps):
        over = job.step_replay(replay.pk, window, timezone.now()) is None
        for lane in Lane.objects.filter(installation=installation):
            drain.drain_lane(lane.pk)
        if over:
            break
    replay.refresh_from_db()
    return replay


def queued():
    return Delivery.objects.filter(state="queued").count()


def blueprint(installation, trigger):
    actions = [{"name": "A", "kind": "track", "mapping": {}, "trigger": trigger}]
    number = installation.revisions.count() + 1
    installation.revision = Revision.objects.create(
        installation=installation, number=number, blueprint={"version": 1, "actions": actions}
    )
    installation.save()


# --- selection ---------------------------------------------------------------------------------


def test_only_what_the_filter_names_is_queued_again(source):
    heap = factories.make_installation()
    other = factories.make_installation("Other")
    ada, bob = factories.make_event(user_id="ada"), factories.make_event(user_id="bob", name="Seen")
    factories.make_delivery(other, ada, state="failed")
    mine = factories.make_delivery(heap, ada, state="failed", error="TooLarge")
    factories.make_delivery(heap, bob, state="delivered")
    cases = [
        (ReplaySelection(), 1),
        (ReplaySelection(states=("failed", "delivered")), 2),
        (ReplaySelection(states=ANY, user_id="bob"), 1),
        (ReplaySelection(states=ANY, event="Seen"), 1),
        (ReplaySelection(states=ANY, event="track"), 2),
        (ReplaySelection(error="TooLarge"), 1),
        (ReplaySelection(error="MessageRejected"), 0),
        (ReplaySelection(message_id=ada.message_id), 1),
        (ReplaySelection(since=NOW + timedelta(hours=1)), 0),
        (ReplaySelection(until=NOW - timedelta(hours=1)), 0),
        (ReplaySelection(since=NOW - timedelta(hours=1), until=NOW + timedelta(hours=1)), 1),
        (ReplaySelection(source=source.pk), 1),
        (ReplaySelection(source=source.pk + 1), 0),
    ]
    for wanted, count in cases:
        found = estimate.estimate_replay("replay", heap, wanted)
        assert (found.count, found.exact) == (count, True), wanted
    replay = go(lifecycle.start_replay("replay", heap, ReplaySelection()))
    assert list(Delivery.objects.filter(state="queued", trigger="replay")) == [mine]
    assert replay.queued == 1


def test_what_comes_in_later_is_not_in_it(source):
    heap = installed()
    put_in(source, 3)
    settle()
    replay = lifecycle.start_replay("replay", heap, ReplaySelection())
    put_in(source, 2)
    settle()
    assert go(replay).queued == 3


def test_a_replay_takes_windows_of_the_log_whatever_is_rare_in_it(source, monkeypatch):
    monkeypatch.setattr("delivery.replay.selection.REPLAY_SCAN_ROWS", 3)
    heap = installed()
    put_in(source, 10)
    settle("delivered")
    last = Delivery.objects.latest("pk")
    Delivery.objects.filter(pk=last.pk).update(state="failed")
    assert estimate.estimate_replay("replay", heap, ReplaySelection()).count == 1
    span = build_replay_range("replay", heap.pk, ReplaySelection())
    assert len(list(span.windows())) == 4
    assert go(lifecycle.start_replay("replay", heap, ReplaySelection())).queued == 1


def test_a_preview_says_when_it_did_not_get_through(source, monkeypatch):
    monkeypatch.setattr(estimate, "ESTIMATE_BUDGET", -1)
    heap = installed()
    put_in(source, 3)
    settle()
    found = estimate.estimate_replay("replay", heap, ReplaySelection())
    assert (found.exact, found.format_count()) == (False, "0+")
    assert (found.oldest_at, found.newest_at) == (None, None)


def test_a_preview_says_from_when_they_are_and_how_long_it_takes(source):
    heap = installed()
    put_in(source, 3)
    settle()
    times = list(Event.objects.order_by("pk").values_list("received_at", flat=True))
    for kind in ("replay", "backfill"):
        if kind == "backfill":
            Delivery.objects.all().delete()
        found = estimate.estimate_replay(kind, heap, ReplaySelection(), rate=0.5)
        assert (found.count, found.oldest_at, found.newest_at) == (3, times[0], times[-1])
        assert found.seconds == 6


# --- from the queue to the vendor --------------------------------------------------------------


def test_what_is_sent_again_has_its_old_time_and_key(source, settings):
    with FakeVendor() as vendor:
        settings.SANDBOX_URL = vendor.url
        heap = installed()
        put_in(source, 3)
        drain.drain_lane(Lane.objects.get().pk)
        assert Delivery.objects.filter(state="delivered").count() == 3
        lifecycle.start_replay("replay", heap, ReplaySelection(states=("delivered",)))
        replay = send(heap)
        first, second = (body["events"] for _, _, body in vendor.received)
    assert first == second
    assert {"idempotency_key", "timestamp"} <= first[0].keys()
    assert (replay.state, replay.queued, replay.outcome) == ("done", 3, {"delivered": 3})
    assert build_ledger().closes


def test_it_is_done_when_everything_has_left_its_lane(source):
    heap = installed()
    put_in(source, 2)
    settle()
    replay = go(lifecycle.start_replay("replay", heap, ReplaySelection()))
    assert (replay.state, replay.progress) == ("running", 1.0)
    settle("delivered")
    assert go(replay).state == "done"


def test_live_deliveries_have_lanes_of_their_own(source):
    heap = installed()
    put_in(source, 2)
    settle()
    go(lifecycle.start_replay("replay", heap, ReplaySelection()))
    put_in(source, 1)
    numbers = Delivery.objects.order_by("pk").values_list("lane__number", flat=True)
    assert list(numbers) == [routes.REPLAY_LANE_NUMBER, routes.REPLAY_LANE_NUMBER, 0]


def test_only_so_much_is_queued_at_a_time(source):
    heap = installed()
    put_in(source, 300)
    settle()
    replay = go(lifecycle.start_replay("replay", heap, ReplaySelection()))
    assert queued() == replay.queued == 2 * pace.INITIAL_WINDOW


def test_the_window_follows_what_the_vendor_takes():
    window = ReplayWindow()
    assert [window.room(0) for _ in range(6)] == [200, 400, 800, 1_600, 2_000, 2_000]
    assert [window.room(1_900), window.room(900)] == [0, 0]
    assert window.size == 500
    for _ in range(20):
        window.room(500)
    assert window.size == pace.MIN_WINDOW


def test_it_steps_back_while_live_deliveries_are_late(source):
    heap = installed()
    put_in(source, 2)
    settle()
    put_in(source, 1)
    Delivery.objects.filter(state="queued").update(queued_at=NOW - timedelta(seconds=5))
    replay = go(lifecycle.start_replay("replay", heap, ReplaySelection()))
    assert replay.queued == 0
    Delivery.objects.filter(state="queued").update(state="delivered")
    assert go(replay).queued == 2


def test_it_keeps_its_rate(source):
    heap = installed()
    put_in(source, 100)
    settle()
    replay = lifecycle.start_replay("replay", heap, ReplaySelection(), rate=20)
    window, now = ReplayWindow(), timezone.now()
    counts = []
    for tick in range(41):
        job.step_replay(replay.pk, window, now + timedelta(seconds=tick * 0.1))
        sent()
        counts.append(Replayed.objects.count())
    assert counts[0] == 5
    assert 80 <= counts[-1] <= 90  # 20 a second for four seconds, plus the burst at the start


def test_it_leaves_half_of_the_vendors_limit_to_live_traffic(source):
    heap = installed()
    heap.config = {"app_id": "1", "region": "us"}
    heap.save()
    put_in(source, 1)
    settle()
    replay = lifecycle.start_replay("replay", heap, ReplaySelection())
    assert pace.replay_rate_limit(replay) == 15_000 / 60 / 2


# --- pause, cancel, crash ----------------------------------------------------------------------


def test_paused_it_queues_no_more_and_goes_on_from_there(source):
    heap = installed()
    put_in(source, 300)
    settle()
    replay = lifecycle.start_replay("replay", heap, ReplaySelection())
    go(replay, steps=1)
    lifecycle.pause_replay(replay)
    sent()
    assert go(replay).queued == 200
    lifecycle.resume_replay(replay)
    assert go(replay).queued == 300


def test_cancelled_it_takes_back_what_nobody_has_sent(source):
    heap = installed()
    put_in(source, 4)
    settle("failed", error="TooLarge", reason="too large")
    one, *_ = Delivery.objects.order_by("pk")
    Delivery.objects.filter(pk=one.pk).update(state="filtered", error="", reason="not needed")
    before = list(Delivery.objects.order_by("pk").values("state", "error", "reason", "settled_at"))
    replay = lifecycle.start_replay("replay", heap, ReplaySelection(states=("failed", "filtered")))
    go(replay, steps=1)
    assert queued() == 4
    lifecycle.cancel_replay(replay)
    replay.refresh_from_db()
    after = list(Delivery.objects.order_by("pk").values("state", "error", "reason", "settled_at"))
    assert after == before
    assert (replay.state, replay.queued, replay.taken_back) == ("cancelled", 4, 4)
    assert build_ledger().closes


def test_cancelled_it_leaves_alone_what_may_be_under_way(source):
    heap = installed()
    put_in(source, 2)
    settle()
    replay = lifecycle.start_replay("replay", heap, ReplaySelection())
    go(replay, steps=1)
    held = leases.acquire_lease(routes.get_replay_lane(heap.pk).pk, timezone.now())
    lifecycle.cancel_replay(replay)
    assert (replay.state, queued()) == ("cancelling", 2)
    leases.release_lease(held)
    assert go(replay).state == "cancelled"
    assert queued() == 0


def test_what_is_over_cannot_be_turned(source):
    heap = installed()
    replay = lifecycle.start_replay("replay", heap, ReplaySelection())
    assert go(replay).state == "done"
    for turn in (lifecycle.pause_replay, lifecycle.resume_replay, lifecycle.cancel_replay):
        with pytest.raises(InvalidReplayState, match="done"):
            turn(replay)


def test_the_same_replay_is_not_started_twice(source):
    heap = installed()
    replay = lifecycle.start_replay("replay", heap, ReplaySelection())
    with pytest.raises(ReplayAlreadyRunning, match=f"Replay {replay.pk}"):
        lifecycle.start_replay("replay", heap, ReplaySelection())
    lifecycle.start_replay("replay", heap, ReplaySelection(user_id="ada"))
    go(replay)
    lifecycle.start_replay("replay", heap, ReplaySelection())


def test_two_passes_at_once_queue_each_delivery_once(source):
    heap = installed()
    put_in(source, 50)
    settle()
    replays = [
        lifecycle.start_replay("replay", heap, ReplaySelection()),
        lifecycle.start_replay("replay", heap, ReplaySelection(event="E")),
    ]
    for replay in replays:
        go(replay)
    assert Replayed.objects.count() == queued() == 50


def test_what_is_queued_again_while_its_chunk_is_looked_up_is_left_alone(source):
    heap = installed()
    put_in(source, 2)
    settle()
    replay = lifecycle.start_replay("replay", heap, ReplaySelection())
    lane = routes.get_replay_lane(heap.pk)
    span = build_replay_range("replay", heap.pk, ReplaySelection())
    chunk = job.replay_chunk.next_chunk(span, replay.cursor, 10, None)
    Delivery.objects.filter(pk=chunk.ids[0]).deliver_again(NOW, "hand")
    assert job._queue_chunk(replay, chunk, lane, NOW) == 1
    # a second worker with the same chunk finds the cursor moved
    assert job._queue_chunk(replay, chunk, lane, NOW) == 0


def test_a_crash_within_a_step_leaves_nothing_of_it(source, monkeypatch):
    heap = installed()
    put_in(source, 3)
    settle()
    replay = lifecycle.start_replay("replay", heap, ReplaySelection())

    def crash(*args):
        raise RuntimeError("killed")

    monkeypatch.setattr(job, "next_due_at", crash)
    with pytest.raises(RuntimeError), transaction.atomic():
        job.step_replay(replay.pk, ReplayWindow(), NOW)
    assert (queued(), Replayed.objects.count()) == (0, 0)
    monkeypatch.undo()
    assert go(replay).queued == 3


def test_one_whose_worker_died_is_rung_for_again(source):
    replay = lifecycle.start_replay("replay", installed(), ReplaySelection())
    rung = []

    def ring(later):
        before = Replay.objects.get().stepped_at
        job.enqueue_stalled_replays(NOW + timedelta(seconds=later))
        rung.append(Replay.objects.get().stepped_at != before)

    for later in (0, 3, 6, 7):
        ring(later)
    assert rung == [True, False, True, False]
    lifecycle.pause_replay(replay)
    ring(60)
    assert rung[-1] is False


# --- backfill ----------------------------------------------------------------------------------


def old_events(source, days=3):
    put_in(source, 3)
    put_in(source, 2, "page")
    for model, column in ((Event, "received_at"), (Tally, "at")):
        for row in model.objects.all():
            at = getattr(row, column) - timedelta(days=days)
            model.objects.filter(pk=row.pk).update(**{column: at})


def test_a_new_installation_gets_past_events_that_it_wants(source):
    old_events(source)
    heap = installed(trigger='type = "track"')
    put_in(source, 1)
    found = estimate.estimate_replay("backfill", heap, ReplaySelection())
    assert (found.count, found.exact) == (3, True)
    replay = go(lifecycle.start_replay("backfill", heap, ReplaySelection()))
    assert (replay.queued, replay.unwanted) == (3, 2)
    assert Delivery.objects.filter(trigger="backfill").count() == 3
    [line] = build_ledger().lines
    assert (line.in_scope, line.unwanted, line.queued, line.difference) == (4, 0, 4, 0)


def test_only_sources_that_feed_an_installation_are_filled_in(source):
    old_events(source)
    other = factories.make_source("Other")
    put_in(other, 2)
    heap = installed()
    heap.all_sources = False
    heap.save()
    assert estimate.estimate_replay("backfill", heap, ReplaySelection()).count == 0
    heap.sources.add(other)
    assert go(lifecycle.start_replay("backfill", heap, ReplaySelection())).queued == 2


def test_uninstalled_its_replays_are_cancelled(source):
    heap = installed()
    put_in(source, 2)
    settle()
    replay = lifecycle.start_replay("replay", heap, ReplaySelection())
    heap.uninstalled_at = NOW
    heap.save()
    assert go(replay).state == "cancelled"
    assert queued() == 0


def test_a_second_backfill_makes_nothing_twice(source):
    old_events(source)
    heap = installed(trigger='type = "track"')
    go(lifecycle.start_replay("backfill", heap, ReplaySelection()))
    settle("delivered")
    go(Replay.objects.get())
    before = build_ledger()
    assert go(lifecycle.start_replay("backfill", heap, ReplaySelection())).queued == 0
    assert build_ledger() == before


def test_what_was_not_wanted_is_delivered_when_the_blueprint_wants_it_now(source):
    heap = installed(trigger='type = "page"')
    old_events(source)
    settle("delivered")
    blueprint(heap, 'type = "track" or type = "page"')
    assert go(lifecycle.start_replay("backfill", heap, ReplaySelection())).queued == 3
    [line] = build_ledger().lines
    assert (line.in_scope, line.unwanted, line.queued, line.delivered) == (8, 3, 3, 2)
    assert build_ledger().closes


def test_a_backfill_begins_where_it_is_told_and_sends_the_events_as_they_were(source, settings):
    old_events(source, days=3)
    put_in(source, 1)
    with FakeVendor() as vendor:
        settings.SANDBOX_URL = vendor.url
        heap = installed()
        lifecycle.start_replay("backfill", heap, ReplaySelection(since=NOW - timedelta(days=1)))
        assert send(heap).outcome == {"delivered": 1}
        lifecycle.start_replay("backfill", heap, ReplaySelection())
        send(heap)
        times = [e["timestamp"] for _, _, body in vendor.received for e in body["events"]]
    assert len(times) == 6
    assert times[-1] < times[0]
    assert build_ledger().closes


def test_a_cancelled_backfill_says_so_on_its_deliveries(source):
    old_events(source)
    heap = installed()
    replay = lifecycle.start_replay("backfill", heap, ReplaySelection())
    go(replay, steps=1)
    lifecycle.cancel_replay(replay)
    assert set(Delivery.objects.values_list("state", "reason")) == {
        ("cancelled", f"Backfill {replay.pk} was cancelled before it was sent.")
    }
    assert build_ledger().closes


def test_the_ledger_closes_when_the_tallies_are_rolled_up(source):
    old_events(source)
    heap = installed()
    rollup.roll_up_metrics(NOW)
    assert not Tally.objects.exists()
    assert go(lifecycle.start_replay("backfill", heap, ReplaySelection())).queued == 5
    assert build_ledger().closes


def test_the_log_finds_by_time_also_among_what_was_filled_in(source):
    """A backfill makes new deliveries of old events, so the order of ids is not that of times."""
    installed("First")
    old_events(source, days=20)
    put_in(source, 4)
    second = installed("Second")
    go(lifecycle.start_replay("backfill", second, ReplaySelection(until=NOW - timedelta(days=10))))
    put_in(source, 4)
    settle("delivered")

    def found(since, until):
        rows = Delivery.objects.all()
        began, ended = NOW - timedelta(days=since), NOW - timedelta(days=until)
        return filter_time_range(rows, "event__received_at", since=began, until=ended).count()

    assert (found(30, 10), found(10, -1), found(30, -1)) == (10, 12, 22)
    Delivery.objects.update(settled_at=NOW - timedelta(days=31))
    assert retention.purge_old_rows(NOW)["deliveries"] == 0  # their events are recent


def test_a_purge_takes_what_was_replayed_with_it(source):
    heap = installed()
    put_in(source, 2)
    settle()
    go(lifecycle.start_replay("replay", heap, ReplaySelection()))
    settle("delivered", queued_at=NOW)
    Event.objects.update(received_at=NOW - timedelta(days=31))
    Delivery.objects.update(settled_at=NOW - timedelta(days=31))
    assert retention.purge_old_rows(NOW)["deliveries"] == 2
    assert not Replayed.objects.exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="asks PostgreSQL for its plan")
def test_a_window_is_found_by_the_installations_own_index(source):
    heap = factories.make_installation()
    span = build_replay_range("replay", heap.pk, ReplaySelection())
    with connection.cursor() as cursor:  # otherwise any plan may be chosen for an empty table
        for other in ("seqscan", "bitmapscan", "sort"):
            cursor.execute(f"SET LOCAL enable_{other} = off")
    plan = span._all_rows().filter(pk__gt=0, pk__lte=10**9)[:10].explain()
    assert "delivery_newest" in plan
    assert "Sort" not in plan
