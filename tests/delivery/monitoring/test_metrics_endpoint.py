"""`/metrics`: right by the ledger, cheap to read, and only for those who may."""

import json
import re
import shutil
import subprocess
from io import StringIO

import pytest
import yaml
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from delivery.accounting import rollup
from delivery.models import Heartbeat, Lane
from delivery.monitoring import exposition
from delivery.operations.supervisor import here
from delivery.worker import attempt
from delivery.worker import drain as worker_drain
from integrations.models import Installation
from tests.delivery.accounting.test_ledger import installed
from tests.support.fake_vendor import FakeVendor
from tests.support.processes import ROOT

pytestmark = pytest.mark.django_db

TOKEN = "token-of-this-test-0123456789"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/penstock.json"
CASES = [
    ({}, "127.0.0.1", {}, 200),
    ({}, "::ffff:127.0.0.1", {}, 200),
    ({}, "10.0.0.7", {}, 403),
    ({}, "", {}, 403),
    ({}, "127.0.0.1", {"x-forwarded-for": "10.0.0.7"}, 403),
    ({}, "127.0.0.1", {"authorization": "Bearer "}, 200),
    ({}, "10.0.0.7", {"authorization": "Bearer "}, 403),
    ({"TOKEN": TOKEN}, "10.0.0.7", {"authorization": f"Bearer {TOKEN}"}, 200),
    ({"TOKEN": TOKEN}, "10.0.0.7", {"authorization": f"Bearer {TOKEN}x"}, 403),
    ({"TOKEN": TOKEN}, "10.0.0.7", {"authorization": f"Basic {TOKEN}"}, 403),
    ({"TOKEN": TOKEN}, "127.0.0.1", {}, 403),
    ({"NETWORKS": ["10.0.0.0/8"]}, "10.0.0.7", {}, 200),
    ({"NETWORKS": ["10.0.0.0/8"]}, "::ffff:10.0.0.7", {}, 200),
    ({"NETWORKS": ["10.0.0.0/8"]}, "127.0.0.1", {}, 403),
    ({"NETWORKS": ["fd00::/8"], "TOKEN": TOKEN}, "fd00::1", {}, 200),
    ({"NETWORKS": ["fd00::/8"], "TOKEN": TOKEN}, "10.0.0.7", {"authorization": TOKEN}, 403),
]


@pytest.fixture
def vendor(settings, monkeypatch):
    monkeypatch.setattr(worker_drain, "IDLE_STAY", 0)
    with FakeVendor() as vendor:
        settings.SANDBOX_URL = vendor.url
        yield vendor
    attempt.shared_session().close()


def read(client):
    """Return {(name, label values…): value} of all samples."""
    text = client.get("/metrics").content.decode()
    samples = [s for each in text_string_to_metric_families(text) for s in each.samples]
    return {(s.name, *(v for k, v in s.labels.items() if k != "le")): s.value for s in samples}


def send(client, source, count, **message):
    batch = [{"userId": "ada", "messageId": f"{message}-{n}", **message} for n in range(count)]
    answer = client.post(
        "/v1/batch", {"batch": batch}, "application/json", headers={"x-write-key": source.write_key}
    )
    assert answer.status_code == 200


def drain():
    for lane in Lane.objects.filter(installation__enabled=True):
        worker_drain.drain_lane(lane.pk)


def read_ledger():
    out = StringIO()
    call_command("ledger", "--json", stdout=out)
    return json.loads(out.getvalue())


@pytest.fixture
def load(client, source, vendor):
    """8 deliveries of which the vendor rejects one, 8 that wait, and 3 unwanted events each."""
    event = {"mapping": {"event": {"@path": "$.event"}}}
    installed("Heap", trigger='type = "track"', **event)
    installed("Slow", trigger='type = "track"', **event)
    send(client, source, 8, type="track", event="Seen")
    send(client, source, 3, type="page")
    Installation.objects.filter(name="Slow").update(enabled=False)
    vendor.answers = [400] * 4
    drain()


@pytest.mark.django_db(transaction=True)  # the ledger reads a snapshot of its own
def test_the_counts_are_those_of_the_ledger_before_and_after_a_roll_up(client, load):
    ledger = read_ledger()
    before = read(client)
    rollup.roll_up_metrics(timezone.now())

    for found in (before, read(client)):
        assert found["penstock_events_accepted_total",] == ledger["events"]["accepted"] == 11
        for line in ledger["installations"]:
            name = line["installation"]
            assert found["penstock_events_offered_total", name] == line["in_scope"] == 11
            assert found["penstock_events_unwanted_total", name] == line["unwanted"] == 3
            assert found["penstock_queued_deliveries", name] == line["queued"]
            for state in ("delivered", "filtered", "failed", "cancelled"):
                assert found["penstock_deliveries_total", name, state] == line[state]
        assert found["penstock_deliveries_total", "Heap", "failed"] == 1
        assert found["penstock_deliveries_total", "Heap", "delivered"] == 7
        assert found["penstock_attempts_refused_total", "Heap"] == 4
        assert found["penstock_oldest_queued_seconds", "Heap"] == 0
        assert found["penstock_oldest_queued_seconds", "Slow"] > 0
        assert found["penstock_lanes", "paused"] == 1


def test_equal_tallies_and_settlements_are_counted_each(client, source, vendor):
    installed("Heap", trigger='type = "track"', mapping={"event": {"@path": "$.event"}})
    for number in range(3):
        send(client, source, 1, type="page", name=f"p-{number}")
        send(client, source, 1, type="track", event=f"E-{number}")
        drain()

    found = read(client)

    assert found["penstock_events_accepted_total",] == 6
    assert found["penstock_events_unwanted_total", "Heap"] == 3
    assert found["penstock_deliveries_total", "Heap", "delivered"] == 3
    assert found["penstock_attempts_total", "Heap"] == len(vendor.received) == 3


def test_the_log_is_not_counted(client, load):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        read(client)
    assert len(queries) < 8
    for query in queries:
        assert not re.search("delivery_(event|attempt)", query["sql"])
        assert query["sql"].count("FROM delivery_delivery") == query["sql"].count("LIMIT")


def test_what_a_process_measures_is_there(client, load):
    names = (
        ("penstock_http_request_duration_seconds_count", "ingest", "2xx"),
        ("penstock_store_duration_seconds_count",),
        ("penstock_batch_deliveries_sum",),
        ("penstock_attempt_responses_total", "400"),
        ("penstock_attempt_responses_total", "200"),
    )
    found = read(client)
    assert [name for name in names if not found.get(name)] == []


def test_without_the_database_it_reports_that_and_what_the_processes_measure(client, monkeypatch):
    def away():
        raise OperationalError("connection to db.internal failed")

    monkeypatch.setattr(exposition, "read_totals", away)
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert "penstock_database_reachable 0.0" in answer.text
    assert "penstock_queued_deliveries" not in answer.text
    assert "penstock_store_duration_seconds" in answer.text
    assert "db.internal" not in answer.text


def test_it_has_no_series_of_an_uninstalled_installation(client, load):
    Installation.objects.filter(name="Slow").update(uninstalled_at=timezone.now())
    assert not [key for key in read(client) if "Slow" in key]


@pytest.mark.parametrize(("values", "address", "headers", "status"), CASES)
def test_it_is_for_those_who_may_read_it(client, settings, values, address, headers, status):
    for name, value in values.items():
        setattr(settings, f"METRICS_{name}", value)
    answer = client.get("/metrics", headers=headers, REMOTE_ADDR=address)
    assert answer.status_code == status
    assert (b"penstock_" in answer.content) == (status == 200)


def test_what_the_alerts_and_the_dashboard_name_exists(client, load):
    Heartbeat.objects.create(name="sweep", at=timezone.now())
    Heartbeat.objects.create(name=f"cluster {here()}:1:1f", at=timezone.now())
    text = client.get("/metrics").content.decode()
    samples = [s for each in text_string_to_metric_families(text) for s in each.samples]
    labels = {s.name: set(s.labels) for s in samples}

    rules = [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [rule["expr"] for rule in rules]
    expressions += [target["expr"] for panel in panels for target in panel["targets"]]

    assert len(expressions) > 25
    for expression in expressions:
        named = re.findall(r"(penstock_\w+)(?:\{([^}]*)\})?", expression)
        for name, selectors in named:
            assert name in labels, expression
            assert set(re.findall(r"(\w+)=", selectors)) <= labels[name], expression
        grouped = {
            each for by in re.findall(r"by \(([^)]*)\)", expression) for each in by.split(", ")
        }
        assert grouped <= set().union(*(labels[name] for name, _ in named)), expression
    for rule in rules:
        assert rule["annotations"].keys() == {"summary", "description"}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_prometheus_accepts_the_alerts():
    done = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
