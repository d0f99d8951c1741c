"""The published retry schedule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.outbound.retry import MAX_RETRY_AFTER, RETRY_JITTER, RETRY_SCHEDULE, retry_wait

failures = st.integers(1, 200)
dice = st.floats(0, 1, exclude_max=True)


def test_the_schedule_is_the_published_one():
    waits = [retry_wait(n, dice=lambda: 0.5) for n in range(1, 10)]
    assert waits == [1, 5, 30, 120, 600, 1_800, 3_600, 3_600, 3_600]


@given(failures, dice)
def test_jitter_stays_within_a_fifth(failures, number):
    planned = RETRY_SCHEDULE[min(failures, len(RETRY_SCHEDULE)) - 1]
    assert abs(retry_wait(failures, dice=lambda: number) - planned) <= planned * RETRY_JITTER + 1e-9


@given(failures, dice, st.floats(0, MAX_RETRY_AFTER))
def test_we_never_come_earlier_than_asked(failures, number, asked):
    assert retry_wait(failures, retry_after=asked, dice=lambda: number) >= asked


@given(failures, dice, st.floats(-1e9, 1e9))
def test_retry_after_never_shortens_a_wait_and_never_asks_for_more_than_an_hour(
    failures, number, asked
):
    unasked = retry_wait(failures, dice=lambda: number)
    assert unasked <= retry_wait(failures, retry_after=asked, dice=lambda: number)
    assert retry_wait(failures, retry_after=asked, dice=lambda: number) <= max(
        unasked, MAX_RETRY_AFTER
    )


def test_a_wait_before_any_failure_is_a_mistake():
    with pytest.raises(ValueError, match="1 or more"):
        retry_wait(0, dice=lambda: 0.5)
