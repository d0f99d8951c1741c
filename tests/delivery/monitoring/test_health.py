"""`/healthz` and `/readyz`: for every Host, without a login, and quick when a server hangs."""

import socket
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from delivery.models import Heartbeat
from delivery.monitoring import readiness
from delivery.operations import system
from delivery.operations.supervisor import here
from tests.delivery.operations.test_doctor import newest_migration

pytestmark = pytest.mark.django_db(transaction=True)

COMPONENTS = {"disk", "database", "migrations", "cluster", "broker"}


def beat(age):
    at = timezone.now() - timedelta(seconds=age)
    Heartbeat.objects.update_or_create(name=f"cluster {here()}:1:1f", defaults={"at": at})


def problems(client):
    """Return the reasons of the components that are not ready."""
    answer = client.get("/readyz")
    found = answer.json()
    assert found["components"].keys() == COMPONENTS
    reasons = {name: c["reason"] for name, c in found["components"].items() if not c["ready"]}
    assert found["ready"] == (not reasons)
    assert answer.status_code == (503 if reasons else 200)
    return reasons


@pytest.fixture
def ready():
    beat(age=50)


@pytest.fixture
def database_server(monkeypatch):
    """A server that accepts connections and says nothing, which new threads take as PostgreSQL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        database = {
            **connections.settings["default"],
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": server.getsockname()[1],
            "USER": "canary-user",
            "PASSWORD": "canary-password",
            "OPTIONS": {},
        }
        monkeypatch.setitem(connections.settings, "default", database)
        yield server
    for check in (readiness.database_check, readiness.broker_check):
        check.start().result(60)


def test_when_all_is_well_it_is_ready(client, ready):
    assert problems(client) == {}


def test_without_a_heartbeat_for_a_minute_no_cluster_runs(client, ready):
    beat(age=70)
    assert problems(client) == {"cluster": readiness.NO_CLUSTER}
    Heartbeat.objects.all().delete()
    assert problems(client) == {"cluster": readiness.NO_CLUSTER}


def test_a_missing_migration_is_a_reason_and_nothing_is_asked_of_tables(client, ready):
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("delivery", newest_migration())
    try:
        assert problems(client) == {
            "migrations": readiness.MIGRATIONS_MISSING,
            "cluster": readiness.UNKNOWN,
        }
    finally:
        recorder.record_applied("delivery", newest_migration())


def test_a_full_disk_is_a_reason(client, ready, settings):
    settings.READY_FREE_MB = 10**12
    assert problems(client) == {"disk": readiness.DISK_FULL}


def test_a_broker_that_does_not_answer_is_a_reason(client, ready, monkeypatch):
    def away():
        raise ConnectionError("redis://:canary@host")

    monkeypatch.setattr(system, "get_broker", away)
    assert problems(client) == {"broker": readiness.BROKER_AWAY}


def test_a_database_that_is_away_is_a_reason_that_names_nothing_of_it(client, database_server):
    database_server.close()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["components"]["database"]["reason"] == readiness.DATABASE_AWAY
    assert "canary" not in answer.text
    assert str(connections.settings["default"]["PORT"]) not in answer.text
    assert client.get("/healthz").status_code == 200


def test_a_database_that_hangs_makes_no_probe_hang_and_is_asked_once(
    client, database_server, monkeypatch
):
    monkeypatch.setattr(readiness, "CHECK_SECONDS", 0.3)
    started = time.monotonic()
    for _ in range(2):
        assert problems(client)["database"] == readiness.DATABASE_AWAY
        assert client.get("/healthz").status_code == 200
    assert time.monotonic() - started < 15
    assert count_waiting(database_server) <= 2  # the database's check and the broker's


def count_waiting(server):
    """Accept and close the connections that wait; return how many there were."""
    server.settimeout(0.2)
    waiting = 0
    with suppress(TimeoutError):
        while True:
            server.accept()[0].close()
            waiting += 1
    return waiting


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_a_host_that_is_not_allowed_is_answered_all_the_same(client, ready, path):
    answer = client.get(path, headers={"host": "10.1.2.3:8084"})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert not answer.cookies
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert client.post(path).status_code == 405
