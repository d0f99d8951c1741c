"""The cluster runs only Penstock's tasks: what django-q2's own pusher and worker make of others."""

import os
import pickle
import queue
import secrets
from datetime import timedelta
from multiprocessing import Value
from threading import Event

import pytest
from django.core import signing
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import Schedule, Task
from django_q.pusher import pusher
from django_q.scheduler import scheduler
from django_q.signing import SignedPackage
from django_q.status import Stat
from django_q.tasks import async_task
from django_q.worker import worker

from delivery.management.commands.bootstrap import SWEEP_SCHEDULE
from delivery.operations.named_tasks import NamedTasksInDatabase, NamedTasksInRedis

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _one_connection(monkeypatch):
    """The functions run in this process, and may not close the connection of its transaction."""
    for module in ("worker", "scheduler"):
        monkeypatch.setattr(f"django_q.{module}.close_old_django_connections", lambda: None)


@pytest.fixture(params=["database", "redis"])
def broker(request, monkeypatch):
    """A broker with a queue of its own. The shared Redis may hold another cluster's."""
    key = f"test-{secrets.token_hex(4)}"
    if request.param == "database":
        yield NamedTasksInDatabase(key)
        return
    monkeypatch.setattr(Conf, "REDIS", request.getfixturevalue("redis_url"))
    broker = NamedTasksInRedis(key)
    yield broker
    broker.delete_queue()


@pytest.fixture
def mark(tmp_path):
    """A file that a foreign task would make."""
    return tmp_path / "mark"


def run_all(broker):
    """Run what is queued with the functions of a cluster's processes; return the finished tasks."""
    tasks, results, stopping = queue.Queue(), queue.Queue(), Event()
    stopping.set()  # after the first task
    while broker.queue_size():
        pusher(tasks, stopping, broker)
    tasks.put("STOP")
    worker(tasks, results, Value("f", -1))
    return list(results.queue)


def enqueue(broker, **task):
    """Queue a signed task, as whoever knows SECRET_KEY can."""
    whole = {"id": "1", "name": "one", "args": (), "kwargs": {}, "started": timezone.now(), **task}
    broker.enqueue(SignedPackage.dumps(whole))


def names(finished):
    return [each["func"] for each in finished]


@pytest.fixture
def drained(monkeypatch):
    """The lanes of the drain tasks that ran, none of which started a thread."""
    lanes = []
    monkeypatch.setattr("delivery.tasks.drain", lanes.append)
    return lanes


def test_a_named_task_runs_and_is_acknowledged_even_if_it_fails(broker, drained):
    async_task("delivery.tasks.roll_up", broker=broker)
    async_task("delivery.tasks.drain", 4711, broker=broker)
    finished = run_all(broker)
    assert names(finished) == ["delivery.tasks.roll_up", "delivery.tasks.drain"]
    assert all(each["success"] and each["ack_failure"] for each in finished)
    assert drained == [4711]


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_task_signed_with_an_earlier_key_runs_while_that_is_listed(
    broker, drained, settings, monkeypatch, is_listed
):
    async_task("delivery.tasks.drain", 4711, broker=broker)
    settings.SECRET_KEY_FALLBACKS = ["older" * 8, *([Conf.SECRET_KEY] if is_listed else [])]
    monkeypatch.setattr(Conf, "SECRET_KEY", "a-new-key" * 8)
    run_all(broker)
    assert drained == ([4711] if is_listed else [])


def test_every_named_task_exists(settings):
    from delivery import tasks

    assert settings.CLUSTER_TASKS
    assert all(hasattr(tasks, name.rpartition(".")[2]) for name in settings.CLUSTER_TASKS)
    assert SWEEP_SCHEDULE["func"] in settings.CLUSTER_TASKS


@pytest.mark.parametrize("schedule", [{"func": "os.system"}, {"hook": "os.system"}])
def test_a_schedule_of_someone_else_runs_nothing(broker, mark, caplog, schedule):
    Schedule.objects.all().delete()
    row = {"func": "delivery.tasks.roll_up", "schedule_type": "I", "minutes": 1, **schedule}
    row["args"] = f"'touch {mark}'" if "func" in schedule else None
    Schedule.objects.create(next_run=timezone.now() - timedelta(minutes=1), **row)
    scheduler(broker)
    finished = run_all(broker)
    assert not mark.exists()
    assert "hook" not in str(finished)
    assert names(finished) == [] or schedule == {"hook": "os.system"}
    if "func" in schedule:
        assert "Dropped a task that is not Penstock's: os.system" in caplog.text


@pytest.mark.parametrize(
    "task",
    [
        {"func": "os.system"},
        {"func": os.system},
        {"func": "delivery.tasks.timezone.now", "args": ()},
        {"func": "delivery.tasks.drain", "args": ("1",)},
        {"func": ["delivery.tasks.drain"]},
        {},
    ],
    ids=str,
)
def test_a_signed_task_of_someone_else_is_dropped_and_the_next_one_runs(broker, mark, caplog, task):
    enqueue(broker, **{"args": (f"touch {mark}",), **task})
    async_task("delivery.tasks.roll_up", broker=broker)
    assert names(run_all(broker)) == ["delivery.tasks.roll_up"]
    assert not mark.exists()
    assert caplog.text.count("Dropped a task that is not Penstock's") == 1
    assert broker.queue_size() == 0
    assert broker.lock_size() in (1, None)  # the one that ran; nobody acknowledges it here


class Pickled:
    """An object whose pickle runs a command when it is read."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_signed_pickle_runs_no_code_when_it_is_read(broker, mark, caplog):
    enqueue(broker, func="delivery.tasks.roll_up", args=(Pickled(f"touch {mark}"),))
    assert run_all(broker) == []
    assert not mark.exists()
    assert "its pickle names posix.system" in caplog.text


def test_a_status_of_a_cluster_that_someone_else_wrote_is_not_read(redis_url, monkeypatch, mark):
    monkeypatch.setattr(Conf, "REDIS", redis_url)
    broker, cluster = NamedTasksInRedis(), f"test-{secrets.token_hex(4)}"
    broker.set_stat(Stat.get_key(cluster), SignedPackage.dumps(Pickled(f"touch {mark}")), 30)
    monkeypatch.setattr("django_q.status.get_broker", lambda *_: broker)
    assert Stat.get(pid=1, cluster_id=cluster).cluster_id == cluster
    Stat.get_all(broker=broker)
    assert not mark.exists()


@pytest.mark.parametrize("payload", ["", "garbage", "a:b:c", "é"])
def test_a_payload_without_a_signature_is_dropped(broker, caplog, payload):
    broker.enqueue(payload)
    async_task("delivery.tasks.roll_up", broker=broker)
    assert names(run_all(broker)) == ["delivery.tasks.roll_up"]
    assert "Dropped a task" in caplog.text


def test_a_payload_signed_for_something_else_is_dropped(broker, mark):
    pickled = pickle.dumps({"func": Pickled(f"touch {mark}")}).decode("latin-1")
    broker.enqueue(signing.dumps(pickled, key=Conf.SECRET_KEY, salt="sessions"))
    assert run_all(broker) == []
    assert not mark.exists()


def test_bytes_that_are_no_text_are_dropped(redis_url, monkeypatch, caplog):
    monkeypatch.setattr(Conf, "REDIS", redis_url)
    broker = NamedTasksInRedis(f"test-{secrets.token_hex(4)}")
    broker.enqueue(b"\xff\xfe:a:b")
    assert run_all(broker) == []
    assert "Dropped a task" in caplog.text


def test_a_task_keeps_nothing_but_its_function_and_arguments(broker, drained):
    Task.objects.create(
        id="1", name="one", func="f", hook="os.system", started=timezone.now(),
        stopped=timezone.now(), result=None, success=False,
    )  # fmt: skip
    enqueue(
        broker, func="delivery.tasks.drain", args=(4711,), kwargs={"lane_id": 1}, hook="os.system",
        chain=[("os.system", ("true",))], timeout=-1, cached=True, save=True, group="g", sync=True,
    )  # fmt: skip
    [task] = run_all(broker)
    assert (drained, task["kwargs"]) == ([4711], {})
    assert not Task.objects.filter(id=task["id"]).exists()  # django-q2 would load its pickle
    assert not {"hook", "chain", "cached", "save", "group", "sync"} & task.keys()
