"""Counts, durations and times as text."""

from datetime import UTC, datetime

import pytest

from integrations.humanize import format_count, format_duration, format_relative, timed_text

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_a_count_agrees_with_its_noun():
    counts = [format_count(n, "delivery", "deliveries") for n in (0, 1, 1_234)]
    assert counts == ["0 deliveries", "1 delivery", "1,234 deliveries"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (-0.2, "0 ms"),
        (0.08, "80 ms"),
        (1.2, "1.2 s"),
        (29.9, "30 s"),
        (90, "2 min"),
        (300, "5 min"),
        (3 * 3_600, "3 h"),
        (4 * 86_400, "4 days"),
    ],
)
def test_a_duration_has_the_unit_that_reads_best(seconds, text):
    assert format_duration(seconds) == text


def test_a_relative_time_ends_after_a_week():
    assert [format_relative(s) for s in (12, -300, 8 * 86_400)] == ["12 s ago", "in 5 min", ""]


def test_a_text_knows_its_own_times_and_those_of_the_texts_in_it():
    inner = timed_text("until {end}", NOON, end=NOON.replace(hour=13))
    outer = timed_text("since {start}, {inner}", NOON, start=NOON.replace(day=20), inner=inner)
    assert outer == "since 2026-11-20 12:00:00 UTC, until 13:00:00 UTC"
    assert list(outer.moments.values()) == [NOON.replace(day=20), NOON.replace(hour=13)]


def test_braces_in_a_value_are_kept():
    assert timed_text("{error} at {at}", NOON, error="{0}", at=NOON) == "{0} at 12:00:00 UTC"
