"""What comes at the same time is done together.

A transaction costs nearly the same for one message as for twenty, and most requests bring one. So
while one thread of this process stores, what its other threads bring waits for the next
transaction, and shares it. Who was in company a moment ago will be again: it waits for the others
for COMPANY at most, so that they do not go in turns, half of them each time. Who comes alone waits
for nobody.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from django.db import InterfaceError, OperationalError

# Seconds to wait for a turn. Then comes the transaction itself (config.timeouts.WEB), and SDKs
# hang up after 10 s.
PATIENCE = 2.0
COMPANY = 0.001  # seconds to wait for as many as came last time

Brought = TypeVar("Brought")


class Unfinished(OperationalError):
    """Whose turn it was died of something that is no error of the work."""


class Ticket(Generic[Brought]):
    """What one thread brought, and what became of it.

    leads   this thread does the work that waits, its own included
    called  it leads, or its work was done
    """

    def __init__(self, brought: Brought):
        self.brought = brought
        self.leads = False
        self.called = threading.Event()
        self.error: Exception | None = Unfinished()


class Gathering(Generic[Brought]):
    """Threads take turns, and whose turn it is works for all that wait.

    work  does what several brought, in order: all of it, or nothing and an error
    """

    def __init__(self, work: Callable[[Sequence[Brought]], None]):
        self.work = work
        self.lock = threading.Lock()
        self.arrival = threading.Condition(self.lock)
        self.expected = 0  # how many came last time
        self.is_busy = False
        self.waiting: list[Ticket[Brought]] = []

    def do(self, brought: Brought) -> None:
        """Return when the work was done. Raises what it raised."""
        ticket = Ticket(brought)
        self._join(ticket)
        if not ticket.called.wait(PATIENCE) and self._leave(ticket):
            self.work([brought])  # whose turn it is waits for the database
            return
        ticket.called.wait()
        if ticket.leads:
            self._lead()
        if ticket.error:
            raise ticket.error

    def _join(self, ticket: Ticket[Brought]) -> None:
        with self.lock:
            self.waiting.append(ticket)
            self.arrival.notify_all()
            if not self.is_busy:
                self._call_next()

    def _leave(self, ticket: Ticket[Brought]) -> bool:
        """Say whether it still waited for somebody to take it along; now it does no more."""
        with self.lock:
            is_waiting = ticket in self.waiting and not ticket.leads
            if is_waiting:
                self.waiting.remove(ticket)
            return is_waiting

    def _lead(self) -> None:
        with self.lock:
            self.arrival.wait_for(lambda: len(self.waiting) >= self.expected, COMPANY)
            tickets, self.waiting = self.waiting, []
        try:
            self._work(tickets)
        finally:
            with self.lock:
                self.expected = len(tickets) + len(self.waiting)
                self._call_next()
            for each in tickets:
                each.called.set()

    def _call_next(self) -> None:
        """Let who waits longest lead. To be called with the lock."""
        self.is_busy = bool(self.waiting)
        if self.waiting:
            self.waiting[0].leads = True
            self.waiting[0].called.set()

    def _work(self, tickets: Sequence[Ticket[Brought]]) -> None:
        error: Exception | None = None
        try:
            self.work([each.brought for each in tickets])
        except (OperationalError, InterfaceError) as away:
            error = away  # the database's fault, not that of one of them
        except Exception as fault:
            if len(tickets) > 1:
                for each in tickets:
                    self._work([each])
                return
            error = fault
        for each in tickets:
            each.error = error
