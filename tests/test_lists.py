"""With 200,000 deliveries, no list of the API reads a table from end to end."""

import subprocess
import sys

import pytest

from benchmarks import lists

pytestmark = pytest.mark.end_to_end

# They look through 10,000 deliveries at a time. To join those with 100,000 events PostgreSQL
# rightly reads all of these; of the 5,000,000 that benchmarks/lists.py has, it does not.
JOINED = "deliveries?event="


def test_no_list_and_no_filter_reads_a_table_whole(postgres_url):
    rows = [sys.executable, str(lists.ROOT / "benchmarks" / "rows.py"), postgres_url]
    subprocess.run([*rows, "--rows", "200000"], check=True, capture_output=True)
    server = lists.serve(postgres_url)
    try:
        whole = {each: lists.ask(server, each)["whole"] for each in lists.LISTS}
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()
    wrong = {each: tables for each, tables in whole.items() if tables}
    assert [each for each in wrong if not each.startswith(JOINED)] == []
    assert all(wrong[each] == ["delivery_event"] for each in wrong)
