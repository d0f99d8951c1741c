"""How much of something may be used in a time: token buckets.

Processes share the buckets where there is Redis; without, and while it is away, each has its own,
and as much may be used in each of them.
"""

import threading
import time
from dataclasses import dataclass

from django.conf import settings

MAX_LOCAL_BUCKETS = (
    10_000  # buckets of a process, after which those that are full again are forgotten
)


@dataclass(frozen=True, slots=True)
class TakeResult:
    """How taking from a bucket went.

    wait  seconds until there is enough, or 0 when it was taken
    left  how much is in the bucket now; below 0 is a debt
    """

    wait: float
    left: float


def take_tokens(key: str, cost: float, *, rate: float, size: float) -> TakeResult:
    """Take from the bucket of that key, which fills by `rate` a second up to `size`.

    What is refused costs nothing.
    """
    if settings.BROKER_URL:
        from integrations.rate_limits import redis_buckets

        taken = redis_buckets.shared_buckets.take(key, cost, rate, size)
        if taken is not None:
            return TakeResult(*taken)
    return _local.take(key, cost, rate, size)


class LocalBuckets:
    """Buckets of this process."""

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
    """Fill all buckets of this process."""
    _local.buckets.clear()
