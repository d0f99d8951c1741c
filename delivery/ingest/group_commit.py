"""Group commit: concurrent requests share one transaction.

A transaction costs nearly the same for one message as for twenty, and most requests carry one. So
while one thread of this process writes, the writes of its other threads queue for the next
transaction and share it. After a shared transaction, the next leader waits for as many writes
again, for at most LINGER_SECONDS; otherwise the threads would split into two halves that take
turns. A single request never waits.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from django.db import InterfaceError, OperationalError

# Seconds to wait for a turn. Then comes the transaction itself
# (config.timeouts.WEB_DATABASE_SECONDS), and SDKs hang up after 10 s.
TURN_TIMEOUT_SECONDS = 2.0
LINGER_SECONDS = 0.001  # how long a leader waits for as many writes as last time

Item = TypeVar("Item")


class LeaderFailed(OperationalError):
    """The leading thread ended before it could report a result."""


class PendingWrite(Generic[Item]):
    """One thread's item and its result.

    is_leader  whether this thread writes everything that is waiting, its own item included
    ready      set when this thread becomes the leader, or when its item has been written
    """

    def __init__(self, item: Item):
        self.item = item
        self.is_leader = False
        self.ready = threading.Event()
        self.error: Exception | None = LeaderFailed()


class GroupCommit(Generic[Item]):
    """Lets one thread at a time write the items of all waiting threads.

    work  writes several items in order: all of them, or none and raises
    """

    def __init__(self, work: Callable[[Sequence[Item]], None]):
        self.work = work
        self.lock = threading.Lock()
        self.arrival = threading.Condition(self.lock)
        self.expected = 0  # how many items the last turn had
        self.is_busy = False
        self.waiting: list[PendingWrite[Item]] = []

    def do(self, item: Item) -> None:
        """Return once the item is written. Raises whatever `work` raised."""
        pending = PendingWrite(item)
        self._join(pending)
        if not pending.ready.wait(TURN_TIMEOUT_SECONDS) and self._leave(pending):
            self.work([item])  # the leader is stuck waiting for the database
            return
        pending.ready.wait()
        if pending.is_leader:
            self._lead()
        if pending.error:
            raise pending.error

    def _join(self, pending: PendingWrite[Item]) -> None:
        with self.lock:
            self.waiting.append(pending)
            self.arrival.notify_all()
            if not self.is_busy:
                self._promote_next()

    def _leave(self, pending: PendingWrite[Item]) -> bool:
        """Withdraw an item from the queue; return whether it was still waiting for a leader."""
        with self.lock:
            is_waiting = pending in self.waiting and not pending.is_leader
            if is_waiting:
                self.waiting.remove(pending)
            return is_waiting

    def _lead(self) -> None:
        with self.lock:
            self.arrival.wait_for(lambda: len(self.waiting) >= self.expected, LINGER_SECONDS)
            group, self.waiting = self.waiting, []
        try:
            self._work(group)
        finally:
            with self.lock:
                self.expected = len(group) + len(self.waiting)
                self._promote_next()
            for each in group:
                each.ready.set()

    def _promote_next(self) -> None:
        """Make the longest-waiting thread the leader. The caller holds the lock."""
        self.is_busy = bool(self.waiting)
        if self.waiting:
            self.waiting[0].is_leader = True
            self.waiting[0].ready.set()

    def _work(self, group: Sequence[PendingWrite[Item]]) -> None:
        error: Exception | None = None
        try:
            self.work([each.item for each in group])
        except (OperationalError, InterfaceError) as away:
            error = away  # the database is at fault, not one of the items
        except Exception as fault:
            if len(group) > 1:
                for each in group:
                    self._work([each])
                return
            error = fault
        for each in group:
            each.error = error
