"""Polls the database for new work on behalf of all idle lanes of a process.

A lane that has become empty keeps its lease for a moment, because the next event is likely to
come soon. If each lane polled for itself, fifty of them would keep the database busy.
"""

import threading
import time
from collections.abc import Callable, Collection

IDLE_POLL_INTERVAL = 0.04  # seconds between two queries


class IdleLanePoller:
    """The idle lanes of one process; one lane's thread polls for all of them."""

    def __init__(self, look: Callable[[Collection[int]], Collection[int]]):
        """look  returns the lanes, of those given, that have something to send"""
        self.look = look
        self.waiting: dict[int, threading.Event] = {}
        self.lock = threading.Lock()
        self.asking = threading.Lock()  # held by the polling thread

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
