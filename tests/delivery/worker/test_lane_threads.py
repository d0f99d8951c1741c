"""Lane threads: the process leaves a lane that waits and stays with a lane that works."""

import logging
import threading
import time

import pytest
from django.db import connection

from delivery.models import Lane
from delivery.worker import lane_threads
from delivery.worker.lane_threads import LanePool, yielding_worker


@pytest.fixture(autouse=True)
def _no_database(monkeypatch):
    monkeypatch.setattr(lane_threads, "close_old_connections", lambda: None)


@pytest.fixture
def answered():
    """The response that a waiting lane waits for."""
    event = threading.Event()
    yield event
    event.set()


def hang(answered):
    with yielding_worker():
        answered.wait(10)
    return "late"


def test_work_is_waited_for_and_its_result_returned():
    assert LanePool(2).take(lambda number: number + 1, 1) == 2


def test_an_error_reaches_the_task():
    with pytest.raises(ZeroDivisionError):
        LanePool(2).take(lambda: 1 / 0)


def test_work_that_takes_long_is_not_left():
    started = time.monotonic()
    assert LanePool(2).take(lambda: time.sleep(2 * lane_threads.GRACE) or "done") == "done"
    assert time.monotonic() - started > lane_threads.GRACE


def test_a_lane_that_waits_is_left_and_the_next_one_taken(answered):
    few = LanePool(3)
    started = time.monotonic()
    assert few.take(hang, answered) is None
    assert few.take(hang, answered) is None
    assert few.take(lambda: "healthy") == "healthy"
    assert time.monotonic() - started < 2.0  # hang() takes 10


def test_a_lane_with_nothing_to_send_is_left_at_once(answered, monkeypatch):
    monkeypatch.setattr(lane_threads, "GRACE", 5.0)

    def linger():
        with yielding_worker(at_once=True):
            answered.wait(10)

    started = time.monotonic()
    assert LanePool(2).take(linger) is None
    assert time.monotonic() - started < 1.0


def test_with_every_seat_taken_the_process_stays(answered, monkeypatch):
    monkeypatch.setattr(lane_threads, "MAX_STAY", 0.8)
    full = LanePool(1)
    started = time.monotonic()
    full.take(hang, answered)
    assert time.monotonic() - started >= 0.8


def test_an_error_after_the_process_left_is_logged(answered, caplog):
    def fail():
        hang(answered)
        raise ZeroDivisionError("nobody listens")

    few = LanePool(2)
    with caplog.at_level(logging.ERROR):
        assert few.take(fail) is None
        answered.set()
        few.pool.shutdown(wait=True)
    assert "nobody listens" in caplog.text
    assert few.busy == 0


def test_standing_aside_outside_of_a_crew_does_nothing():
    with yielding_worker():
        pass


@pytest.mark.django_db(transaction=True)
def test_of_many_lanes_that_wait_few_keep_a_connection(answered):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite in memory has one connection")
    kept, answers, many = [], [], LanePool(20)

    def lane():
        Lane.objects.exists()
        with yielding_worker():
            kept.append(connection.connection is not None)
            answered.wait(10)
        answers.append(Lane.objects.exists())
        connection.close()

    for _ in range(12):
        assert many.take(lane) is None
    assert kept == [True] * lane_threads.MAX_IDLE_CONNECTIONS + [False] * 4
    answered.set()
    many.pool.shutdown()
    assert answers == [False] * 12
