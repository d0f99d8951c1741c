"""How long things took, as counts in buckets whose sizes grow by a fifth each.

A bucket tells a time to within ERROR of it, whatever the time: from a millisecond to a year in 140
buckets, of which a minute of an installation fills a few. Counts of buckets add up, percentiles
don't: that is why these are kept. Pure.
"""

import math
from collections.abc import Mapping

GROWTH = 1.2
ERROR = math.sqrt(GROWTH) - 1  # 9.5 %: the middle of a bucket against its ends
_LOG = math.log(GROWTH)

PERCENTILES = (50, 95, 99)


def bucket(seconds: float) -> int:
    """Return the number of the bucket that a time falls into; 0 is all below a millisecond."""
    ms = seconds * 1_000
    return 0 if ms < 1 else 1 + int(math.log(ms) / _LOG)


def middle(number: int) -> float:
    """Return the time in ms that a bucket stands for: its geometric middle."""
    return 1.0 if number == 0 else GROWTH ** (number - 0.5)


def percentile(counts: Mapping[int, int], percent: float) -> float | None:
    """Return the time in ms that so many percent do not exceed, to within ERROR.

    None when nothing was counted.
    """
    left = math.ceil(sum(counts.values()) * percent / 100)
    for number in sorted(counts):
        left -= counts[number]
        if left <= 0:
            return middle(number)
    return None
