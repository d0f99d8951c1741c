"""Brokers that pass on only the tasks of `delivery.tasks`.

A row in django-q2's schedule, or a task that someone else has put into the queue, may name any
function of any module. Each task is therefore checked, and built again from its function and
arguments, before the rest of django-q2 sees it.
"""

import io
import logging
import pickle
from contextlib import suppress
from typing import Any

from django.conf import settings
from django_q import core_signing
from django_q.brokers.orm import ORM
from django_q.brokers.redis_broker import Redis
from django_q.conf import Conf
from django_q.humanhash import uuid
from django_q.signing import SignedPackage

logger = logging.getLogger(__name__)

TaskList = list[tuple[Any, Any]] | None

# Everything in a task that is not one of Python's own literals: the time at which it was queued.
PICKLED_CLASSES = {("datetime", "datetime"), ("datetime", "timezone"), ("datetime", "timedelta")}


class ForeignTask(Exception):
    """The task is not one of Penstock's."""


class NamedTasks:
    """Mixin of a broker: drops every task that is not one of settings.CLUSTER_TASKS."""

    def dequeue(self) -> TaskList:
        tasks: TaskList = super().dequeue()  # type: ignore[misc]
        return [each for each in map(self._rebuild, tasks) if each] if tasks else tasks

    def _rebuild(self, queued: tuple[Any, Any]) -> tuple[Any, Any] | None:
        pk, payload = queued
        try:
            return pk, rebuild_task(payload)
        except Exception as error:  # someone else wrote it, so that reading it may fail in any way
            logger.error("Dropped a task that is not Penstock's: %s", str(error)[:200])
        self.fail(pk)  # type: ignore[attr-defined]
        return None

    def get_stat(self, key: str) -> None:
        """Return nothing, because django-q2 would read a pickle that anyone may have put there."""

    def get_stats(self, pattern: str) -> None:
        """Return nothing, as get_stat does; Penstock has heartbeats of its own."""


class NamedTasksInDatabase(NamedTasks, ORM):  # type: ignore[misc]  # it has no types
    """django-q2's broker in the database, for named tasks only."""


class NamedTasksInRedis(NamedTasks, Redis):  # type: ignore[misc]  # it has no types
    """django-q2's broker in Redis, for named tasks only."""


def rebuild_task(payload: Any) -> str:
    """Return a signed task with the function and arguments of this one. Raises ForeignTask.

    Nothing else is kept. A hook or a chain would run further functions, and django-q2 looks a task
    with a known id up in its table, whose pickled columns anyone with the database can write.
    """
    task = _read_task(payload)
    function, arguments, started = task["func"], task["args"], task["started"]
    if function not in settings.CLUSTER_TASKS or not all(type(each) is int for each in arguments):
        raise ForeignTask(f"{function} with {arguments}")
    name, task_id = uuid()
    rebuilt = {
        "id": task_id,
        "name": name,
        "func": function,
        "args": arguments,
        "kwargs": {},
        "started": started,
        "ack_failure": True,
    }
    signed: str = SignedPackage.dumps(rebuilt)
    return signed


def _read_task(payload: Any) -> Any:
    """Return a task that is signed with SECRET_KEY or an earlier one; django-q2 knows no others."""
    for key in (Conf.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        with suppress(core_signing.BadSignature):
            return core_signing.loads(payload, key, Conf.PREFIX, _TaskSerializer)
    raise ForeignTask("its signature is not valid")


class _TaskSerializer:
    """Reads a pickle of plain values, because any other class could run code when it is read."""

    @staticmethod
    def loads(data: bytes) -> Any:
        return _PlainUnpickler(io.BytesIO(data)).load()


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in PICKLED_CLASSES:
            return super().find_class(module, name)
        raise ForeignTask(f"its pickle names {module}.{name}")
