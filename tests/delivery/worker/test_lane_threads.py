"""A worker process and its threads: who waits stands aside, who works is waited for."""

import logging
import threading
import time

import pytest
from django.db import connection

from delivery.models import Lane
from delivery.worker import lane_threads
from delivery.worker.lane_threads import Crew, standing_aside


@pytest.fixture(autouse=True)
def _no_database(monkeypatch):
    monkeypatch.setattr(lane_threads, "close_old_connections", lambda: None)


@pytest.fixture
def answered():
    """What the vendor of a waiting lane is waiting for."""
    event = threading.Event()
    yield event
    event.set()


def hang(answered):
    with standing_aside():
        answered.wait(10)
    return "late"


def test_work_is_waited_for_and_its_result_returned():
    assert Crew(2).take(lambda number: number + 1, 1) == 2


def test_an_error_reaches_the_task():
    with pytest.raises(ZeroDivisionError):
        Crew(2).take(lambda: 1 / 0)


def test_work_that_takes_long_is_not_left():
    started = time.monotonic()
    assert Crew(2).take(lambda: time.sleep(2 * lane_threads.PATIENCE) or "done") == "done"
    assert time.monotonic() - started > lane_threads.PATIENCE


def test_a_lane_that_waits_is_left_and_the_next_one_taken(answered):
    few = Crew(3)
    started = time.monotonic()
    assert few.take(hang, answered) is None
    assert few.take(hang, answered) is None
    assert few.take(lambda: "healthy") == "healthy"
    assert time.monotonic() - started < 2.0  # hang() takes 10


def test_a_lane_with_nothing_to_send_is_left_at_once(answered, monkeypatch):
    monkeypatch.setattr(lane_threads, "PATIENCE", 5.0)

    def linger():
        with standing_aside(at_once=True):
            answered.wait(10)

    started = time.monotonic()
    assert Crew(2).take(linger) is None
    assert time.monotonic() - started < 1.0


def test_with_every_seat_taken_the_process_stays(answered, monkeypatch):
    monkeypatch.setattr(lane_threads, "LONGEST", 0.8)
    full = Crew(1)
    started = time.monotonic()
    full.take(hang, answered)
    assert time.monotonic() - started >= 0.8


def test_an_error_after_the_process_left_is_logged(answered, caplog):
    def fail():
        hang(answered)
        raise ZeroDivisionError("nobody listens")

    few = Crew(2)
    with caplog.at_level(logging.ERROR):
        assert few.take(fail) is None
        answered.set()
        few.pool.shutdown(wait=True)
    assert "nobody listens" in caplog.text
    assert few.busy == 0


def test_standing_aside_outside_of_a_crew_does_nothing():
    with standing_aside():
        pass


@pytest.mark.django_db(transaction=True)
def test_of_many_lanes_that_wait_few_keep_a_connection(answered):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite in memory has one connection")
    kept, answers, many = [], [], Crew(20)

    def lane():
        Lane.objects.exists()
        with standing_aside():
            kept.append(connection.connection is not None)
            answered.wait(10)
        answers.append(Lane.objects.exists())
        connection.close()

    for _ in range(12):
        assert many.take(lane) is None
    assert kept == [True] * lane_threads.CONNECTED + [False] * 4
    answered.set()
    many.pool.shutdown()
    assert answers == [False] * 12
