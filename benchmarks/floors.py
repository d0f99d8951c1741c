"""The floors: how fast this machine is when it does only the bare minimum.

ingest    one connection inserts the rows that Penstock stored into the same tables again, with one
          transaction for the events of each request and one statement for each table
delivery  one process reads the rows that Penstock read and posts the entries that it sent, in
          prepared bodies of 1,000 entries each; it logs nothing and settles nothing
latency   both in turn, for the events of one request

Statements go straight to the driver and bodies to a plain HTTP connection, without Django's ORM, a
web server or validation. Each function takes its rows from the tables, so it must be called after
the measurement that it is the floor of. Afterwards the tables hold other rows.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from itertools import zip_longest
from typing import Any
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.db import connection, models

from benchmarks import stack
from benchmarks.hurried import APP_ID
from delivery.models import Attempt, Delivery

BULK = 1_000  # entries in one body, and rows in one read
READ = (
    "SELECT d.id, d.queued_at, b.text, e.type, e.message_id, e.name, e.user_id, e.anonymous_id, "
    "e.timestamp, e.received_at FROM delivery_delivery d "
    "JOIN delivery_event e ON e.id = d.event_id JOIN delivery_eventbody b ON b.event_id = e.id "
    "WHERE d.id > {after} ORDER BY d.id LIMIT {limit}"
)

Statement = tuple[str, Sequence[Any]]
Post = tuple[str, bytes]


def ingest(per_request: int) -> float:
    """Return events/s."""
    transactions = list(_transactions(per_request))
    stack.clear()
    seconds = _clock(lambda: [_commit(each) for each in transactions])
    return len(transactions) * per_request / seconds


def delivery() -> float:
    """Return deliveries/s."""
    posts, count = _posts(BULK), Delivery.objects.count()
    stack.clear_sink()
    vendor = Vendor()

    def deliver() -> None:
        for after, post in zip_longest(range(0, count, BULK), posts):
            if after is not None:
                _read(after, BULK)
            if post:
                vendor.take(post)

    return count / _clock(deliver)


def latency(per_request: int, most: int) -> list[float]:
    """Return the seconds of each turn, for at most `most` turns."""
    turns = list(zip(_transactions(per_request), _posts(per_request), strict=False))[:most]
    stack.clear()
    stack.clear_sink()
    vendor = Vendor()

    def turn(after: int, transaction: Sequence[Statement], post: Post) -> None:
        _commit(transaction)
        _read(after, per_request)
        vendor.take(post)

    return [
        _clock(lambda n=n, each=each: turn(n * per_request, *each)) for n, each in enumerate(turns)
    ]


def _clock(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# --- rows ----------------------------------------------------------------------------------------


def _transactions(per_request: int) -> Iterator[list[Statement]]:
    """Yield, for each request, the statements that store the same rows."""
    *per_event, tally = [_rows(model) for model in stack.STORED]
    for n, one in enumerate(tally):
        part = slice(n * per_request, (n + 1) * per_request)
        rows = [*(every[part] for every in per_event), [one]]
        yield [_insert(model, each) for model, each in zip(stack.STORED, rows, strict=True)]


def _rows(model: type[models.Model]) -> list[Any]:
    """Return the rows of a table in order, as JSON on PostgreSQL and as tuples on SQLite."""
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"SELECT to_json(t)::text FROM {table} t ORDER BY t")
            return [text for (text,) in cursor]
        cursor.execute(f"SELECT * FROM {table} ORDER BY 1")
        return list(cursor)


def _insert(model: type[models.Model], rows: Sequence[Any]) -> Statement:
    table = model._meta.db_table
    if connection.vendor == "postgresql":
        sql = f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, %s)"
        return sql, [f"[{','.join(rows)}]"]
    places = f"({','.join('?' * len(rows[0]))})"
    values = [value for row in rows for value in row]
    return f"INSERT INTO {table} VALUES {','.join([places] * len(rows))}", values


def _commit(statements: Sequence[Statement]) -> None:
    driver = connection.connection
    driver.execute("BEGIN")
    for sql, values in statements:
        driver.execute(sql, values)
    driver.execute("COMMIT")


def _read(after: int, limit: int) -> None:
    connection.connection.execute(READ.format(after=after, limit=limit)).fetchall()


# --- bodies --------------------------------------------------------------------------------------


def _posts(size: int) -> list[Post]:
    """Return the entries that were sent, in prepared bodies of `size` entries, with their URLs."""
    entries = defaultdict(list)
    for url, text in Attempt.objects.order_by("pk").values_list("url", "body__request_body"):
        body = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        plural = next(name for name in body if name != "app_id")
        entries[url, plural] += msgspec.json.decode(body[plural], type=list[msgspec.Raw])
    return [
        (url, msgspec.json.encode({"app_id": APP_ID, plural: every[at : at + size]}))
        for (url, plural), every in entries.items()
        for at in range(0, len(every), size)
    ]


class Vendor:
    """The sandbox, reached over one plain connection."""

    def __init__(self) -> None:
        self.connection = HTTPConnection(urlsplit(settings.SANDBOX_URL).netloc, timeout=30)

    def take(self, post: Post) -> None:
        url, body = post
        headers = {"Content-Type": "application/json"}
        self.connection.request("POST", urlsplit(url).path, body, headers)
        answer = self.connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"The sandbox responded with {answer.status}")
