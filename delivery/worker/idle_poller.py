"""Waiting for work on behalf of lanes that are empty: one question for all of a process.

A lane that is empty keeps its lease for a moment, because what comes next comes soon. If each asked
for itself, fifty of them would keep the database busy with nothing else.
"""

import threading
import time
from collections.abc import Callable, Collection

IDLE_POLL_INTERVAL = 0.04  # seconds between two looks


class IdleLanePoller:
    """The lanes of one process that wait; the thread of one of them asks for all."""

    def __init__(self, look: Callable[[Collection[int]], Collection[int]]):
        """look  says which of these lanes have something to send"""
        self.look = look
        self.waiting: dict[int, threading.Event] = {}
        self.lock = threading.Lock()
        self.asking = threading.Lock()  # held by the one that asks

    def wait(self, lane_id: int, seconds: float) -> bool:
        """Wait until the lane has something to send; return False when the time is up."""
        came, until = threading.Event(), time.monotonic() + seconds
        with self.lock:
            self.waiting[lane_id] = came
        try:
            while not came.is_set() and time.monotonic() < until:
                if self.asking.acquire(blocking=False):
                    try:
                        time.sleep(IDLE_POLL_INTERVAL)
                        self._ask()
                    finally:
                        self.asking.release()
                else:
                    came.wait(IDLE_POLL_INTERVAL)
            return came.is_set()
        finally:
            with self.lock:
                del self.waiting[lane_id]

    def _ask(self) -> None:
        with self.lock:
            lanes = sorted(self.waiting)
        found = self.look(lanes)
        with self.lock:
            for lane_id in found:
                if lane_id in self.waiting:
                    self.waiting[lane_id].set()
