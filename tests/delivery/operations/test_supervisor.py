"""The decisions of the supervisor: what makes it restart a cluster, and what does not."""

import logging
import os
import signal
import subprocess
import sys
from datetime import timedelta

import psutil
import pytest
from django.db import OperationalError
from django.utils import timezone
from django_q.models import OrmQ

from delivery import tasks
from delivery.accounting import rollup
from delivery.lanes import wakeups
from delivery.models import Delivery, Event, Heartbeat, Lane, Tally
from delivery.operations import restarts, supervisor
from delivery.operations.processes import StopRequest
from integrations.models import Installation, Source
from tests.support import factories

# A stand-in for qcluster: a main process with a child.
IMPOSTOR = """
import subprocess, time
child = subprocess.Popen(["sleep", "60"])
time.sleep(60)
"""
NAMES = {10: "qcluster MainProcess north", 11: "qcluster Process-1 idle", 12: "python -m x"}


def at(seconds: float):
    return timezone.now() + timedelta(seconds=seconds)


class TestProcessRoster:
    def test_who_left_is_named(self):
        roster = supervisor.ProcessRoster()
        assert roster.missing(NAMES) == ""

        reason = roster.missing({10: NAMES[10]})

        assert reason == "gone: qcluster Process-1 idle (pid 11)"

    def test_who_came_is_watched_from_then_on(self):
        roster = supervisor.ProcessRoster()
        roster.missing({10: NAMES[10]})
        assert roster.missing(NAMES) == ""

        assert "pid 11" in roster.missing({10: NAMES[10]})

    def test_what_is_not_of_django_q_may_come_and_go(self):
        roster = supervisor.ProcessRoster()
        roster.missing(NAMES)

        assert roster.missing({10: NAMES[10], 11: NAMES[11]}) == ""

    def test_the_last_name_is_the_one_that_counts(self):
        roster = supervisor.ProcessRoster()
        roster.missing({11: "qcluster Process-1 idle"})
        roster.missing({11: "qcluster Process-1 processing north 'delivery.tasks.drain'"})

        assert "processing north" in roster.missing({})


class TestWakeupMonitor:
    """`rung` maps each lane without a worker to the time of its last wake-up."""

    def test_a_bell_that_nobody_answers_is_silence(self):
        monitor = supervisor.WakeupMonitor()
        rung_at = timezone.now()
        again = rung_at + wakeups.REPEAT_WAKEUP_AFTER

        looks = [(100.0, rung_at), (103.0, rung_at), (106.0, again), (109.0, again)]
        silences = [monitor.silence({1: at}, busy=False, clock=clock) for clock, at in looks]

        assert silences == [0, 3, 6, 9]

    def test_busy_workers_are_no_silence(self):
        monitor = supervisor.WakeupMonitor()
        rung = {1: timezone.now()}
        monitor.silence(rung, busy=True, clock=100.0)

        assert monitor.silence(rung, busy=True, clock=150.0) == 0

    def test_a_lane_that_somebody_took_is_an_answer(self):
        monitor = supervisor.WakeupMonitor()
        rung_at = timezone.now()
        monitor.silence({1: rung_at, 2: rung_at}, busy=False, clock=100.0)
        monitor.silence({1: rung_at, 2: rung_at}, busy=False, clock=107.0)

        assert monitor.silence({2: rung_at}, busy=False, clock=110.0) == 0

    def test_a_lane_taken_and_rung_again_between_two_looks_is_an_answer(self):
        monitor = supervisor.WakeupMonitor()
        rung_at = timezone.now()
        monitor.silence({1: rung_at}, busy=False, clock=100.0)
        monitor.silence({1: rung_at}, busy=False, clock=107.0)
        sooner = rung_at + wakeups.REPEAT_WAKEUP_AFTER / 2

        assert monitor.silence({1: sooner}, busy=False, clock=110.0) == 0

    def test_nothing_to_do_is_no_silence(self):
        monitor = supervisor.WakeupMonitor()
        monitor.silence({}, busy=False, clock=100.0)

        assert monitor.silence({}, busy=False, clock=200.0) == 0
        assert monitor.silence({1: timezone.now()}, busy=False, clock=201.0) == 0


@pytest.fixture
def stop(monkeypatch):
    """A request to stop that leaves the handlers of pytest alone."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    request = StopRequest()
    monkeypatch.undo()
    return request


@pytest.fixture
def cluster(monkeypatch):
    """A cluster whose qcluster is a stand-in that does nothing."""
    monkeypatch.setattr(supervisor, "manage", lambda *_: [sys.executable, "-c", IMPOSTOR])
    cluster = supervisor.SupervisedCluster()
    yield cluster
    cluster.group.kill()
    cluster.group.close()
    cluster.folder.cleanup()


@pytest.fixture
def lane(db):
    """A lane with one queued delivery and no worker."""
    now = timezone.now()
    source = Source.objects.create(name="Shop")
    installation = Installation.objects.create(
        name="Heap", destination_key="heap", variant="default"
    )
    lane = Lane.objects.create(installation=installation)
    event = Event.objects.create(
        source=source, message_id="m", type="track", timestamp=now, received_at=now
    )
    Delivery.objects.create(event=event, installation=installation, lane=lane)
    return lane


class TestCluster:
    def test_each_start_has_a_name_of_its_own(self, cluster):
        another = supervisor.SupervisedCluster()
        another.group.kill()
        another.group.close()
        another.folder.cleanup()

        assert another.holder != cluster.holder
        assert len(cluster.heartbeat) <= Heartbeat._meta.get_field("name").max_length
        assert len(cluster.holder) <= Lane._meta.get_field("holder").max_length

    def test_qcluster_that_ended_is_a_reason(self, cluster):
        cluster.group.kill()

        assert cluster.missing() == "qcluster ended with exit code -9"

    @pytest.mark.django_db
    def test_a_late_sweep_is_a_reason_but_not_before_it_had_its_time(self, cluster):
        Heartbeat.objects.create(name="sweep", at=at(-1_000))

        assert self.sweep_after(cluster, 100.0) == ""
        assert self.sweep_after(cluster, 60.0).startswith("no sweep for 150 s")

    def sweep_after(self, cluster, seconds: float) -> str:
        """Check the sweep, advance the group's clock by `seconds`, and check again."""
        cluster.late_sweep(timezone.now())
        cluster.clock.seconds += seconds
        return cluster.late_sweep(timezone.now())

    @pytest.mark.django_db
    def test_a_recent_sweep_is_none(self, cluster):
        Heartbeat.objects.create(name="sweep", at=at(-1_000))
        self.sweep_after(cluster, 100.0)
        Heartbeat.objects.update(at=at(0))

        assert self.sweep_after(cluster, 60.0) == ""

    @pytest.mark.django_db
    def test_the_time_in_which_the_group_could_not_run_makes_no_sweep_late(self, cluster):
        Heartbeat.objects.create(name="sweep", at=at(-1_000))
        cluster.started_at = at(-1_000)

        assert self.sweep_after(cluster, 10.0) == ""

    def test_a_stranded_lane_is_rung_at_each_look(self, cluster, lane, monkeypatch):
        rung = []
        monkeypatch.setattr(wakeups, "async_task", lambda *task: rung.append(task))

        assert cluster.unanswered(timezone.now()) == ""

        assert rung == [("delivery.tasks.drain", lane.pk)]

    def look_thrice(self, cluster, seconds: float = 9.0) -> list[str]:
        """Check twice at once, and a third time after `seconds` on the group's clock."""
        first = [cluster.unanswered(timezone.now()) for _ in range(2)]
        cluster.clock.seconds += seconds
        return [*first, cluster.unanswered(timezone.now())]

    def test_a_lane_that_stays_stranded_is_a_reason(self, cluster, lane):
        cluster.startup.is_over = True

        reasons = self.look_thrice(cluster)

        assert reasons[:2] == ["", ""]
        assert reasons[2] == "1 lanes were woken and idle workers did not respond for 9 s"

    def test_a_group_without_processor_time_is_not_frozen(self, cluster, lane):
        """Its clock stands still, however much time passes."""
        cluster.startup.is_over = True
        self.look_thrice(cluster, 0.5)
        cluster.group.started -= 600.0

        assert cluster.unanswered(timezone.now()) == ""

    def test_a_group_that_is_just_starting_is_given_time(self, cluster, lane):
        assert self.look_thrice(cluster, 14.0) == ["", "", ""]

    def test_a_group_that_does_not_come_up_in_its_time_is_a_reason(self, cluster, lane):
        cluster.startup.ends_with(["qcluster Process-1 idle"])
        cluster.group.started -= 40.0

        reason = self.look_thrice(cluster, 16.0)[-1]

        parts = cluster.startup.parts
        assert reason == f"only 1 of {parts} processes were ready after 40 s"

    def test_after_failed_starts_it_has_more_time(self, cluster, lane):
        cluster.startup = supervisor.Startup(workers=1, failed_before=2)

        assert self.look_thrice(cluster, 59.0) == ["", "", ""]
        cluster.clock.seconds += 2.0
        assert cluster.unanswered(timezone.now()).startswith("only 0 of 3 processes were ready")

    def test_what_was_rung_while_it_started_is_no_silence_once_it_is_up(
        self, cluster, lane, monkeypatch, caplog
    ):
        self.look_thrice(cluster, 12.0)
        cluster.startup.parts = 1
        monkeypatch.setattr(supervisor, "title", lambda process: "qcluster Process-1 idle")

        with caplog.at_level(logging.INFO):
            assert cluster.missing() == ""

        assert cluster.unanswered(timezone.now()) == ""
        assert "The cluster is up after" in caplog.text

    @pytest.mark.django_db
    def test_its_time_is_measured_when_that_matters(self, cluster):
        assert cluster.is_judged
        cluster.startup.is_over = True
        assert not cluster.is_judged
        cluster.wakeup_monitor.pending = {1: timezone.now()}
        assert cluster.is_judged
        cluster.wakeup_monitor.pending = {}
        cluster.clock.seconds += 91.0
        assert cluster.is_judged

    def test_a_lane_that_waits_while_every_worker_is_at_a_task_is_none(
        self, cluster, lane, settings, monkeypatch
    ):
        cluster.startup.is_over = True
        settings.CLUSTER_WORKERS = 2
        monkeypatch.setattr(cluster, "processing", lambda: 2)
        assert self.look_thrice(cluster) == ["", "", ""]

    def test_a_lane_that_only_waits_for_its_vendor_takes_no_worker(
        self, cluster, lane, settings, monkeypatch
    ):
        cluster.startup.is_over = True
        settings.CLUSTER_WORKERS = 1
        other = Installation.objects.create(name="2", destination_key="heap", variant="default")
        Lane.objects.create(
            installation=other,
            holder=cluster.holder,
            lease=os.urandom(16).hex(),
            lease_until=at(20),
        )
        assert "did not respond" in self.look_thrice(cluster)[-1]

    @pytest.mark.django_db
    def test_a_database_that_is_away_is_no_reason(self, cluster, monkeypatch, caplog):
        def away(*_):
            raise OperationalError("connection refused")

        monkeypatch.setattr(cluster, "beat", away)

        assert cluster.neglected() == ""
        assert "cannot reach the database: connection refused" in caplog.text

    @pytest.mark.django_db(transaction=True)  # the supervisor closes a failed connection
    def test_a_database_that_is_back_is_one(self, cluster, monkeypatch):
        """During an outage, processes of django-q2 sleep for 10 s, and some of them exit."""

        def away(*_):
            raise OperationalError("connection refused")

        with monkeypatch.context() as outage:
            outage.setattr(cluster, "beat", away)
            cluster.neglected()

        assert cluster.neglected() == "the database was unavailable"

    def test_leases_that_end_with_an_outage_of_the_database_are_no_deaths(self, cluster, lane):
        Lane.objects.update(holder=cluster.holder, lease=os.urandom(16).hex(), lease_until=at(20))
        cluster.database_was_away = True

        cluster.end()

        assert wakeups.lanes_needing_a_worker(timezone.now()) == [lane.pk]
        assert Lane.objects.get().deaths == 0

    @pytest.mark.django_db(transaction=True)
    def test_nothing_is_started_before_the_database_answers(self, monkeypatch, caplog, stop):
        tries = []

        def refuse_twice():
            tries.append(1)
            if len(tries) < 3:
                raise OperationalError("connection refused")

        monkeypatch.setattr(supervisor, "DATABASE_LOOK", 0.0)
        monkeypatch.setattr(supervisor.Heartbeat.objects, "exists", refuse_twice)

        supervisor.wait_for_database(stop)

        assert len(tries) == 3
        assert caplog.text.count("before starting the cluster: connection refused") == 1

    @pytest.mark.django_db
    def test_a_sweep_that_is_late_is_rung_for_before_anything_is_restarted(self, cluster):
        Heartbeat.objects.create(name="sweep", at=at(-100))
        cluster.swept_at = at(-200)
        cluster.late_sweep(timezone.now())
        cluster.clock.seconds += 100.0

        assert [cluster.late_sweep(timezone.now()) for _ in range(3)] == ["", "", ""]
        assert [task.func() for task in OrmQ.objects.all()] == ["delivery.tasks.sweep"]

    @pytest.mark.django_db
    def test_what_was_counted_is_rolled_up_every_few_seconds(self, cluster):
        later = cluster.started_at + supervisor.ROLL_UP
        cluster.enqueue_roll_up(later)
        assert not OrmQ.objects.exists()  # there is nothing to roll up
        Tally.objects.create(source=factories.make_source(), at=later, events=1, unwanted="{}")

        for moment in (cluster.started_at, later, later, later + supervisor.ROLL_UP):
            cluster.enqueue_roll_up(moment)

        assert [task.func() for task in OrmQ.objects.all()] == ["delivery.tasks.roll_up"] * 2
        assert tasks.roll_up() == 1
        assert not rollup.needs_rollup()

    @pytest.mark.django_db
    def test_its_heartbeat_is_kept_for_as_long_as_it_runs(self, cluster):
        cluster.beat(timezone.now())
        assert Heartbeat.objects.filter(name=cluster.heartbeat).exists()

        cluster.stop()

        assert not Heartbeat.objects.exists()

    def test_the_leases_of_a_dead_cluster_are_given_back(self, cluster, lane):
        Lane.objects.update(holder=cluster.holder, lease=os.urandom(16).hex(), lease_until=at(20))

        cluster.end()

        assert wakeups.lanes_needing_a_worker(timezone.now()) == [lane.pk]
        assert not cluster.group.members()

    @pytest.mark.django_db
    def test_stopping_tells_the_workers_first(self, cluster, monkeypatch):
        exists = []
        stop = cluster.group.stop
        monkeypatch.setattr(
            cluster.group, "stop", lambda s: (exists.append(cluster.stop_file.exists()), stop(s))
        )

        cluster.stop()

        assert exists == [True]
        assert not cluster.group.members()


class TestOrphans:
    """Leases of a cluster that was killed together with its supervisor."""

    def leased_by(self, lane, holder) -> bool:
        Lane.objects.update(holder=holder, lease=os.urandom(16).hex(), lease_until=at(20))
        supervisor.release_orphaned()
        return not wakeups.lanes_needing_a_worker(timezone.now())

    def test_a_watch_that_is_gone_loses_its_lanes(self, lane):
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()

        assert not self.leased_by(lane, f"{supervisor.here()}:{ended.pid}:1f")
        assert Lane.objects.get().deaths == 1

    def test_a_watch_that_lives_keeps_them(self, lane):
        assert self.leased_by(lane, f"{supervisor.here()}:{os.getppid()}:1f")

    def test_our_own_last_cluster_loses_them_and_nobody_died_of_a_message(self, lane):
        """It ended while the database was unavailable, so that its leases could not be released."""
        assert not self.leased_by(lane, f"{supervisor.here()}:{os.getpid()}:1f")
        assert Lane.objects.get().deaths == 0

    @pytest.mark.parametrize("holder", ["elsewhere/1/2:99999999:1f", "", "by hand"])
    def test_of_other_machines_nothing_is_known(self, lane, holder):
        assert self.leased_by(lane, holder)


@pytest.mark.django_db(transaction=True)
def test_the_whole_group_is_started_again_when_a_part_of_it_dies(monkeypatch, caplog, stop):
    monkeypatch.setattr(supervisor, "manage", lambda *_: [sys.executable, "-c", IMPOSTOR])
    monkeypatch.setattr(supervisor, "title", lambda process: "qcluster")
    monkeypatch.setattr(supervisor, "TICK", 0.1)
    groups = []

    class Sabotaged(supervisor.SupervisedCluster):
        """A cluster that once, at the fifth check of the whole group, loses its child."""

        looks = 0

        def missing(self):
            children = [each for each in self.group.members() if each.name() == "sleep"]
            self.looks += len(children)
            if self.looks == 5 and self.group not in groups:
                groups.append(self.group)
                if len(groups) == 1:
                    children[0].kill()
                else:
                    stop.asked = True
            return super().missing()

    monkeypatch.setattr(supervisor, "SupervisedCluster", Sabotaged)

    with caplog.at_level(logging.WARNING):
        supervisor.supervise(stop)

    assert len(groups) == 2
    assert [m for m in caplog.messages if m.startswith("Restarting the cluster: gone: qcluster")]
    assert not [each for group in groups for each in group.members()]
    assert not [each for each in psutil.Process().children(recursive=True) if each.is_running()]


@pytest.mark.django_db(transaction=True)
def test_groups_that_do_not_come_up_get_more_time_and_longer_pauses(monkeypatch, stop):
    """The third group comes up, so the fourth one starts with the usual limit again."""
    monkeypatch.setattr(supervisor, "manage", lambda *_: [sys.executable, "-c", IMPOSTOR])
    limits, pauses = [], []
    lives = iter([False, False, True, False])

    class Short(supervisor.SupervisedCluster):
        def watch(self, stop):
            limits.append(self.startup.limit)
            self.group.started -= 60.0
            self.startup.is_over = next(lives)
            stop.asked = len(limits) == 4
            return "" if stop.asked else f"reason {len(limits)}"

    monkeypatch.setattr(supervisor, "SupervisedCluster", Short)
    monkeypatch.setattr(stop, "wait", pauses.append)

    supervisor.supervise(stop)

    assert limits == [15.0, 30.0, 60.0, 15.0]
    assert pauses == [0.0, 1.0, 0.0]
    found = restarts.list_restarts_since(at(-60))
    assert [each.reason for each in found] == ["reason 3", "reason 2", "reason 1"]
