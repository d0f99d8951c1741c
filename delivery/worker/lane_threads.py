"""Runs many lanes in one worker process, each in a thread.

django-q2 gives a worker process one task at a time. If each task occupied its process, as many
hanging vendors as there are workers would stop delivery to all others. So each lane is delivered in
a thread; while that thread waits for a response or for its next attempt, the process takes the next
task. Threads suffice, because only their waits overlap.
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

# How long (s) a process waits for a response before it takes another task. Shorter than an
# intercontinental round trip, so that slow vendors run in parallel; long enough that fast responses
# are not abandoned.
GRACE = 0.05
THREAD_POLL_INTERVAL = 0.02  # seconds between two checks of the thread
MAX_STAY = 30.0  # longest time (s) that a process waits for a thread; well below the task's timeout
# Waiting lanes of a process that keep their database connection. If all kept theirs, many hanging
# vendors would use up the 100 connections of PostgreSQL, and other processes could not connect.
MAX_IDLE_CONNECTIONS = 8

_current = threading.local()


class LaneThread:
    """The state of a thread, as its process sees it."""

    def __init__(self, pool: "LanePool") -> None:
        self.pool = pool
        self.leave_at: float | None = None  # monotonic; set while it waits

    def may_be_left(self) -> bool:
        at = self.leave_at
        return at is not None and time.monotonic() >= at


@contextmanager
def yielding_worker(*, at_once: bool = False) -> Iterator[None]:
    """Let the process take another task while this thread waits. No effect outside a lane pool.

    at_once  skip GRACE, because no response is expected
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
    """The lane threads of one worker process; `size` is the maximum number of concurrent lanes."""

    def __init__(self, size: int):
        self.size = size
        self.busy = 0
        self.lock = threading.Lock()
        self.pool = ThreadPoolExecutor(size, thread_name_prefix="lane")

    def take(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run the work in a thread; return its result, or None if the thread is still running."""
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
            # Log here: if the process no longer waits for this thread, the error is lost.
            logger.exception("%s%s failed", work.__name__, args)
            raise
        finally:
            close_old_connections()
            self.close_connection_if_many()
            with self.lock:
                self.busy -= 1

    def close_connection_if_many(self) -> None:
        """Close this thread's database connection if many are open; its next query reconnects."""
        if self.busy > MAX_IDLE_CONNECTIONS:
            connection.close()


@cache
def lane_pool() -> LanePool:
    """Return the lane pool of this process. Made lazily, because threads do not survive a fork."""
    return LanePool(settings.LANES_PER_WORKER)


def is_pool_full() -> bool:
    """Return whether every thread is in use, in which case a lane should not wait in one."""
    return lane_pool().busy >= lane_pool().size
