"""What a process measures: labels of bounded number, written without holding up a request."""

import os

import pytest

from delivery.telemetry import instruments
from tests.support.processes import eventually

COUNT = "penstock_http_request_duration_seconds_count"


def requests(endpoint, status):
    found = instruments.registry.get_sample_value(COUNT, {"endpoint": endpoint, "status": status})
    return found or 0


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v1/track", "ingest"),
        ("/cio/v1/projects/x/settings", "ingest"),
        ("/v1/admin/sources", "api"),
        ("/admin/", "admin"),
        ("/readyz", "monitoring"),
        ("/wp-login.php", "other"),
    ],
)
def test_a_request_is_written_within_seconds_under_its_endpoint(path, endpoint):
    before = requests(endpoint, "4xx")
    instruments.observe_request(path, 404, 0.1)
    eventually(lambda: requests(endpoint, "4xx") == before + 1, 5.0)


def test_a_forked_child_writes_what_it_observes():
    instruments.observe_request("/v1/track", 200, 0.1)  # this process has its thread
    child = os.fork()
    if child == 0:
        before = requests("ingest", "5xx")
        instruments.observe_request("/v1/track", 500, 0.1)
        eventually(lambda: requests("ingest", "5xx") == before + 1, 5.0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("status", "label"), [(200, "200"), (599, "other"), (-7, "other"), (None, "none")]
)
def test_a_vendor_cannot_add_labels_without_end(status, label):
    def count():
        name = "penstock_attempt_responses_total"
        return instruments.registry.get_sample_value(name, {"status": label}) or 0

    before = count()
    instruments.count_responses([status])
    assert count() == before + 1
