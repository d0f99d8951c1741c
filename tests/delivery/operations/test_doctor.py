"""`manage.py doctor`: the problems that it finds, and the fix for each."""

import json
import subprocess
import sys
import threading
from datetime import timedelta
from io import StringIO

import psycopg
import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from delivery.models import Delivery, Event, Heartbeat, Lane
from delivery.operations import doctor, indexes
from delivery.operations.supervisor import here
from integrations.catalog import catalog
from integrations.installations.install import install
from integrations.models import Source
from tests.conftest import find_free_port
from tests.support.processes import ROOT, environment, eventually

pytestmark = pytest.mark.django_db


@pytest.fixture
def healthy(monkeypatch):
    monkeypatch.setattr(doctor, "STALL_RECHECK_SECONDS", 0.0)
    now = timezone.now()
    Heartbeat.objects.create(name=f"cluster {here()}:1:1f", at=now)
    Heartbeat.objects.create(name="sweep", at=now)


@pytest.fixture
def installed(healthy):
    return install(catalog()["heap"], name="Heap", config={"app_id": "1", "api_key": "canary"})


def troubles() -> dict[str, doctor.CheckResult]:
    return {each.subject: each for each in doctor.examine() if not each.is_well}


def test_when_all_is_well_it_says_so_and_succeeds(installed):
    out = StringIO()
    call_command("doctor", stdout=out)
    lines = out.getvalue().splitlines()
    assert {line.split()[0] for line in lines} == {"ok"}
    subjects = [line.split()[1].rstrip(":") for line in lines]
    assert {"Settings", "Database", "Migrations", "Secrets", "Cluster", "Lanes"} <= set(subjects)


def test_what_is_to_be_done_is_said_and_the_exit_code_tells_programs(installed):
    Heartbeat.objects.all().delete()
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", "--json", stdout=out)
    assert ended.value.code == 1
    [wrong] = [each for each in json.loads(out.getvalue()) if not each["is_well"]]
    assert wrong == {
        "subject": "Cluster",
        "is_well": False,
        "said": "none running, so nothing is delivered",
        "fix": "Start `manage.py cluster`.",
    }


def newest_migration():
    [(_, newest)] = MigrationLoader(connection).graph.leaf_nodes("delivery")
    return newest


def test_a_migration_that_is_missing_is_named_and_nothing_is_asked_of_tables(installed):
    newest = newest_migration()
    MigrationRecorder(connection).record_unapplied("delivery", newest)
    found = list(doctor.examine())
    assert found[-1].subject == "Migrations"
    assert f"delivery.{newest}" in found[-1].message
    assert found[-1].fix == "manage.py migrate"


def test_a_database_of_a_newer_version_is_told_from_one_of_an_older(installed):
    MigrationRecorder(connection).record_applied("delivery", "9999_of_next_year")
    assert "delivery.9999_of_next_year" in troubles()["Migrations"].message


def test_secrets_that_no_key_opens_are_named(installed, settings):
    settings.SECRETS_KEYS = [Fernet.generate_key().decode()]
    wrong = troubles()["Secrets"]
    assert "Heap" in wrong.message
    assert "canary" not in wrong.message


def queue(installation, seconds: float) -> None:
    at = timezone.now() - timedelta(seconds=seconds)
    source = Source.objects.create(name="Shop")
    event = Event.objects.create(
        source=source, message_id="1", type="track", timestamp=at, received_at=at
    )
    lane, _ = Lane.objects.get_or_create(installation=installation, number=0)
    Delivery.objects.create(event=event, installation=installation, lane=lane, queued_at=at)


@pytest.mark.parametrize(("seconds", "is_stalled"), [(10, False), (90, True)])
def test_deliveries_that_no_worker_takes_are_told_after_a_minute(installed, seconds, is_stalled):
    queue(installed, seconds)
    assert ("Lanes" in troubles()) == is_stalled


def test_a_lane_that_waits_for_its_vendor_is_not_stalled(installed):
    queue(installed, 90)
    Lane.objects.update(due_at=timezone.now() + timedelta(seconds=30))
    assert "Lanes" not in troubles()


def test_an_installation_that_needs_attention_is_named_with_what_to_do(installed):
    queue(installed, 0)
    Lane.objects.update(paused=True, last_error="HTTP 401")
    assert "HTTP 401" in troubles()["Heap"].message
    assert "Resume" in troubles()["Heap"].fix


def test_without_the_database_it_says_that_and_ends():
    url = f"postgres://nobody@127.0.0.1:{find_free_port()}/none"
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=ROOT, env=environment(url), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "TO DO   Database: not reachable: connection" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_sweep_is_late_when_it_was_once_and_is_no_more(healthy):
    sweeps = Heartbeat.objects.filter(name="sweep")
    sweeps.delete()
    assert "Sweep" not in troubles()  # Penstock has just started
    Heartbeat.objects.create(name="sweep", at=timezone.now() - timedelta(minutes=3))
    assert "bootstrap" in troubles()["Sweep"].fix


# --- an index whose build was interrupted --------------------------------------------------------


@pytest.fixture
def half_built(transactional_db):
    """An index whose build was killed while it waited for another session's snapshot."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite builds an index in one transaction")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('port'), current_database()")
        port, name = cursor.fetchone()
    settings = connection.settings_dict
    url = f"postgres://{settings['USER']}@{settings['HOST']}:{port}/{name}"
    with psycopg.connect(url) as reader, psycopg.connect(url, autocommit=True) as builder:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1 FROM delivery_event")

        def build():
            with pytest.raises(psycopg.errors.AdminShutdown):
                builder.execute("CREATE INDEX CONCURRENTLY half_built ON delivery_event (type)")

        thread = threading.Thread(target=build)
        thread.start()
        with connection.cursor() as cursor:
            eventually(lambda: waits(cursor, builder.info.backend_pid), 20.0)
            assert indexes.invalid_indexes() == []  # the build is still running
            cursor.execute("SELECT pg_terminate_backend(%s)", [builder.info.backend_pid])
        thread.join()
    yield "half_built"
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX IF EXISTS half_built")


def waits(cursor, pid: int) -> bool:
    cursor.execute(
        "SELECT phase LIKE 'waiting%%' FROM pg_stat_progress_create_index WHERE pid = %s", [pid]
    )
    return cursor.fetchone() == (True,)


def test_an_index_that_was_built_half_way_is_named_and_rebuilt(half_built, healthy):
    assert half_built in troubles()["Indexes"].message
    assert list(indexes.rebuild_indexes()) == ["half_built was rebuilt."]
    assert "Indexes" not in troubles()


def test_one_that_a_migration_is_still_to_make_is_taken_out_of_its_way(half_built, healthy):
    recorder, newest = MigrationRecorder(connection), newest_migration()
    recorder.record_unapplied("delivery", newest)
    try:
        done = list(indexes.rebuild_indexes())
    finally:
        recorder.record_applied("delivery", newest)
    assert done == ["half_built was dropped.", "Now run `manage.py migrate`."]
    assert indexes.invalid_indexes() == []
