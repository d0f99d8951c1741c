"""The metrics in Prometheus' format: those of the database and those of the processes."""

import logging
import os
from collections.abc import Iterator
from datetime import datetime

from django.db import Error as DatabaseError
from django.utils import timezone
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from delivery.accounting.queues import QueueSize, read_queues
from delivery.accounting.record import MetricCounts
from delivery.accounting.totals import read_totals
from delivery.operations import system
from delivery.telemetry import instruments
from delivery.telemetry.process_numbers import FOLDER_VARIABLE
from integrations.models import Installation

logger = logging.getLogger(__name__)

SETTLED_STATES = ("delivered", "filtered", "failed", "cancelled")


def render_metrics(accept: str) -> tuple[bytes, str]:
    """Return the metrics and their content type, in the format that the Accept header asks for."""
    instruments.write_behind.write()
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())
    if FOLDER_VARIABLE in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(instruments.registry)
    return encode(registry), content_type


class DatabaseCollector(Collector):
    """What is true of the whole system; every web server reports the same."""

    def collect(self) -> Iterator[Metric]:
        try:
            families = list(_read_families(timezone.now()))
        except DatabaseError as error:
            logger.warning("The metrics lack what is in the database: %s", error)
            families = []
        yield GaugeMetricFamily(
            "penstock_database_reachable",
            "Whether the database answered: 1 or 0.",
            value=float(bool(families)),
        )
        yield from families


def _read_families(now: datetime) -> Iterator[Metric]:
    names = dict(Installation.objects.installed().order_by("pk").values_list("pk", "name"))
    yield from _queue_families(names, now)
    yield from _flow_families(names)
    yield from _process_families(now)


def _queue_families(names: dict[int, str], now: datetime) -> Iterator[Metric]:
    queues = read_queues(names)
    queued = GaugeMetricFamily(
        "penstock_queued_deliveries",
        "Deliveries in the queue; a lane is counted to 10,001.",
        labels=["installation"],
    )
    oldest = GaugeMetricFamily(
        "penstock_oldest_queued_seconds",
        "Age of the oldest delivery at the head of the queue; 0 when it is empty.",
        labels=["installation"],
    )
    for pk, name in names.items():
        queue = queues.get(pk, QueueSize())
        queued.add_metric([name], queue.queued)
        oldest.add_metric([name], queue.oldest_queued_s(now))
    yield from (queued, oldest)


def _flow_families(names: dict[int, str]) -> Iterator[Metric]:
    totals = read_totals()
    yield CounterMetricFamily(
        "penstock_events_accepted", "Events stored.", value=float(totals.accepted)
    )
    per_installation = {
        name: totals.by_installation.get(pk, MetricCounts()) for pk, name in names.items()
    }
    for metric, field, text in (
        ("penstock_events_offered", "accepted", "Events offered to the installation."),
        ("penstock_events_unwanted", "unwanted", "Of these, events that no trigger matched."),
        ("penstock_attempts", "attempts", "Requests to the vendor."),
        ("penstock_attempts_refused", "refused", "Of these, requests that were not accepted."),
    ):
        family = CounterMetricFamily(metric, text, labels=["installation"])
        for name, counts in per_installation.items():
            family.add_metric([name], getattr(counts, field))
        yield family
    deliveries = CounterMetricFamily(
        "penstock_deliveries",
        "Deliveries that reached the state; one that failed may be delivered later.",
        labels=["installation", "state"],
    )
    for name, counts in per_installation.items():
        for state in SETTLED_STATES:
            deliveries.add_metric([name, state], getattr(counts, state))
    yield deliveries


def _process_families(now: datetime) -> Iterator[Metric]:
    counts = system.get_lane_counts(now)
    lanes = GaugeMetricFamily(
        "penstock_lanes", "Lanes by state; a lane can be in several.", labels=["state"]
    )
    for state in ("at_work", "waiting", "paused"):
        lanes.add_metric([state], getattr(counts, state))
    yield lanes
    beats = system.read_heartbeats()
    alive = sum(each.is_alive for each in system.list_clusters(beats, now))
    yield GaugeMetricFamily("penstock_clusters", "Clusters that are running.", value=alive)
    if swept_at := beats.get("sweep"):
        yield GaugeMetricFamily(
            "penstock_last_sweep_timestamp_seconds",
            "Time of the last sweep.",
            value=swept_at.timestamp(),
        )
