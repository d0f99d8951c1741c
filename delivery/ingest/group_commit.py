"""Group commit: concurrent requests share one transaction.

A transaction costs nearly the same for one message as for twenty, and most requests bring one. So
while one thread of this process stores, what its other threads bring waits for the next
transaction, and shares it. After a shared transaction, the next one waits for as many again, for
at most LINGER_SECONDS; otherwise the threads would split into two halves that take turns. A request
that comes alone never waits.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from django.db import InterfaceError, OperationalError

# Seconds to wait for a turn. Then comes the transaction itself (config.timeouts.WEB), and SDKs
# hang up after 10 s.
TURN_TIMEOUT_SECONDS = 2.0
LINGER_SECONDS = 0.001  # seconds to wait for as many as came last time

Item = TypeVar("Item")


class LeaderFailed(OperationalError):
    """Whose turn it was died of something that is no error of the work."""


class PendingWrite(Generic[Item]):
    """What one thread brought, and what became of it.

    is_leader   this thread does the work that waits, its own included
    ready  it leads, or its work was done
    """

    def __init__(self, item: Item):
        self.item = item
        self.is_leader = False
        self.ready = threading.Event()
        self.error: Exception | None = LeaderFailed()


class GroupCommit(Generic[Item]):
    """Threads take turns, and whose turn it is works for all that wait.

    work  does what several brought, in order: all of it, or nothing and an error
    """

    def __init__(self, work: Callable[[Sequence[Item]], None]):
        self.work = work
        self.lock = threading.Lock()
        self.arrival = threading.Condition(self.lock)
        self.expected = 0  # how many came last time
        self.is_busy = False
        self.waiting: list[PendingWrite[Item]] = []

    def do(self, item: Item) -> None:
        """Return when the work was done. Raises what it raised."""
        pending = PendingWrite(item)
        self._join(pending)
        if not pending.ready.wait(TURN_TIMEOUT_SECONDS) and self._leave(pending):
            self.work([item])  # whose turn it is waits for the database
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
        """Say whether it still waited for somebody to take it along; now it does no more."""
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
        """Let who waits longest lead. To be called with the lock."""
        self.is_busy = bool(self.waiting)
        if self.waiting:
            self.waiting[0].is_leader = True
            self.waiting[0].ready.set()

    def _work(self, group: Sequence[PendingWrite[Item]]) -> None:
        error: Exception | None = None
        try:
            self.work([each.item for each in group])
        except (OperationalError, InterfaceError) as away:
            error = away  # the database's fault, not that of one of them
        except Exception as fault:
            if len(group) > 1:
                for each in group:
                    self._work([each])
                return
            error = fault
        for each in group:
            each.error = error
