"""Concurrent requests with the same messages, and a busy database, at a real web server."""

import http.client
import json
import random
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import psutil
import psycopg
import pytest

from delivery.operations.supervisor import title
from tests.conftest import find_free_port, new_database
from tests.support.processes import RunningCommand, environment, manage

# One group, so that the fixture of the module is created once for all its tests.
pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("test_ingest_concurrency")]

WRITE_KEY = "wk_concurrency-0123"
CLIENTS = 16
SENT = {100: 5_000, 1: 300}  # messages, by messages per request; single ones share transactions
COUNT = """
from django.db import connection, transaction
from delivery.accounting.ledger import build_ledger
from delivery.models import *
with transaction.atomic(), connection.cursor() as cursor:
    if connection.vendor == "postgresql":  # a roll-up may run between counts
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    print(Event.objects.count(), EventBody.objects.count(), Delivery.objects.count(),
          build_ledger().accepted)
"""
INSTALL = """
from integrations.catalog import catalog
from integrations.installations.install import install
for name in ("One", "Two"):
    installation = install(catalog()["heap"], name=name, config={"app_id": "1", "region": "us"})
    installation.enabled = False
    installation.save()
"""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def penstock(request, tmp_path_factory):
    """A Penstock with two installations whose deliveries stay queued."""
    with new_database(request.param, tmp_path_factory.mktemp("database")) as url:
        yield from running(url)


def running(url):
    env = environment(
        url,
        PENSTOCK_WRITE_KEY=WRITE_KEY,
        PENSTOCK_WEB_BIND=f"127.0.0.1:{find_free_port()}",
        PENSTOCK_SANDBOX_URL="",
        PENSTOCK_CLUSTER_WORKERS=1,
        PYTHONFAULTHANDLER=1,
    )
    with RunningCommand(env, "up") as up:
        up.wait_for("Penstock is ready", 60)
        manage(env, "shell", "-v", "0", "-c", INSTALL)
        up.env = env
        yield up
        assert up.stop() == 0, up.output


@pytest.mark.parametrize("batch", SENT)
def test_what_many_send_at_once_is_stored_once(penstock, batch):
    printed, before = len(penstock.output), counted(penstock.env)
    with stacks_of_what_hangs(penstock), ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda n: send(penstock.env, n, batch), range(CLIENTS)))
    assert {status for statuses in answers for status in statuses} == {200}
    messages = SENT[batch]
    new = [now - then for now, then in zip(counted(penstock.env), before, strict=True)]
    assert new == [messages, messages, 2 * messages, messages]
    assert json.loads(manage(penstock.env, "ledger", "--json"))["closes"]
    assert "Traceback" not in penstock.output[printed:]


@contextmanager
def stacks_of_what_hangs(up):
    """Show the stacks of all threads of the web server when it does not respond.

    This has happened once, and without the stacks its cause could not be found.
    """
    try:
        yield
    except TimeoutError:
        for process in psutil.Process(up.process.pid).children(recursive=True):
            if "worker-" in title(process):
                process.send_signal(signal.SIGABRT)  # faulthandler then prints the stacks
        time.sleep(2.0)
        raise AssertionError(up.output) from None


def counted(env):
    """Return how many events, bodies and deliveries exist, and the events the ledger expects."""
    return [int(n) for n in manage(env, "shell", "-v", "0", "-c", COUNT).split()]


def test_a_database_that_does_not_answer_is_a_503_before_sdks_give_up(penstock):
    with locked(penstock.env["DATABASE_URL"]):
        started = time.monotonic()
        assert post(penstock.env, [message("x")]) == (503, "5")
        seconds = time.monotonic() - started
    assert seconds < 10
    assert post(penstock.env, [message("x")]) == (200, None)


@contextmanager
def locked(url):
    """Block all writes of events."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
    else:
        connection = psycopg.connect(url)
        connection.execute("LOCK TABLE delivery_event")
    with closing(connection):
        yield


def post(env, batch):
    """Return the status and the Retry-After header of the response."""
    connection = http.client.HTTPConnection(env["PENSTOCK_WEB_BIND"], timeout=60)
    with closing(connection):
        body = json.dumps({"batch": batch, "writeKey": WRITE_KEY})
        connection.request("POST", "/v1/batch", body)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Retry-After")


def send(env, number, size):
    """Send all messages in this client's own order; return the statuses of the responses."""
    numbers = list(range(SENT[size]))
    random.Random(number).shuffle(numbers)  # seeded: each client always has the same order
    connection = http.client.HTTPConnection(env["PENSTOCK_WEB_BIND"], timeout=60)
    statuses = []
    for at in range(0, len(numbers), size):
        batch = [message(f"{size}-{n}") for n in numbers[at : at + size]]
        body = json.dumps({"batch": batch, "writeKey": WRITE_KEY})
        connection.request("POST", "/v1/batch", body)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    return statuses


def message(name):
    return {
        "type": "track",
        "event": "Counted",
        "userId": f"user-{hash(name) % 100}",
        "messageId": f"message-{name}",
        "properties": {"name": name},
    }
