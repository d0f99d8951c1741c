"""The same messages from many sides at once, at a real web server."""

import http.client
import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import a_free_port
from tests.live import Running, environment, manage

pytestmark = pytest.mark.end_to_end

WRITE_KEY = "wk_concurrency-0123"
CLIENTS = 16
MESSAGES = 5_000
BATCH = 100
COUNT = """
from delivery.models import *
print(Event.objects.count(), EventBody.objects.count(), Delivery.objects.count(),
      sum(Tally.objects.values_list("events", flat=True)))
"""
INSTALL = """
from integrations.catalog import catalog
from integrations.installing import install
for name in ("One", "Two"):
    installation = install(catalog()["heap"], name=name, config={"app_id": "1", "region": "us"})
    installation.enabled = False
    installation.save()
"""


@pytest.fixture
def penstock(database_url):
    """A Penstock with two installations that keep what they get."""
    env = environment(
        database_url,
        PENSTOCK_WRITE_KEY=WRITE_KEY,
        PENSTOCK_WEB_BIND=f"127.0.0.1:{a_free_port()}",
        PENSTOCK_SANDBOX_URL="",
        PENSTOCK_CLUSTER_WORKERS=1,
        PENSTOCK_CONN_MAX_AGE=600,
    )
    with Running(env, "up") as up:
        up.wait_for("Penstock is ready", 60)
        manage(env, "shell", "-v", "0", "-c", INSTALL)
        up.env = env
        yield up
        assert up.stop() == 0, up.output


def test_what_many_send_at_once_is_stored_once(penstock):
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda n: send(penstock.env, n), range(CLIENTS)))
    assert {status for statuses in answers for status in statuses} == {200}
    counted = manage(penstock.env, "shell", "-v", "0", "-c", COUNT)
    assert [int(n) for n in counted.split()] == [MESSAGES, MESSAGES, 2 * MESSAGES, MESSAGES]
    assert json.loads(manage(penstock.env, "ledger", "--json"))["closes"]
    assert "Traceback" not in penstock.output


def send(env, number):
    """Send all messages, in an order of one's own; return the statuses of the answers."""
    numbers = list(range(MESSAGES))
    random.Random(number).shuffle(numbers)  # a seed: each client has its order, always
    connection = http.client.HTTPConnection(env["PENSTOCK_WEB_BIND"], timeout=60)
    statuses = []
    for at in range(0, MESSAGES, BATCH):
        batch = [message(n) for n in numbers[at : at + BATCH]]
        body = json.dumps({"batch": batch, "writeKey": WRITE_KEY})
        connection.request("POST", "/v1/batch", body)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    return statuses


def message(number):
    return {
        "type": "track",
        "event": "Counted",
        "userId": f"user-{number % 100}",
        "messageId": f"message-{number}",
        "properties": {"number": number},
    }
