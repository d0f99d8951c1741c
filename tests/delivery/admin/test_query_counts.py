"""The queries of every page of the admin, with 200,000 deliveries."""

import json
import subprocess
import sys

import pytest

from benchmarks import pages

pytestmark = pytest.mark.end_to_end

# These searches scan 10,000 deliveries at a time and join them with events. PostgreSQL is right to
# read all of 100,000 events for that; it does not read all of the 5,000,000 events that
# benchmarks/pages.py is meant for.
JOINED = ("event:", "type:", "source:", "status:", "attempts:", "-state:", "-installation:")


@pytest.fixture(scope="module")
def costs(long_log):
    """The cost of each page in a log of 200,000 deliveries."""
    command = [sys.executable, pages.__file__, long_log, "--turns", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_no_page_takes_many_queries(costs):
    assert {c["page"]: c["queries"] for c in costs if c["queries"] > pages.MOST_QUERIES} == {}


def test_no_page_counts_or_skips_rows_and_no_list_reads_a_body(costs):
    assert {c["page"]: c["wrong"] for c in costs if c["wrong"]} == {}


def test_no_page_reads_a_table_from_end_to_end(costs):
    whole = {c["page"]: c["whole"] for c in costs if c["whole"]}
    assert {p: tables for p, tables in whole.items() if not any(j in p for j in JOINED)} == {}
    assert all(tables == ["delivery_event"] for tables in whole.values())
