"""A latency histogram whose buckets each grow by a fifth. Pure.

A bucket gives a time to within PERCENTILE_ERROR. 140 buckets range from a millisecond to a year;
one minute of an installation fills a few. Bucket counts are stored, because they can be added up
and percentiles cannot.
"""

import math
from collections.abc import Mapping

BUCKET_GROWTH = 1.2
PERCENTILE_ERROR = math.sqrt(BUCKET_GROWTH) - 1  # 9.5 %: from the middle of a bucket to its ends
_LOG_GROWTH = math.log(BUCKET_GROWTH)

PERCENTILES = (50, 95, 99)


def latency_bucket(seconds: float) -> int:
    """Return the number of the bucket for a time; 0 holds everything below a millisecond."""
    ms = seconds * 1_000
    return 0 if ms < 1 else 1 + int(math.log(ms) / _LOG_GROWTH)


def bucket_middle_ms(number: int) -> float:
    """Return the time in ms that represents a bucket, which is its geometric middle."""
    return 1.0 if number == 0 else BUCKET_GROWTH ** (number - 0.5)


def percentile(counts: Mapping[int, int], percent: float) -> float | None:
    """Return a percentile in ms, to within PERCENTILE_ERROR; None when nothing was counted."""
    left = math.ceil(sum(counts.values()) * percent / 100)
    for number in sorted(counts):
        left -= counts[number]
        if left <= 0:
            return bucket_middle_ms(number)
    return None
