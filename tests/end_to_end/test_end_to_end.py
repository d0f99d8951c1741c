"""The whole path of an event with nothing replaced.

A real SDK, the web server, a cluster, Heap's sandbox and the log take part, on SQLite, on
PostgreSQL, and with Redis as the broker.
"""

import json
import re

import pytest
import requests
from segment.analytics import Client

from tests.conftest import find_free_port, new_database
from tests.support.processes import RunningCommand, environment, eventually, manage

pytestmark = pytest.mark.end_to_end

TOKEN = "pst_end-to-end-0123456789abcdef0123456789"
WRITE_KEY = "wk_end-to-end"
INSTALL = {
    "name": "Heap",
    "variant": "default",
    "config": {"app_id": "1234567890", "api_key": "canary-of-a-key"},
    "delivery_mode": "server_side",
}


ONE_REDIS = pytest.mark.xdist_group("redis")
EACH_ONCE = ["sqlite", pytest.param("postgres and redis", marks=ONE_REDIS)]
ANY = [*EACH_ONCE, "postgres", pytest.param("sqlite and redis", marks=ONE_REDIS)]


@pytest.fixture
def running(request, tmp_path):
    """Everything that `make run` starts, on free ports."""
    database, _, broker = request.param.partition(" and ")
    broker_url = request.getfixturevalue("redis_url") if broker else ""
    with new_database(database, tmp_path) as url:
        yield from started(url, broker_url)


def started(database_url, broker_url):
    env = environment(
        database_url,
        BROKER_URL=broker_url,
        PENSTOCK_API_TOKEN=TOKEN,
        PENSTOCK_WRITE_KEY=WRITE_KEY,
        PENSTOCK_WEB_BIND=f"127.0.0.1:{find_free_port()}",
        PENSTOCK_SANDBOX_URL=f"http://127.0.0.1:{find_free_port()}",
        PENSTOCK_CLUSTER_WORKERS=2,
    )
    with RunningCommand(env, "up") as up:
        up.wait_for("Penstock is ready", 60)
        up.env = env
        yield up
        assert up.stop() == 0, up.output


class Penstock:
    """Penstock and the sandbox, as a user sees them."""

    def __init__(self, env):
        self.env = env
        self.url = f"http://{env['PENSTOCK_WEB_BIND']}"
        self.sandbox = env["PENSTOCK_SANDBOX_URL"]

    def api(self, method, path, **kwargs):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = requests.request(method, self.url + path, headers=headers, timeout=60, **kwargs)
        answer.raise_for_status()
        return answer.json()

    def deliveries(self, **filters):
        return self.api("GET", "/v1/admin/deliveries", params=filters)["data"]

    def received(self):
        return requests.get(f"{self.sandbox}/_sandbox/events", timeout=60).json()["events"]

    def user(self, identity):
        url = f"{self.sandbox}/_sandbox/users"
        return requests.get(url, params={"identity": identity}, timeout=60).json()["users"][0]

    def ledger(self):
        return json.loads(manage(self.env, "ledger", "--json"))


@pytest.mark.parametrize("running", ANY, indirect=True)
def test_an_event_of_a_real_sdk_reaches_heap_and_its_log_can_be_read(running):
    penstock = Penstock(running.env)
    penstock.api("POST", "/v1/admin/integration-catalog/heap/install", data=json.dumps(INSTALL))
    failures = []
    sdk = Client(WRITE_KEY, host=penstock.url, on_error=lambda *failed: failures.append(failed))

    sdk.page(anonymous_id="visitor", name="Home", context={"page": {"url": "https://shop.example"}})
    sdk.track("ada", "Order Completed", {"total": 42, "items": [{"sku": "A"}]},
              anonymous_id="visitor", message_id="the-order-itself")  # fmt: skip
    sdk.identify("ada", {"email": "ada@example.com", "plan": "premium"})
    sdk.shutdown()

    eventually(lambda: len(penstock.deliveries(state="delivered")) == 3, 30, running.output)
    assert not failures
    page, order = penstock.received()
    assert (page["event"], page["properties"]["url"]) == ("pageview", "https://shop.example")
    assert order["idempotency_key"] == "the-order-itself"
    assert order["properties"] == {"total": 42, "items": '[{"sku":"A"}]'}
    ada = penstock.user("ada")
    assert ada["properties"] == {"email": "ada@example.com", "plan": "premium"}
    assert page["user_id"] in ada["user_ids"]  # the visitor's history now belongs to ada
    assert page["owner"] == "ada"

    [found] = penstock.deliveries(message_id="the-order-itself")
    delivery = penstock.api("GET", f"/v1/admin/deliveries/{found['id']}")
    assert delivery["state"] == "delivered"
    assert {attempt["status"] for attempt in delivery["attempts"]} == {200}
    assert any("items" in note for note in delivery["notes"])
    assert penstock.ledger()["closes"]
    assert "canary" not in running.output + json.dumps(delivery)


@pytest.mark.parametrize("running", EACH_ONCE, indirect=True)
def test_an_outage_of_the_vendor_costs_nothing_but_time(running):
    penstock = Penstock(running.env)
    penstock.api("POST", "/v1/admin/integration-catalog/heap/install", data=json.dumps(INSTALL))
    script = [{"status": 503, "times": 1}, {"reset": True}]
    requests.post(f"{penstock.sandbox}/_sandbox/faults", json=script, timeout=60)
    sdk = Client(WRITE_KEY, host=penstock.url)
    for number in range(200):
        sdk.track("ada", "Step", {"number": number}, message_id=f"step-{number:04}")
    sdk.shutdown()

    eventually(lambda: penstock.ledger()["installations"][0]["delivered"] == 200, 40)
    received = penstock.received()
    assert [event["idempotency_key"] for event in received] == [f"step-{n:04}" for n in range(200)]
    first = penstock.deliveries(message_id="step-0000")[0]
    assert first["attempt_count"] >= 2
    assert not re.search("Traceback", running.output)
