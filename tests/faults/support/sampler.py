"""Samplers that measure a value repeatedly while other code runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import psutil
import psycopg

from tests.kills.stage import Stage

LONGEST_LOCK_WAIT_SQL = """
    SELECT coalesce(extract(epoch FROM max(clock_timestamp() - waitstart)), 0)
    FROM pg_locks WHERE NOT granted
"""
OTHER_CONNECTIONS_SQL = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class MaxSampler:
    """The greatest value that `look` returned while the block ran; use as a context manager. If
    `look` raises an exception, the end of the block raises it.

    every  seconds between two calls of `look`
    """

    def __init__(self, look: Callable[[], float], *, every: float):
        self.look, self.every, self.value = look, every, 0.0
        self.error: Exception | None = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MaxSampler":
        self.thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.over.set()
        self.thread.join()
        if self.error and kind is None:
            raise self.error

    def _watch(self) -> None:
        try:
            while not self.over.is_set():
                self.value = max(self.value, self.look())
                self.over.wait(self.every)
        except Exception as error:
            self.error = error


def longest_lock_wait(url: str) -> AbstractContextManager[MaxSampler]:
    """Measure the longest wait for a lock on the server, in seconds."""
    return max_of_query(url, LONGEST_LOCK_WAIT_SQL, every=0.01)


def most_connections(url: str) -> AbstractContextManager[MaxSampler]:
    """Measure the most simultaneous connections to this database."""
    return max_of_query(url, OTHER_CONNECTIONS_SQL, every=0.05)


@contextmanager
def max_of_query(url: str, query: str, *, every: float) -> Iterator[MaxSampler]:
    with (
        psycopg.connect(url, autocommit=True) as db,
        MaxSampler(lambda: float(db.execute(query).fetchone()[0]), every=every) as greatest,
    ):
        yield greatest


def max_worker_memory(stage: Stage) -> MaxSampler:
    """Measure the most memory that a worker of the cluster uses, in bytes."""
    return MaxSampler(lambda: largest_worker_memory(stage), every=0.2)


def largest_worker_memory(stage: Stage) -> int:
    """Return the memory of the largest worker in bytes, or 0 if there is no worker."""
    sizes = [0]
    for worker in stage.find("worker"):
        with suppress(psutil.Error):  # the worker ended
            sizes.append(worker.memory_info().rss)
    return max(sizes)
