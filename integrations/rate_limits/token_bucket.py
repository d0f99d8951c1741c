"""Token buckets, which limit how much may be used in a period.

Processes share the buckets in Redis. Without Redis, and while it is unavailable, each process has
its own buckets, so that the full limit applies to each process.
"""

import threading
import time
from dataclasses import dataclass

from django.conf import settings

MAX_LOCAL_BUCKETS = (
    10_000  # buckets of a process; above this number, those that are full again are dropped
)


@dataclass(frozen=True, slots=True)
class TakeResult:
    """The result of taking from a bucket.

    wait  seconds until the bucket holds enough, or 0 if the tokens were taken
    left  how many tokens the bucket holds now; below 0 is a debt
    """

    wait: float
    left: float


def take_tokens(key: str, cost: float, *, rate: float, size: float) -> TakeResult:
    """Take `cost` tokens from the bucket of a key, which gains `rate` per second up to `size`.

    If the bucket holds too few tokens, none are taken.
    """
    if settings.BROKER_URL:
        from integrations.rate_limits import redis_buckets

        taken = redis_buckets.shared_buckets.take(key, cost, rate, size)
        if taken is not None:
            return TakeResult(*taken)
    return _local.take(key, cost, rate, size)


class LocalBuckets:
    """The buckets of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.buckets: dict[str, tuple[float, float, float]] = {}  # key: (tokens, when, full at)

    def take(self, key: str, cost: float, rate: float, size: float) -> TakeResult:
        now = time.monotonic()
        with self.lock:
            tokens, at, _ = self.buckets.get(key, (size, now, now))
            tokens = min(size, tokens + (now - at) * rate)
            needed = min(cost, size)
            if tokens < needed:
                return TakeResult((needed - tokens) / rate, tokens)
            left = tokens - cost
            self.buckets[key] = (left, now, now + (size - left) / rate)
            if len(self.buckets) > MAX_LOCAL_BUCKETS:
                self.buckets = {k: each for k, each in self.buckets.items() if each[2] > now}
        return TakeResult(0.0, left)


_local = LocalBuckets()


def clear_local_buckets() -> None:
    """Drop all buckets of this process, so that they start full."""
    _local.buckets.clear()
