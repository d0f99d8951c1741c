from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.worker.bisect import bisect


class Vendor:
    """Rejects each request that carries one of `bad`."""

    def __init__(self, bad=(), limit=None):
        self.bad, self.limit, self.requests = set(bad), limit, []

    def __call__(self, items):
        items = [each for each in items if each != self.limit]
        if items:
            self.requests.append(items)
        return items, ValueError("bad") if self.bad & set(items) else None


def test_accepted_items_need_one_request():
    vendor = Vendor()
    assert list(bisect([1, 2, 3], vendor)) == [([1, 2, 3], None)]
    assert vendor.requests == [[1, 2, 3]]


@given(st.integers(1, 300), st.data())
def test_each_rejected_item_stands_alone_and_the_others_are_accepted_in_order(count, data):
    bad = data.draw(st.sets(st.integers(0, count - 1), max_size=5))
    vendor = Vendor(bad)
    answers = list(bisect(range(count), vendor))
    assert [item for items, _ in answers for item in items] == list(range(count))
    assert {items[0] for items, error in answers if error} == bad
    assert all(len(items) == 1 for items, error in answers if error)
    assert len(vendor.requests) <= 2 * len(bad) * (log2(count) + 1) + 1


def test_an_answer_is_yielded_before_the_next_request_is_sent():
    vendor = Vendor({3})
    answers = bisect([1, 2, 3, 4], vendor)
    assert next(answers) == ([1, 2], None)
    assert vendor.requests == [[1, 2, 3, 4], [1, 2]]


def test_items_that_may_not_be_sent_now_are_left_out():
    vendor = Vendor({1}, limit=2)
    assert [items for items, _ in bisect([1, 2, 3], vendor)] == [[1], [3]]
    assert list(bisect([2], vendor)) == []


def test_what_was_left_out_is_not_in_the_halves():
    vendor = Vendor({3}, limit=1)
    assert [items for items, _ in bisect([1, 2, 3, 4], vendor)] == [[2], [3], [4]]


def test_any_other_error_ends_the_search():
    def unavailable(items):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(bisect([1, 2], unavailable))
