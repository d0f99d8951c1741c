"""Purges of old rows in small steps, without effect on other work."""

import json
import time
from statistics import quantiles

import psycopg

from tests.faults.registry import Result, RowContext, row
from tests.faults.support.sampler import longest_lock_wait
from tests.faults.support.sdk_client import SdkClient, assert_delivered_once
from tests.kills.stage import Stage
from tests.support.processes import manage

BEFORE = 20.0  # seconds of load without a purge
SNAPSHOT = 120.0  # seconds that a reader keeps one snapshot open
MAX_LOCK_WAIT = 0.1  # seconds that any statement may wait for a lock
MIN_IDLE_SPEED = 20_000  # rows/s while there is no other work

# The ids are lower than those of live attempts, because old attempts have lower ids.
PILE_ATTEMPTS_SQL = """
    INSERT INTO delivery_attempt (id, installation_id, started_at, duration_ms, method, url, status,
        outcome, error, items, is_test)
    SELECT n, 1, now() - interval '60 days' + n * interval '1 second', 80, 'POST',
        'https://heapanalytics.com/api/track', 200, 'accepted', '', 0, false
    FROM generate_series(1, {count}) AS n
"""
PILE_BODIES_SQL = """
    INSERT INTO delivery_attemptbody (attempt_id, request_headers, request_body, response_headers,
        response_body)
    SELECT n, '{{}}', repeat('x', 300) || n, '{{}}', '{{}}' FROM generate_series(1, {count}) AS n
"""
LIVE_IDS_SQL = "SELECT setval(pg_get_serial_sequence('delivery_attempt', 'id'), 10000000)"
TABLE_SIZE_SQL = """
    SELECT pg_total_relation_size('delivery_attempt')
        + pg_total_relation_size('delivery_attemptbody')
"""
PURGE_SCRIPT = """
import json, time
from django.utils import timezone
from delivery.operations import retention
from delivery.models import Attempt
began = time.monotonic()
purged = retention.purge_old_rows(timezone.now(), budget=600.0)
ended = time.monotonic()
left = Attempt.objects.filter(pk__lt=10_000_000).count()
print(json.dumps([purged["attempts"] + purged["attempt bodies"], began, ended, left]))
"""
PURGE_COMMAND = ("shell", "-v", "0", "-c", PURGE_SCRIPT)


@row("23", "A million old attempts purged under load", short=20_000, full=1_000_000)
def purged_under_load(context: RowContext, result: Result) -> None:
    """Rounds are attempts, each with its body. They are purged three times: idle, under load while
    a reader holds a long snapshot, and idle again. The tables must not grow. The short form does
    not assert the speed, and only requires that no wait for a lock is as long as a purge."""
    with Stage(context.url()) as stage:
        url = stage.env["DATABASE_URL"]
        context.servers.postgres.execute(LIVE_IDS_SQL, url)
        client = SdkClient(stage, pause=0.05)
        speeds, sizes = [measure_purge(stage, context)], [size_after_vacuum(url)]
        with client.sending(threads=4):
            started = time.monotonic()
            time.sleep(context.full_or_short(BEFORE, 1.0))
            without = p99(client, started, time.monotonic())
            insert_old_rows(stage, context)
            with psycopg.connect(url) as reader, longest_lock_wait(url) as waits:
                reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                reader.execute("SELECT 1 FROM delivery_attempt")
                rows, began, ended = run_purge(stage)
                time.sleep(max(context.full_or_short(SNAPSHOT, 0.0) - (ended - began), 0.0))
        assert_delivered_once(stage, client.accepted, result)
        sizes.append(size_after_vacuum(url))
        speeds.append(measure_purge(stage, context))
        sizes.append(size_after_vacuum(url))
    during, beside = p99(client, began, ended), rows / (ended - began)
    result.note = (
        f"idle {speeds[0]:,.0f} and {speeds[1]:,.0f} rows/s, under load {beside:,.0f}; longest "
        f"wait for a lock {waits.value:.3f} s; p99 of ingest {without:.3f} s without, "
        f"{during:.3f} s beside it; the tables have "
        f"{', '.join(f'{size / 1e6:.0f}' for size in sizes)} MB after each cycle"
    )
    assert waits.value <= context.full_or_short(MAX_LOCK_WAIT, ended - began)
    assert sizes[2] <= 1.1 * sizes[1]
    if context.full:
        assert min(speeds) >= MIN_IDLE_SPEED
        assert during <= 1.5 * without


def measure_purge(stage: Stage, context: RowContext) -> float:
    """Insert the rows and purge them; return how many were purged per second."""
    insert_old_rows(stage, context)
    rows, began, ended = run_purge(stage)
    return rows / (ended - began)


def insert_old_rows(stage: Stage, context: RowContext) -> None:
    for statement in (PILE_ATTEMPTS_SQL, PILE_BODIES_SQL, "ANALYZE"):
        context.servers.postgres.execute(
            statement.format(count=context.rounds), stage.env["DATABASE_URL"]
        )


def run_purge(stage: Stage) -> tuple[int, float, float]:
    """Purge; return the number of purged rows, and begin and end in monotonic seconds, which all
    processes share."""
    rows, began, ended, left = json.loads(manage(stage.env, *PURGE_COMMAND, seconds=900.0))
    assert left == 0, f"{left} old attempts are left"
    return rows, began, ended


def size_after_vacuum(url: str) -> int:
    """Return the size of the tables in bytes after the VACUUM that autovacuum would run later."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("VACUUM delivery_attempt, delivery_attemptbody")
        return db.execute(TABLE_SIZE_SQL).fetchone()[0]


def p99(client: SdkClient, start: float, end: float) -> float:
    return quantiles([a.ended - a.started for a in client.between(start, end)], n=100)[98]
