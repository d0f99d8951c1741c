"""What each process measures: the time of requests and stores, batches and responses.

What must be exact is counted in the database instead (`delivery/accounting/`).
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
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

WRITE_SECONDS = 1.0  # seconds


class WriteBehind:
    """Observations that a thread writes once a second.

    Writing to the shared files is cheaper in a row, and a request does not wait for it. A process
    that is killed loses those of its last second; no count that must be exact is among them.
    """

    def __init__(self) -> None:
        self.waiting: deque[tuple[Histogram, float]] = deque()
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def observe(self, histogram: Histogram, value: float) -> None:
        self.waiting.append((histogram, value))
        if self.thread is None or not self.thread.is_alive():  # a forked child has none
            self._start()

    def write(self) -> None:
        """Write what was observed until now."""
        with suppress(IndexError):
            while True:
                histogram, value = self.waiting.popleft()
                histogram.observe(value)

    def _start(self) -> None:
        with self.lock:
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self._run, name="metrics", daemon=True)
                self.thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(WRITE_SECONDS)
            self.write()


write_behind = WriteBehind()


_request_children: dict[tuple[str, int], Histogram] = {}  # labels() costs as much as observe()


def observe_request(path: str, status: int, seconds: float) -> None:
    key = _endpoint(path), status // 100
    child = _request_children.get(key)
    if child is None:
        child = _request_children[key] = REQUEST_SECONDS.labels(key[0], f"{key[1]}xx")
    write_behind.observe(child, seconds)


def observe_store(seconds: float) -> None:
    write_behind.observe(STORE_SECONDS, seconds)


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
