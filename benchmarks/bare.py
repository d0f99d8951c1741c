"""The floor of ingest with one event a request: a WSGI function that inserts the rows and commits.

It runs in the same server as Penstock, with the same processes and threads. It looks up no source,
validates nothing and evaluates no blueprint; the rows belong to the only source, installation and
lane. Statements go straight to the driver, which keeps them prepared.
"""

import os
import threading
from datetime import UTC, datetime

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

import msgspec  # noqa: E402
import psycopg  # noqa: E402
from django.db import connection  # noqa: E402

from delivery import bulk  # noqa: E402
from delivery.models import Lane  # noqa: E402
from integrations.models import Source  # noqa: E402

EVENT = (
    "INSERT INTO delivery_event (source_id, message_id, type, name, user_id, anonymous_id, "
    "timestamp, received_at, notes, added_context) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, '', '') RETURNING id"
)
BODY = "INSERT INTO delivery_eventbody (event_id, text) VALUES (%s, %s)"
DELIVERY = (
    "INSERT INTO delivery_delivery (event_id, installation_id, lane_id, state, queued_at, "
    "attempts, failures, error, reason, notes) VALUES (%s, %s, %s, 'queued', %s, 0, 0, '', '', '')"
)
TALLY = "INSERT INTO delivery_tally (source_id, at, events, unwanted) VALUES (%s, %s, 1, '{}')"
ANSWER = b'{"success":true}'
HEAD = [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))]

BEGIN = "BEGIN IMMEDIATE" if connection.vendor == "sqlite" else "BEGIN"
SOURCE, LANE = Source.objects.get().pk, Lane.objects.get()  # read before the tables are emptied

of_thread = threading.local()


def application(environ, start_response):
    text = environ["wsgi.input"].read()
    if text:  # a request without a body only asks whether the server is up
        store(msgspec.json.decode(text), text.decode(), datetime.now(UTC))
    start_response("200 OK", HEAD)
    return [ANSWER]


def store(message, text, now):
    execute = execution()
    execute(BEGIN)
    names = ("messageId", "type", "event", "userId", "anonymousId")
    columns = [message.get(name, "") for name in names]
    row = execute(EVENT, [SOURCE, *columns, message["timestamp"], now])
    event = row.fetchone()[0]
    execute(BODY, [event, text])
    execute(DELIVERY, [event, LANE.installation_id, LANE.pk, now])
    execute(TALLY, [SOURCE, now])
    execute("COMMIT")


def execution():
    """Return the function that executes a statement on this thread's connection."""
    if not hasattr(of_thread, "execute"):
        connection.ensure_connection()
        of_thread.execute = executing(connection.connection)
    return of_thread.execute


def executing(driver):
    if connection.vendor == "sqlite":
        return lambda sql, values=(): driver.execute(
            sql.replace("%s", "?"), [bulk.to_database_value(value) for value in values]
        )
    return psycopg.Cursor(driver).execute  # Django's own cursor prepares nothing
