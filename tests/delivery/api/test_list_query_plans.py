"""Query plans of the API's lists: with 200,000 deliveries, no list reads a whole table."""

import pytest

from benchmarks import lists

pytestmark = pytest.mark.end_to_end


def test_no_list_and_no_filter_reads_a_table_whole(long_log):
    server = lists.serve(long_log)
    try:
        whole = {each: lists.ask(server, each)["whole"] for each in lists.LISTS}
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()
    assert {each: tables for each, tables in whole.items() if tables} == {}
