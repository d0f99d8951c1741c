"""Measures every list of the API with 10,000 and with 10,000,000 deliveries.

    python benchmarks/rows.py postgres://…/penstock_rows_small --rows 10000
    python benchmarks/rows.py postgres://…/penstock_rows
    python benchmarks/lists.py postgres://…/penstock_rows_small postgres://…/penstock_rows

The calls go through all of Django except the web server. They alternate between the small and the
large database, so that other work on the machine affects both alike; the medians of TURNS calls are
compared. Each statement is explained, and a large table that it reads from end to end is named.
The exit code is 1 if a call takes more than MOST times as long on the large database, or if a large
table is read from end to end.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TURNS = 15
WARM_UP = 3
MOST = 1.5
LEAST = 5.0  # ms; shorter times count as this, because they vary with the machine
LARGE = 50_000  # rows; a larger table must not be read from end to end
SEQUENTIAL = re.compile(r"Seq Scan on (\w+)")
TOKEN = "pst_lists"

# look_up() finds the values for {…} in each database.
LISTS = (
    "deliveries",
    "deliveries?cursor={deep}",
    "deliveries?installation={all}",
    "deliveries?installation={quiet}",
    "deliveries?installation={all}&cursor={deep}",
    "deliveries?state=queued",
    "deliveries?state=delivered",
    "deliveries?state=failed",
    "deliveries?state=filtered",
    "deliveries?state=cancelled",
    "deliveries?installation={all}&state=failed",
    "deliveries?installation={quiet}&state=failed",
    "deliveries?event=Event 1",
    "deliveries?event=Event 40",
    "deliveries?event=Account Deleted",
    "deliveries?user_id={user}",
    "deliveries?user_id={user}&state=failed",
    "deliveries?anonymous_id={visitor}",
    "deliveries?message_id={message}",
    "deliveries?since={day}",
    "deliveries?until={day}",
    "deliveries?since={day}&until={later}&installation={quiet}",
    "deliveries/{delivery}",
    "events",
    "events?cursor={deep_event}",
    "events?user_id={user}",
    "events?anonymous_id={visitor}",
    "events?message_id={message}",
    "events?name=Event 1",
    "events?name=Account Deleted",
    "events?type=track",
    "events?type=page",
    "events?source=1",
    "events?since={day}",
    "events/{event}",
    "attempts",
    "attempts?installation={all}",
    "attempts?installation={quiet}",
    "attempts?status=5xx",
    "attempts?status=none",
    "attempts?outcome=accepted",
    "attempts?outcome=MessageRejected",
    "attempts?until={day}",
    "attempts/{attempt}",
    "rejections",
    "rejections?source=1",
    "rejections?since={day}",
    "installations",
    "sources",
    "metrics",
    "metrics?step=minute&installation={all}",
    "metrics?step=day&since={month}",
    "system",
)


# --- comparing process ---------------------------------------------------------------------------


def main(small: str, large: str) -> int:
    """Measure both databases, print a table, and return the exit code."""
    servers = [serve(url) for url in (small, large)]
    print(f"{'':62}{'small':>9}{'large':>9}  ratio", file=sys.stderr)
    wrong = 0
    for each in LISTS:
        few, many = compare(servers, each)
        ratio = many["ms"] / max(few["ms"], LEAST)
        whole = ", ".join(sorted({*many["whole"]}))
        wrong += ratio > MOST or bool(whole)
        print(json.dumps({"list": each, "small_ms": few["ms"], "large_ms": many["ms"],
                          "ratio": round(ratio, 2), "read_whole": whole}))  # fmt: skip
        mark = f"  reads all of {whole}" if whole else ""
        line = f"{each:62}{few['ms']:9.1f}{many['ms']:9.1f}{ratio:7.2f}{mark}"
        print(line, file=sys.stderr, flush=True)
    for server in servers:
        server.stdin.close()
        server.wait()
    return 1 if wrong else 0


def compare(servers, each):
    turns = [[ask(server, each) for server in servers] for _ in range(WARM_UP + TURNS)]
    return [
        {
            "ms": statistics.median(turn[n]["ms"] for turn in turns[WARM_UP:]),
            "whole": turns[0][n]["whole"],
        }
        for n in range(len(servers))
    ]


def serve(url):
    sys.path.insert(0, str(ROOT))
    from benchmarks.run import environment

    return subprocess.Popen(
        [sys.executable, __file__, "--answer"],
        cwd=ROOT,
        env={**environment(url, "", ROOT), "LOG_LEVEL": "ERROR"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(server, each):
    print(each, file=server.stdin, flush=True)
    return json.loads(server.stdout.readline())


# --- answering process ---------------------------------------------------------------------------


def answer():
    """Make the call on each line of stdin and print how long it took."""
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    from django.test import Client
    from django.test.utils import setup_test_environment

    setup_test_environment()
    client, facts, explained = Client(headers=bearer()), look_up(), set()
    for line in sys.stdin:
        address = "/v1/admin/" + line.strip().format(**facts)
        whole = [] if line in explained else read_whole(client, address)
        explained.add(line)
        print(json.dumps({"ms": timed(client, address), "whole": whole}), flush=True)


def bearer():
    from django.conf import settings
    from django.contrib.auth.models import User

    from integrations.models import ApiToken, digest

    settings.API_RATE_LIMIT = 0
    user, _ = User.objects.get_or_create(username="lists", is_superuser=True)
    values = {"name": "lists", "user": user, "scopes": ["admin"]}
    ApiToken.objects.get_or_create(digest=digest(TOKEN), defaults=values)
    return {"authorization": f"Bearer {TOKEN}"}


def look_up():
    """Return the values that the addresses need, as found in this database."""
    from datetime import timedelta

    from delivery.models import Attempt, Delivery, Event
    from integrations.api.lists import encode_cursor
    from integrations.models import Installation

    ids = dict(Installation.objects.values_list("name", "pk"))
    newest = Event.objects.exclude(user_id="").latest("pk")
    stamp = lambda at: at.isoformat().replace("+00:00", "Z")  # noqa: E731
    middle = newest.received_at - timedelta(days=15)
    return {
        "all": ids["All"], "quiet": ids["Quiet"],
        "deep": encode_cursor(Delivery.objects.latest("pk").pk // 2),
        "deep_event": encode_cursor(newest.pk // 2),
        "user": newest.user_id, "visitor": newest.anonymous_id, "message": newest.message_id,
        "day": stamp(middle), "later": stamp(middle + timedelta(hours=6)),
        "month": stamp(newest.received_at - timedelta(days=29)),
        "delivery": Delivery.objects.latest("pk").pk, "event": newest.pk,
        "attempt": Attempt.objects.latest("pk").pk,
    }  # fmt: skip


def timed(client, address):
    began = time.perf_counter()
    response = client.get(address)
    assert response.status_code == 200, (address, response.content)
    return (time.perf_counter() - began) * 1_000


def read_whole(client, address):
    """Return the large tables that a call reads from end to end."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        client.get(address)
    return whole_of([query["sql"] for query in captured])


def whole_of(statements):
    """Return the large tables that statements read from end to end."""
    from django.db import connection

    read = {table for sql in statements for table in SEQUENTIAL.findall(plan(sql))}
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE reltuples > %s", [LARGE])
        return sorted(read & {table for (table,) in cursor.fetchall()})


def plan(sql):
    from django.db import connection

    if not sql.startswith("SELECT"):
        return ""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql.replace('%', '%%')}", [])
        return "\n".join(line for (line,) in cursor.fetchall())


if __name__ == "__main__":
    if sys.argv[1:] == ["--answer"]:
        answer()
    else:
        os.environ.pop("DATABASE_URL", None)
        sys.exit(main(*sys.argv[1:]))
