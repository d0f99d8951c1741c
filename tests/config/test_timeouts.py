"""Timeouts of the database and the broker, which are shorter than the timeout of SDKs."""

import socket
import time

import pytest
import redis

from config import timeouts


def test_a_redis_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(timeouts, "BROKER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        started = time.monotonic()
        with redis.from_url(timeouts.redis_url(url)) as server, pytest.raises(redis.TimeoutError):
            server.rpush("queue", "task")
    assert time.monotonic() - started < 5


def test_what_the_address_of_redis_says_besides_stays():
    url = timeouts.redis_url("redis://127.0.0.1:6379/0?health_check_interval=30")
    assert url.startswith("redis://127.0.0.1:6379/0?health_check_interval=30&socket_timeout=")


def test_options_of_the_database_stay():
    original = {"sslmode": "require", "options": "-c search_path=penstock"}
    database = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": original}
    options = timeouts.database_options(database, 8)
    assert options["sslmode"] == "require"
    assert options["options"].startswith("-c search_path=penstock -c lock_timeout=8s")


def test_waiting_for_database_and_broker_leaves_time_to_answer():
    assert timeouts.WEB_DATABASE_SECONDS + 1 < 10  # seconds that SDKs wait
    assert timeouts.BROKER_SECONDS > 1  # seconds that django-q2 waits for a task
