"""How long things took, as counts in buckets whose sizes grow by a fifth each.

A bucket gives a time to within PERCENTILE_ERROR, from a millisecond to a year in 140 buckets, of
which one minute of an installation fills a few. Counts of buckets can be added up and percentiles
cannot, so the counts are stored. Pure.
"""

import math
from collections.abc import Mapping

BUCKET_GROWTH = 1.2
PERCENTILE_ERROR = math.sqrt(BUCKET_GROWTH) - 1  # 9.5 %: the middle of a bucket against its ends
_LOG_GROWTH = math.log(BUCKET_GROWTH)

PERCENTILES = (50, 95, 99)


def latency_bucket(seconds: float) -> int:
    """Return the number of the bucket that a time falls into; 0 is all below a millisecond."""
    ms = seconds * 1_000
    return 0 if ms < 1 else 1 + int(math.log(ms) / _LOG_GROWTH)


def bucket_middle_ms(number: int) -> float:
    """Return the time in ms that a bucket stands for: its geometric middle."""
    return 1.0 if number == 0 else BUCKET_GROWTH ** (number - 0.5)


def percentile(counts: Mapping[int, int], percent: float) -> float | None:
    """Return the time in ms that so many percent do not exceed, to within PERCENTILE_ERROR.

    None when nothing was counted.
    """
    left = math.ceil(sum(counts.values()) * percent / 100)
    for number in sorted(counts):
        left -= counts[number]
        if left <= 0:
            return bucket_middle_ms(number)
    return None
