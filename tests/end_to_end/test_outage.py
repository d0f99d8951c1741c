"""PostgreSQL stops and restarts while SDKs send events.

Every event that was answered with 200 is stored, and the SDKs' own retries deliver the rest.
PENSTOCK_OUTAGE is the length of the outage in seconds (3); `make outage` sets 30 and prints the
figures.
"""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.conftest import find_free_port, require_service
from tests.support.postgres import PostgresServer
from tests.support.processes import RunningCommand, environment, eventually, manage

pytestmark = pytest.mark.end_to_end

AWAY = float(os.environ.get("PENSTOCK_OUTAGE", "3"))  # seconds
BEFORE = AFTER = 2.0  # seconds of load before and after the outage
PER_SECOND = 40  # events of each SDK
CLIENTS = 4  # that send one event per request and never retry
PATIENCE = 240.0  # seconds for the SDKs to send the rest
KEY = "wk_outage-0123456789"
SCRIPTS = Path(__file__).parents[1] / "sdks"
INSTALL = """
from integrations.catalog import catalog
from integrations.installations.install import install
install(catalog()["heap"], name="Heap", config={"app_id": "1"})
"""
PASSED_ON = ("Authorization", "Content-Type", "Content-Encoding")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that passed the proxy, its response, and the seconds that the response took."""

    ids: tuple[str, ...]
    status: int
    retry_after: str | None
    seconds: float


class Witness:
    """A proxy in front of the web server that records every exchange; a context manager."""

    def __init__(self, target):
        self.exchanges = []
        handler = type("Handler", (Passing,), {"target": target, "exchanges": self.exchanges})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def acknowledged(self):
        return {each for x in self.exchanges if x.status == 200 for each in x.ids}


class Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self):
        with suppress(ConnectionResetError):  # an SDK has ended
            super().handle()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
        started = time.monotonic()
        connection = http.client.HTTPConnection(self.target, timeout=60)
        connection.request("POST", self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        ids = tuple(each["messageId"] for each in json.loads(body)["batch"])
        wait = answer.getheader("Retry-After")
        self.exchanges.append(Exchange(ids, answer.status, wait, time.monotonic() - started))
        self.send_response(answer.status)
        for name, value in (("Retry-After", wait), ("Content-Length", str(len(content)))):
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def postgres():
    with PostgresServer() as server:
        yield server


@pytest.fixture
def penstock(postgres):
    env = environment(
        postgres.url,
        PENSTOCK_WRITE_KEY=KEY,
        PENSTOCK_WEB_BIND=f"127.0.0.1:{find_free_port()}",
        PENSTOCK_SANDBOX_URL=f"http://127.0.0.1:{find_free_port()}",
        PENSTOCK_CLUSTER_WORKERS=1,
    )
    with RunningCommand(env, "up") as up:
        up.wait_for("Penstock is ready", 60)
        manage(env, "shell", "-v", "0", "-c", INSTALL)
        up.env = env
        yield up
        assert up.stop() == 0, up.output


def test_an_outage_of_the_database_costs_no_event(postgres, penstock):
    with Witness(penstock.env["PENSTOCK_WEB_BIND"]) as witness:
        events = round((BEFORE + AWAY + AFTER) * PER_SECOND)
        sdks = [start(command, events) for command in commands(f"http://{witness.address}")]
        with hammering(witness.address):
            away = outage(postgres)
        for sdk in sdks:
            complaint = sdk.communicate(timeout=PATIENCE)
            assert sdk.returncode == 0, complaint
    stored = Counter(rows(postgres, "SELECT message_id FROM delivery_event"))
    tracked = {f"{name}-{n}" for name in ("python", "node") for n in range(events)}
    report(witness, away, stored, tracked)
    statuses = Counter(each.status for each in witness.exchanges)
    assert witness.acknowledged() - stored.keys() == set()
    assert tracked - stored.keys() == set()
    assert statuses.keys() == {200, 503}
    assert set(stored.values()) == {1}
    assert max(each.seconds for each in witness.exchanges) < 10  # the timeout of the SDKs
    assert {each.retry_after for each in witness.exchanges if each.status == 503} == {"5"}
    delivered = "SELECT event_id FROM delivery_delivery WHERE state = 'delivered'"
    eventually(lambda: len(rows(postgres, delivered)) == len(stored), PATIENCE, penstock.output)
    assert json.loads(manage(penstock.env, "ledger", "--json"))["closes"]


def commands(host):
    """Yield the command line of each SDK, and the environment variables that it needs."""
    sdks = Path(require_service("sdks"))
    yield [sys.executable, SCRIPTS / "flow.py", host, KEY], {"PYTHONPATH": str(sdks / "python")}
    yield [require_service("node"), SCRIPTS / "flow.mjs", sdks, host, KEY], {}


def start(command, events):
    words, environment = command
    return subprocess.Popen(
        [*map(str, words), str(events), str(PER_SECOND)],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def outage(postgres):
    """Stop the server under load; return for how many seconds it was down."""
    time.sleep(BEFORE)
    postgres.stop()
    stopped = time.monotonic()
    time.sleep(AWAY)
    postgres.start()
    away = time.monotonic() - stopped
    time.sleep(AFTER)
    return away


class hammering:  # noqa: N801  (used as a function)
    """Clients that send as fast as they get responses, so that PostgreSQL stops amid commits."""

    def __init__(self, address):
        self.address, self.stopped, self.numbers = address, threading.Event(), count()
        self.threads = [threading.Thread(target=self.work) for _ in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def work(self):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        while not self.stopped.is_set():
            event = {"type": "track", "event": "Counted", "userId": "eve"}
            batch = [event | {"messageId": f"client-{next(self.numbers)}"}]
            connection.request("POST", "/v1/batch", json.dumps({"batch": batch, "writeKey": KEY}))
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                self.stopped.wait(0.05)
        connection.close()


def rows(postgres, sql):
    with psycopg.connect(postgres.url) as connection:
        return [value for (value,) in connection.execute(sql)]


def report(witness, away, stored, tracked):
    """Print the figures for docs/benchmarks.md."""
    statuses = Counter(each.status for each in witness.exchanges)
    acknowledged = witness.acknowledged()
    slowest = {
        status: max(each.seconds for each in witness.exchanges if each.status == status)
        for status in statuses
    }
    sys.stdout.write(
        f"\nPostgreSQL was down for {away:.1f} s. {statuses[200]:,} requests answered with 200 "
        f"(slowest {slowest[200]:.2f} s), {statuses[503]:,} with 503 "
        f"(slowest {slowest.get(503, 0):.2f} s).\n"
        f"{len(acknowledged):,} events acknowledged, {len(acknowledged - stored.keys())} of them "
        f"lost; {len(tracked):,} tracked by the SDKs, "
        f"{len(tracked - stored.keys())} of them lost.\n"
    )
