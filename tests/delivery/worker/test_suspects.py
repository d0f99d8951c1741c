import pytest

from delivery.worker.suspects import Suspects
from integrations.errors import VendorFailed

FIRST, SECOND = VendorFailed("first"), VendorFailed("second")


def test_a_success_shows_that_the_suspect_is_at_fault():
    suspects = Suspects()
    suspects.add(1, FIRST)
    assert suspects.convict() == {1: FIRST}
    assert suspects.convict() == {}


def test_a_second_suspect_in_a_row_shows_that_the_vendor_is_at_fault():
    suspects = Suspects()
    suspects.add(1, FIRST)
    with pytest.raises(VendorFailed, match="second"):
        suspects.add(2, SECOND)


def test_a_suspect_after_a_success_may_be_followed_by_another_after_the_next():
    suspects = Suspects()
    suspects.add(1, FIRST)
    suspects.convict()
    suspects.add(2, SECOND)
    assert suspects.convict() == {2: SECOND}


def test_at_the_end_a_suspect_is_at_fault_only_when_something_succeeded():
    suspects = Suspects()
    suspects.add(1, FIRST)
    with pytest.raises(VendorFailed, match="first"):
        suspects.conclude()
    suspects = Suspects()
    suspects.convict()
    suspects.add(1, FIRST)
    assert suspects.conclude() == {1: FIRST}


def test_without_suspects_there_is_nothing_to_conclude():
    assert Suspects().conclude() == {}
