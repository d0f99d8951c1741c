"""The idle poller: lanes that are empty wait together."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from delivery.worker.idle_poller import IDLE_POLL_INTERVAL, IdleLanePoller


class Queues:
    """The due lanes and the queries for them; refuses two queries at the same time."""

    def __init__(self):
        self.due = set()
        self.asked = []
        self.lock = threading.Lock()

    def look(self, lane_ids):
        assert self.lock.acquire(blocking=False)
        self.asked.append(tuple(lane_ids))
        found = self.due & set(lane_ids)
        self.lock.release()
        return found


@pytest.fixture
def queues():
    return Queues()


@pytest.fixture
def lookout(queues):
    return IdleLanePoller(queues.look)


def test_a_lane_to_which_nothing_comes_waits_its_time(lookout, queues):
    started = time.monotonic()
    assert lookout.wait(7, 0.2) is False
    assert time.monotonic() - started >= 0.2
    assert set(queues.asked) == {(7,)}
    assert not lookout.waiting


def test_no_time_is_no_question(lookout, queues):
    queues.due.add(7)
    assert lookout.wait(7, 0.0) is False
    assert not queues.asked


def test_many_lanes_are_one_question_and_each_gets_its_own_answer(lookout, queues):
    with ThreadPoolExecutor(20) as threads:
        waits = [threads.submit(lookout.wait, lane, 3.0) for lane in range(20)]
        time.sleep(10 * IDLE_POLL_INTERVAL)
        asked = len(queues.asked)
        for lane in range(20):
            queues.due.add(lane)
            assert waits[lane].result(1.0) is True
            queues.due.clear()
    assert tuple(range(20)) in queues.asked
    assert asked <= 12  # instead of 20 times as often


def test_when_the_one_that_asks_fails_another_one_takes_over(lookout, queues):
    def fail_once(lane_ids):
        lookout.look = queues.look
        raise ConnectionError

    lookout.look = fail_once
    with ThreadPoolExecutor(2) as threads:
        waits = [threads.submit(lookout.wait, lane, 3.0) for lane in (1, 2)]
        time.sleep(4 * IDLE_POLL_INTERVAL)
        queues.due |= {1, 2}
        ends = [wait.exception(1.0) or wait.result() for wait in waits]
    assert sorted(map(repr, ends)) == ["ConnectionError()", "True"]
