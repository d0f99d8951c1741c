"""Simulates a month of Penstock on PostgreSQL in minutes, to check that tables do not bloat.

    python benchmarks/month.py [--days 30] [--keep 7] [--per-hour 300] [--database postgres://…]

Each simulated hour stores events, settles their deliveries with attempts and bodies, rolls up and
purges. It calls Penstock's own functions with the hour as their clock, and sends nothing. Rows are
kept for `--keep` days. From then on, as many rows are purged each day as arrive, so sizes must stay
flat. Autovacuum looks once a minute, which is too rare for hours that last a second. Therefore each
hour ends with a vacuum of the tables that autovacuum would vacuum, according to the settings of the
tables or, with --default-settings, according to those of PostgreSQL.
"""

import argparse
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent))

POSTGRESQL = "postgres://postgres@127.0.0.1:5432"
START = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TEXT = '{"type":"track","event":"Order Completed","properties":{"note":"%s"}}' % ("x" * 500)
REQUEST = 100  # events in one ingest request
SHOWN = (
    "delivery_event", "delivery_eventbody", "delivery_delivery", "delivery_attempt",
    "delivery_attemptbody", "delivery_carried", "delivery_lane", "delivery_metric",
)  # fmt: skip


def main() -> None:
    options = read_options()
    with new_database(options.database) as url:
        os.environ.update(DATABASE_URL=url, BROKER_URL="", LOG_LEVEL="WARNING")
        for kept in ("EVENTS", "DELIVERIES", "ATTEMPTS", "ATTEMPT_BODIES"):
            os.environ[f"PENSTOCK_KEEP_{kept}_DAYS"] = str(options.keep)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
        import django

        django.setup()
        Month(options).run()


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--keep", type=float, default=7.0, help="days")
    parser.add_argument("--per-hour", type=int, default=300, help="events")
    parser.add_argument("--database", default=POSTGRESQL)
    parser.add_argument("--default-settings", action="store_true")
    return parser.parse_args()


@contextmanager
def new_database(server: str) -> Iterator[str]:
    name = f"penstock_month_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{server.rstrip('/')}/{name}"
        finally:
            from django.db import connections

            connections.close_all()
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Month:
    """The simulation. It imports models, so Django must be set up before."""

    def __init__(self, options: argparse.Namespace):
        from django.core.management import call_command

        from integrations.catalog import catalog
        from integrations.installations.install import install
        from integrations.models import Source

        self.options = options
        call_command("migrate", verbosity=0)
        if options.default_settings:
            call_command("migrate", "delivery", "0007", verbosity=0)  # before 0008_autovacuum
        self.source = Source.objects.create(name="Shop")
        config = {"app_id": "1234567890", "api_key": "only-for-the-benchmark"}
        self.installation = install(catalog()["heap"], name="Heap", config=config)
        self.number = 0

    def run(self) -> None:
        tables = "".join(f"{table[9:]:>13}" for table in SHOWN)
        print(f"{'day':>4}{'events':>9}{tables}{'all, MB':>9}{'s':>7}")
        for day in range(1, self.options.days + 1):
            started = time.monotonic()
            for hour in range(24):
                self.hour(START + timedelta(days=day - 1, hours=hour))
            self.show(day, time.monotonic() - started)

    def hour(self, now: datetime) -> None:
        from delivery.accounting import rollup
        from delivery.operations import retention

        for _ in range(self.options.per_hour // REQUEST):
            self.ingest(now)
        self.deliver(now + timedelta(minutes=1))
        rollup.roll_up_metrics(now + timedelta(minutes=2))
        retention.purge_old_rows(now + timedelta(minutes=3), budget=60.0)
        self.vacuum()

    def ingest(self, now: datetime) -> None:
        from delivery.ingest.parsing import ParsedMessage
        from delivery.ingest.store import store_messages

        messages = []
        for _ in range(REQUEST):
            self.number += 1
            messages.append(
                ParsedMessage(
                    message_id=f"{secrets.token_hex(8)}-{self.number}", type="track",
                    name="Order Completed", user_id=f"user-{self.number % 5_000}", anonymous_id="",
                    timestamp=now, text=TEXT,
                )
            )  # fmt: skip
        store_messages(self.source, messages, (), now=now)

    def deliver(self, now: datetime) -> None:
        """Settle the queued deliveries, as a worker does when the vendor accepts all of them."""
        from delivery.lanes import leases
        from delivery.models import Lane
        from delivery.worker import results, settle
        from delivery.worker.backlog import next_batch

        lane = Lane.objects.get(installation=self.installation)
        while batch := next_batch(lane.pk, limit=100, now=now):
            lease = leases.acquire_lease(lane.pk, now)
            settle.settle(
                lease,
                attempts=[attempt([each.id for each in batch], now)],
                results=[
                    results.DeliveryResult(
                        delivery_id=each.id, source_id=each.source_id, queued_at=each.queued_at,
                        state="delivered", revision_id=self.installation.revision_id,
                    )
                    for each in batch
                ],
                lane_state=None,
                now=now,
            )  # fmt: skip
            leases.release_lease(lease)

    def vacuum(self) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(DUE)
            for (table,) in cursor.fetchall():
                cursor.execute(f"VACUUM {table}")

    def show(self, day: int, seconds: float) -> None:
        from django.db import connection

        from delivery.models import Event

        with connection.cursor() as cursor:
            cursor.execute(SIZES, [list(SHOWN)])
            sizes = dict(cursor.fetchall())
            cursor.execute("SELECT pg_database_size(current_database())")
            whole = cursor.fetchone()[0]
        columns = "".join(f"{sizes[table] / 1e6:13.1f}" for table in SHOWN)
        rows, mb = Event.objects.count(), whole / 1e6
        print(f"{day:4}{rows:9}{columns}{mb:9.1f}{seconds:7.1f}", flush=True)


def attempt(ids: list[int], now: datetime):
    from delivery.worker.results import AttemptRecord

    return AttemptRecord(
        started_at=now, duration_ms=120, method="POST", url="https://heapanalytics.com/api/track",
        status=200, outcome="accepted", error="", request_headers="{}",
        request_body=secrets.token_hex(20_000), response_headers="{}", response_body="{}",
        items=len(ids), carried=[(pk, at, 1) for at, pk in enumerate(ids)],
    )  # fmt: skip


# Autovacuum vacuums tables with more dead rows than threshold + scale factor × rows. Source:
# https://www.postgresql.org/docs/current/routine-vacuuming.html#AUTOVACUUM (seen 2026-11).
DUE = """
WITH given AS (
    SELECT s.relid::regclass::text AS name, s.n_dead_tup, c.reltuples,
        (SELECT option_value::float FROM pg_options_to_table(c.reloptions)
         WHERE option_name = 'autovacuum_vacuum_threshold') AS threshold,
        (SELECT option_value::float FROM pg_options_to_table(c.reloptions)
         WHERE option_name = 'autovacuum_vacuum_scale_factor') AS scale
    FROM pg_stat_all_tables s JOIN pg_class c ON c.oid = s.relid
    WHERE s.schemaname IN ('public', 'pg_toast')
)
SELECT name FROM given
WHERE n_dead_tup > coalesce(threshold, 50) + coalesce(scale, 0.2) * greatest(reltuples, 0)
"""
SIZES = "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relname = ANY(%s)"

if __name__ == "__main__":
    main()
