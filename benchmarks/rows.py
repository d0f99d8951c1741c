"""Fills a database with a month of events and deliveries by SQL, 10,000,000 in some minutes.

    python benchmarks/rows.py postgres://postgres@127.0.0.1:5432/penstock_rows [--rows 10000000]

The database is created if it does not exist; a database that already has rows is not changed. It
takes about 0.6 GB per million deliveries. Drop it yourself. lists.py measures how fast it is read.

The distribution is that of a busy hub, and the same for every number of rows:

* one installation that gets every event, nine that get blocks of events, each less often than the
  one before, one that has 20 deliveries in all, and one that stands still, so that its newest
  deliveries are queued;
* 1 % failed, half of them resolved, 1 % filtered, 0.2 % cancelled; one attempt for 100
  deliveries, 3 % of the attempts refused;
* one old replay, of one in ten deliveries of a fiftieth of the log, and one incident;
* forty names of events, the first ones a hundred times as frequent as the last ones, and one name
  that occurs 20 times; 50 events per user, and half of the events from visitors without a user id;
* bodies for the newest 1,000 only, because no list reads a body.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

ROOT = Path(__file__).resolve().parent.parent
INSTALLATIONS = ("All", *(f"Part {n}" for n in range(1, 10)), "Quiet", "Standing")
SOURCES = ("Webshop", "App", "Backend")
CHUNK = 250_000  # events per statement
DAYS = 30

# In all statements, {events} is the number of events, and {low} to {high} are the events of this
# chunk. Installations have the ids 1 to 12 in the order above, and their lanes have the same ids.
DICE = "abs(hashint8extended({value}, {seed}) % {sides})"
AT = "now() - interval '30 days' * (1 - i::float / {events})"

EVENTS = """
    INSERT INTO delivery_event (id, source_id, message_id, type, name, user_id, anonymous_id,
        "timestamp", received_at, notes, added_context)
    SELECT i, 1 + {source}, 'message-' || i, 'track',
        CASE WHEN i % greatest({events} / 20, 1) = 7 THEN 'Account Deleted'
            ELSE 'Event ' || 1 + floor(40 * power({name} / 1000.0, 3)) END,
        CASE WHEN {known} = 0 THEN 'user-' || {user} ELSE '' END,
        'visitor-' || {user}, at, at, '', ''
    FROM (SELECT i, {at} AS at FROM generate_series({low}, {high}) AS i) AS every
"""
DELIVERIES = """
    INSERT INTO delivery_delivery (id, event_id, installation_id, lane_id, state, queued_at,
        settled_at, failures, attempts, last_attempt_id, revision_id, error, reason, notes)
    SELECT id, i, installation, installation, state, at,
        CASE WHEN state <> 'queued' THEN at + interval '2 seconds' END,
        0, CASE WHEN state = 'queued' THEN 0 ELSE 1 END,
        CASE WHEN state <> 'queued' THEN attempt END, installation,
        CASE WHEN state = 'failed' THEN 'MessageRejected' ELSE '' END,
        CASE WHEN state = 'failed' THEN 'HTTP 400: the event name is too long' ELSE '' END, ''
    FROM ({each}) AS every
"""
ATTEMPTS = """
    INSERT INTO delivery_attempt (id, installation_id, started_at, duration_ms, method, url, status,
        outcome, error, items, is_test)
    SELECT attempt, installation, min(at), 80 + {fate} % 100, 'POST',
        'https://heapanalytics.com/api/track',
        CASE WHEN {fate} < 10 THEN 503 WHEN {fate} < 20 THEN 429 WHEN {fate} < 30 THEN 400
            ELSE 200 END,
        CASE WHEN {fate} < 20 THEN 'VendorUnavailable' WHEN {fate} < 30 THEN 'MessageRejected'
            ELSE 'accepted' END,
        '', count(*), false
    FROM ({each}) AS every WHERE state <> 'queued' GROUP BY attempt, installation
"""
CARRIED = """
    INSERT INTO delivery_carried (delivery_id, attempt_id, position)
    SELECT id, attempt, i % 100 FROM ({each}) AS every WHERE state <> 'queued'
"""
# Each event goes to installation 1 and to one more, which is the same for a hundred events in a
# row, so that an attempt carries a hundred deliveries.
EACH = """
    SELECT 2 * i - 1 + nth AS id, i, at, 2 * block + 1 + nth AS attempt, installation,
        CASE WHEN installation = 12 AND i > {events} * 0.9 THEN 'queued'
            WHEN {fate} < 10 THEN 'failed' WHEN {fate} < 20 THEN 'filtered'
            WHEN {fate} < 22 THEN 'cancelled' ELSE 'delivered' END AS state
    FROM (
        SELECT i, nth, block, {at} AS at, CASE WHEN nth = 0 THEN 1
            WHEN block = {quiet} THEN 11
            WHEN block % 10 = 5 THEN 12
            ELSE 2 + floor(9 * power({part} / 1000.0, 2))::int END AS installation
        FROM generate_series({low}, {high}) AS i, generate_series(0, 1) AS nth,
            LATERAL (SELECT (i - 1) / 100 AS block) AS blocks
        WHERE nth = 0 OR block <> {quiet} OR i % 5 = 0
    ) AS places
"""
OTHERS = (
    """
    INSERT INTO delivery_rejection (source_id, received_at, reason, text)
    SELECT 1 + i % 3, {at}, 'event: is missing', '{{"type": "track"}}'
    FROM generate_series(1, {events}, 100) AS i
    """,
    """
    INSERT INTO delivery_eventbody (event_id, text)
    SELECT id, '{{"type": "track", "event": "' || name || '", "properties": {{"total": 5}}}}'
    FROM delivery_event WHERE id > {events} - 1000
    """,
    """
    INSERT INTO delivery_attemptbody (attempt_id, request_headers, request_body, response_headers,
        response_body)
    SELECT id, '{{}}', '{{"events": []}}', '{{}}', '' FROM delivery_attempt
    ORDER BY id DESC LIMIT 1000
    """,
    """
    INSERT INTO delivery_resolution (delivery_id, at, by, note)
    SELECT id, settled_at + interval '1 hour', 'ada', 'Sent by hand.' FROM delivery_delivery
    WHERE state = 'failed' AND id % 2 = 0
    """,
    """
    INSERT INTO delivery_replay (installation_id, kind, state, wanted, first, cursor, "end", queued,
        unwanted, taken_back, outcome, created_at, finished_at)
    SELECT 1, 'replay', 'done', '{{"states": ["delivered"]}}', {events} / 2, last, last, 0, 0, 0,
        '{{}}', at, at
    FROM (SELECT {events} / 2 + {events} / 25 AS last, now() - interval '20 days' AS at) AS ends
    """,
    """
    INSERT INTO delivery_replayed (delivery_id, replay_id, state, settled_at, error, reason)
    SELECT delivery.id, replay.id, 'delivered', settled_at, '', ''
    FROM delivery_delivery AS delivery, delivery_replay AS replay
    WHERE delivery.id > replay.first AND delivery.id <= replay."end" AND delivery.id % 20 = 1
        AND delivery.installation_id = 1 AND delivery.state = 'delivered'
    """,
    """
    UPDATE delivery_delivery SET trigger = 'replay'
    WHERE id IN (SELECT delivery_id FROM delivery_replayed)
    """,
    """
    INSERT INTO delivery_incident (kind, subject, about, text, opened_at, seen_at)
    VALUES ('late', 'installation:12', 'Standing', 'It stands still.', now(), now())
    """,
    """
    INSERT INTO delivery_metric (step, at, installation, source, accepted, unwanted, delivered,
        filtered, failed, cancelled, attempts, refused, queued, oldest_queued_s, latency)
    SELECT step, to_timestamp(n * step), installation, 1, 1000, 0, 980, 10, 10, 0, 10, 1, 0, 0,
        '{{"30": 900, "40": 80}}'
    FROM (VALUES (60, 2), (3600, 30), (86400, 30)) AS steps (step, days),
        generate_series(floor(extract(epoch FROM now()) / step)::bigint - days * 86400 / step,
            floor(extract(epoch FROM now()) / step)::bigint) AS n,
        generate_series(1, 12) AS installation
    """,
)
TABLES = ("delivery_event", "delivery_delivery", "delivery_attempt")


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill a database with a month of deliveries.")
    parser.add_argument("database", help="postgres://user@host:port/name; created if absent")
    parser.add_argument("--rows", type=int, default=10_000_000, help="deliveries")
    options = parser.parse_args()
    prepare(options.database)
    with psycopg.connect(options.database, autocommit=True) as connection:
        if connection.execute("SELECT EXISTS (SELECT FROM delivery_event)").fetchone()[0]:
            sys.exit("The database already has rows; nothing was added.")
        fill(connection, options.rows // 2)


def prepare(url: str) -> None:
    """Create the database, its tables, the sources and the installations."""
    from benchmarks.run import environment

    server, name = urlsplit(url)._replace(path="/postgres").geturl(), urlsplit(url).path[1:]
    with psycopg.connect(server, autocommit=True) as connection:
        exists = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s)"
        if not connection.execute(exists, [name]).fetchone()[0]:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(identifier(name)))
    os.environ.update(environment(url, "", ROOT))
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    populate()


def identifier(name: str) -> psycopg.sql.Identifier:
    return psycopg.sql.Identifier(name)


def populate() -> None:
    from delivery.lanes import routes
    from integrations.catalog import catalog
    from integrations.installations.install import install
    from integrations.models import Installation, Source

    if Installation.objects.exists():
        return
    for name in SOURCES:
        Source.objects.create(name=name)
    for name in INSTALLATIONS:
        install(catalog()["heap"], name=name, config={"app_id": "1", "region": "us"})
    Installation.objects.filter(name="Standing").update(enabled=False)
    routes.plan_routes()


def fill(connection: psycopg.Connection, events: int) -> None:
    """Write all rows. In a new database, the ids of installations and lanes begin at 1."""
    started = time.monotonic()
    connection.execute("SET synchronous_commit = off")
    for low in range(1, events + 1, CHUNK):
        high = min(low + CHUNK - 1, events)
        for statement in (EVENTS, DELIVERIES, ATTEMPTS, CARRIED):
            connection.execute(written(statement, events, low, high))
        report(2 * high, time.monotonic() - started)
    for statement in OTHERS:
        connection.execute(written(statement, events, 1, events))
    for table in TABLES:
        connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"
        )
    connection.execute("VACUUM (ANALYZE)")
    report(2 * events, time.monotonic() - started)


def written(statement: str, events: int, low: int, high: int) -> str:
    """Return a statement with all its placeholders filled."""
    values = {
        "events": events, "low": low, "high": high, "at": AT.format(events=events),
        "source": dice("i", 1, 3), "name": dice("i", 2, 1_000), "known": dice("i", 3, 2),
        "user": dice("i", 4, max(events // 50, 1)), "part": dice("block", 5, 1_000),
        "quiet": events // 300,
    }  # fmt: skip
    if statement is not EVENTS:
        of_delivery = {**values, "fate": dice("2 * i + nth", 6, 1_000)}
        values |= {"each": EACH.format(**of_delivery), "fate": dice("attempt", 7, 1_000)}
    return statement.format(**values)


def dice(value: str, seed: int, sides: int) -> str:
    return DICE.format(value=value, seed=seed, sides=sides)


def report(rows: int, seconds: float) -> None:
    print(f"{rows:,} deliveries, {seconds:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
