"""Brokers that pass on only the tasks of `delivery.tasks`.

A row in django-q2's schedule, or a task that someone else has put into the queue, may name any
function of any module. Each task is checked before a worker sees it.
"""

import logging
from typing import Any

from django.conf import settings
from django_q.brokers.orm import ORM
from django_q.brokers.redis_broker import Redis
from django_q.signing import BadSignature, SignedPackage

logger = logging.getLogger(__name__)

TaskList = list[tuple[Any, Any]] | None


class NamedTasks:
    """Mixin of a broker: drops every task that is not one of settings.CLUSTER_TASKS."""

    def dequeue(self) -> TaskList:
        tasks: TaskList = super().dequeue()  # type: ignore[misc]
        if not tasks:
            return tasks
        return [each for each in tasks if self._is_named(*each)]

    def _is_named(self, pk: Any, payload: Any) -> bool:
        try:
            task = SignedPackage.loads(payload)
        except (TypeError, BadSignature):
            return True  # django-q2 reports and drops it
        function = task.get("func")
        if function in settings.CLUSTER_TASKS and "hook" not in task:
            return True
        logger.error("Dropped a task that is not Penstock's: %s", str(function)[:200])
        self.fail(pk)  # type: ignore[attr-defined]
        return False


class NamedTasksInDatabase(NamedTasks, ORM):  # type: ignore[misc]  # it has no types
    """django-q2's broker in the database, for named tasks only."""


class NamedTasksInRedis(NamedTasks, Redis):  # type: ignore[misc]  # it has no types
    """django-q2's broker in Redis, for named tasks only."""
