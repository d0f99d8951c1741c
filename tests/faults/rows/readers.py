"""Many concurrent readers of a long, growing log."""

import json
import random
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from statistics import quantiles

import psycopg
import requests

from integrations.api.lists import encode_cursor
from tests.faults.registry import Result, RowContext, row
from tests.faults.support.sdk_client import SdkClient
from tests.kills.stage import TOKEN, WRITE_KEY, Stage
from tests.support.processes import ROOT, eventually

VIEWERS = 20
THINKING = 2.0  # seconds between two pages of a viewer, which is the interval of the live log
WARMING = 10.0  # seconds that do not count, because threads connect and PostgreSQL's caches fill
LOOKING = 30.0  # seconds
LIST, METRICS = 0.200, 0.050  # seconds, p95
BYTES = 200_000  # largest page
PATIENCE = 10.0  # seconds within which an unreadable page must return an error
# A count up to a limit does not count the whole log.
COUNTED = re.compile(r"count\(\*\)(?!.*\bLIMIT\b).*\bfrom\b.*delivery_(delivery|event|attempt)\b")
SKIPPED = re.compile(r"\boffset \d*[1-9]")

TO_SANDBOX = """
    UPDATE integrations_installation SET sealed_secrets = '',
        config = jsonb_set(config::jsonb, '{region}', '"sandbox"')
"""
OUR_KEY = "UPDATE integrations_source SET write_key = '{key}' WHERE id = 1"
CAME = """
    SELECT state, count(*) FROM delivery_delivery JOIN delivery_event AS e ON e.id = event_id
    WHERE e.id > {filled} AND installation_id < 12 GROUP BY state
"""
RECEIVING = 11  # installations that deliver, all with one App ID; the twelfth does not deliver
LOCK = "LOCK TABLE delivery_delivery, delivery_event, delivery_attempt, delivery_metric"


@row("22", "A log of five million, read by twenty while it grows", short=20_000, full=5_000_000)
def long_log(context: RowContext, result: Result) -> None:
    """Rounds are deliveries. Viewers read twelve kinds of lists, deep pages and searches under
    load. Then the tables are locked, and every page must return an error instead of a 0. The time
    that pages take is asserted in the full form only."""
    url, before = filled(context), len(logged(context))
    with Stage(url, config=None) as stage:
        client = SdkClient(stage, pause=0.5)
        pages = lists(context.rounds)
        with client.sending(threads=1, per_request=25):
            eventually(lambda: stage.count_received() > 0, 60.0, stage.up.output)
            if context.full:
                look(stage, pages, WARMING)
            seen = look(stage, pages, context.full_or_short(LOOKING, 4.0))
        errors = locked(stage, url)
        executed = statements(logged(context)[before:])
        eventually(lambda: came(context, url).keys() == {"delivered"}, 120.0, "deliveries are left")
        keys = [each["idempotency_key"] for each in stage.events()]
    result.accepted, result.delivered = len(client.accepted), came(context, url)["delivered"]
    result.lost, result.doubled = len(client.accepted - {*keys}), len(keys) - len({*keys})
    lists_p95, metrics_p95 = (p95(seen[kind]) for kind in ("list", "metrics"))
    slowest = max(seen["list"])
    result.note = (
        f"{len(seen['list'])} pages by {VIEWERS} viewers: p95 {lists_p95:.3f} s, slowest "
        f"{slowest:.2f} s, largest {max(seen['bytes']) / 1e3:.0f} KB; metrics p95 "
        f"{metrics_p95:.3f} s; with the tables locked every page returned {sorted(errors)}; "
        f"{len(executed):,} statements, none counts the log or skips rows"
    )
    assert result.delivered == RECEIVING * result.accepted
    assert (result.lost, result.doubled) == (0, 0)
    assert not [each for each in executed if COUNTED.search(each) or SKIPPED.search(each)]
    assert 200 not in errors, "a page that could not be read was answered with 200"
    assert max(seen["bytes"]) <= BYTES
    if not context.full:
        return
    assert lists_p95 <= LIST
    assert metrics_p95 <= METRICS
    assert slowest <= 1.0


def filled(context: RowContext) -> str:
    """Create a database with a long log, whose statements PostgreSQL logs; return its URL."""
    url, server = context.url(), context.servers.postgres
    command = [sys.executable, "benchmarks/rows.py", url, "--rows", str(context.rounds)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    server.execute(TO_SANDBOX, url)
    server.execute(OUR_KEY.format(key=WRITE_KEY), url)
    server.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET log_statement = 'all'")
    return url


def lists(rows: int) -> list[str]:
    """Return the pages to read. Ids and names are those that benchmarks/rows.py creates."""
    week = (datetime.now(UTC) - timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:%SZ")
    deep, user = encode_cursor(rows // 3), f"user-{rows // 400}"
    return [
        "deliveries", "deliveries?state=failed", "deliveries?state=queued",
        "deliveries?installation=1", "deliveries?installation=11&state=failed",
        "deliveries?installation=3&state=filtered", "deliveries?event=Event 1",
        f"deliveries?user_id={user}", f"deliveries?user_id={user}&state=failed",
        f"deliveries?since={week}", f"deliveries?until={week}&installation=2",
        "deliveries?event=Account Deleted", f"deliveries?cursor={deep}",
        f"deliveries?cursor={deep}&installation=1", "deliveries?message_id=message-12345",
        "attempts?status=5xx", "events?name=Event 40",
    ]  # fmt: skip


def look(stage: Stage, pages: list[str], seconds: float) -> dict[str, list[float]]:
    """Let all viewers read for a while; return the seconds of lists and metrics, and the bytes."""
    seen: dict[str, list[float]] = defaultdict(list)
    threads = [
        threading.Thread(target=view, args=[stage, pages, seen, seconds], daemon=True)
        for _ in range(VIEWERS)
    ]
    with scraper(stage, seconds) as process:
        for each in threads:
            each.start()
            time.sleep(THINKING / VIEWERS)
        for each in threads:
            each.join(seconds + 60.0)
        output, _ = process.communicate(timeout=seconds + 60.0)
    assert process.returncode == 0, "the metrics could not be read"
    seen["metrics"] = json.loads(output)
    return seen


def scraper(stage: Stage, seconds: float) -> "subprocess.Popen[str]":
    url = f"http://{stage.env['PENSTOCK_WEB_BIND']}/v1/admin/metrics"
    command = [sys.executable, "-m", "tests.faults.support.scraper", url, TOKEN, str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def view(stage: Stage, pages: list[str], seen: dict[str, list[float]], looking: float) -> None:
    with requests.Session() as web:
        until = time.monotonic() + looking
        while time.monotonic() < until:
            page = random.choice(pages)
            answer, seconds = get(stage, page, web)
            assert answer.status_code == 200, f"{page}: {answer.status_code}"
            seen["bytes"].append(len(answer.content))
            seen["list"].append(seconds)
            time.sleep(max(THINKING - seconds, 0.0))


def get(stage: Stage, page: str, web: requests.Session) -> tuple[requests.Response, float]:
    url = f"http://{stage.env['PENSTOCK_WEB_BIND']}/v1/admin/{page}"
    started = time.monotonic()
    answer = web.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    return answer, time.monotonic() - started


def came(context: RowContext, url: str) -> dict[str, int]:
    """Return the number of deliveries by state, for the events that arrived during the row and the
    installations that deliver. The ledger cannot tell, because the log was inserted by SQL."""
    with psycopg.connect(url) as db:
        return dict(db.execute(CAME.format(filled=context.rounds // 2)).fetchall())


def locked(stage: Stage, url: str) -> set[int]:
    """Return the statuses of pages while the tables that they read are locked."""
    pages = ("deliveries", "events", "attempts", "metrics")
    with psycopg.connect(url) as db, ThreadPoolExecutor(len(pages)) as pool:
        eventually(lambda: is_locked(db), 30.0)
        answers = list(pool.map(lambda page: get(stage, page, requests.Session()), pages))
        db.rollback()
    assert all(seconds <= PATIENCE for _, seconds in answers)
    return {answer.status_code for answer, _ in answers}


def is_locked(db: psycopg.Connection) -> bool:
    """Try to lock the tables; return whether that succeeded.

    It can deadlock with transactions that use several of the tables.
    """
    try:
        db.execute(LOCK)
    except psycopg.errors.DeadlockDetected:
        db.rollback()
        return False
    return True


def logged(context: RowContext) -> str:
    return (context.servers.postgres.folder / "log").read_text(errors="replace")


def statements(text: str) -> list[str]:
    """Return the logged statements in lower case, except for LIMIT."""
    found = re.findall(r"LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)", text)
    return [" ".join(each.lower().split()).replace("limit", "LIMIT") for each in found]


def p95(values: list[float]) -> float:
    return quantiles(values, n=20)[18]
