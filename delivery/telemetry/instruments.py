"""What each process measures: the time of requests and stores, batches and responses.

What must be exact is counted in the database instead (`delivery/accounting/`).
"""

import os
from collections.abc import Iterable
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Histogram, values

from delivery.telemetry.process_numbers import FOLDER_VARIABLE, ProcessNumber

if FOLDER_VARIABLE in os.environ:
    values.ValueClass = values.MultiProcessValue(ProcessNumber().claim)  # type: ignore[no-untyped-call]

registry = CollectorRegistry()  # not the default one, which also reports versions

REQUEST_SECONDS = Histogram(
    "penstock_http_request_duration_seconds",
    "Time to answer a request, without reading its body.",
    ["endpoint", "status"],
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=registry,
)
STORE_SECONDS = Histogram(
    "penstock_store_duration_seconds",
    "Time to store the messages of one or several requests, in one transaction.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=registry,
)
BATCH_DELIVERIES = Histogram(
    "penstock_batch_deliveries",
    "Deliveries that a worker took from a lane at once.",
    buckets=(1, 10, 25, 50, 100, 250, 500, 1_000, 2_500),
    registry=registry,
)
RESPONSES = Counter(
    "penstock_attempt_responses",
    "Attempts by the status of the vendor's response; none: no response.",
    ["status"],
    registry=registry,
)

# The first prefix that fits names the endpoint.
ENDPOINT_PREFIXES = (
    (("/v1/admin/", "/v1/docs", "/v1/schema", "/v1/blueprint"), "api"),
    (("/v1/", "/api/s/", "/beacon/", "/cio/", "/sourceConfig"), "ingest"),
    (("/admin/", "/static/"), "admin"),
    (("/healthz", "/readyz", "/metrics"), "monitoring"),
)

_request_children: dict[tuple[str, int], Histogram] = {}  # labels() costs as much as observe()


def observe_request(path: str, status: int, seconds: float) -> None:
    key = _endpoint(path), status // 100
    child = _request_children.get(key)
    if child is None:
        child = REQUEST_SECONDS.labels(key[0], f"{key[1]}xx")
        _request_children[key] = child
    child.observe(seconds)


def _endpoint(path: str) -> str:
    for prefixes, endpoint in ENDPOINT_PREFIXES:
        if path.startswith(prefixes):
            return endpoint
    return "other"


def count_responses(statuses: Iterable[int | None]) -> None:
    """Count attempts by the status of their response, None when there was none."""
    for status in statuses:
        RESPONSES.labels(_status_label(status)).inc()


def _status_label(status: int | None) -> str:
    """Return the label of a status: a vendor may send any number, so only known ones are named."""
    if status is None:
        return "none"
    return str(status) if status in KNOWN_STATUSES else "other"


KNOWN_STATUSES = frozenset(int(each) for each in HTTPStatus)
