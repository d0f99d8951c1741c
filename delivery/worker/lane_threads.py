"""Many lanes in one worker process: a lane that waits for its vendor stands aside.

django-q2 gives a worker process one task at a time. With a lane for a task, as many vendors that
hang as there are workers would stop delivery to all others. So a lane is worked on in a thread;
while that thread waits for an answer, or for the time of its next try, the process takes the next
task. Threads suffice, because what they do at the same time is waiting.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.conf import settings
from django.db import close_old_connections, connection

logger = logging.getLogger(__name__)

# Seconds that a process stays with a lane that waits: less than vendors across an ocean take, so
# that lanes of those do not go in turns; no less, or it would often leave what is there at once.
GRACE = 0.05
THREAD_POLL_INTERVAL = 0.02  # seconds between two looks at it
MAX_STAY = 30.0  # seconds that a process stays at all; well below the task's timeout
# Lanes of a process that keep their connection to the database while they wait. Those of more
# vendors that hang would take all 100 that PostgreSQL has, and nobody else could have one.
MAX_IDLE_CONNECTIONS = 8

_current = threading.local()


class LaneThread:
    """What a thread is doing, for the process to see."""

    def __init__(self, crew: "LanePool") -> None:
        self.pool = crew
        self.leave_at: float | None = None  # monotonic; while it waits

    def may_be_left(self) -> bool:
        at = self.leave_at
        return at is not None and time.monotonic() >= at


@contextmanager
def yielding_worker(*, at_once: bool = False) -> Iterator[None]:
    """Tell the process that this thread only waits for now. Does nothing outside a crew.

    at_once  the process need not stay for PATIENCE: nothing is expected
    """
    thread = getattr(_current, "thread", None)
    if thread is None:
        yield
        return
    thread.leave_at = time.monotonic() + (0.0 if at_once else GRACE)
    thread.pool.close_connection_if_many()
    try:
        yield
    finally:
        thread.leave_at = None


class LanePool:
    """The threads of one worker process; `size` is how many lanes it can have at once."""

    def __init__(self, size: int):
        self.size = size
        self.busy = 0
        self.lock = threading.Lock()
        self.pool = ThreadPoolExecutor(size, thread_name_prefix="lane")

    def take(self, work: Callable[..., Any], *args: Any) -> Any:
        """Do the work in a thread; return its result, or None when it goes on by itself."""
        until = time.monotonic() + MAX_STAY
        with self.lock:
            self.busy += 1
        thread = LaneThread(self)
        future = self.pool.submit(self._run, thread, work, args)
        while time.monotonic() < until:
            if wait([future], THREAD_POLL_INTERVAL).done:
                return future.result()
            if thread.may_be_left() and self.busy < self.size:
                return None
        return None

    def _run(self, thread: LaneThread, work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        _current.thread = thread
        close_old_connections()
        try:
            return work(*args)
        except Exception:
            # the process may have left: then nobody else would ever see it
            logger.exception("%s%s failed", work.__name__, args)
            raise
        finally:
            close_old_connections()
            self.close_connection_if_many()
            with self.lock:
                self.busy -= 1

    def close_connection_if_many(self) -> None:
        """Close this thread's connection to the database when many have one: its next query opens
        another."""
        if self.busy > MAX_IDLE_CONNECTIONS:
            connection.close()


@cache
def lane_pool() -> LanePool:
    """Return the crew of this process. Made at the first task: threads do not survive a fork."""
    return LanePool(settings.LANES_PER_WORKER)


def is_pool_full() -> bool:
    """Say whether every thread is taken: then a lane had better not wait in one."""
    return lane_pool().busy >= lane_pool().size
