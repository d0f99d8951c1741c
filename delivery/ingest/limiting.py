"""How much a source may send: a bucket that fills at its rate and holds BURST seconds of it.

Web processes share the buckets where there is Redis; without, and while it is away, each has its
own, and a source may send that much to each of them.
"""

import math
import threading
import time

from django.conf import settings

from delivery.ingest.errors import TooMuch

BURST = 2.0  # seconds


def check_rate(source, messages):
    """Take that many messages from the source's bucket. Raises TooMuch when it does not have them.

    What is refused costs nothing.
    """
    rate = settings.RATE_LIMIT if source.rate_limit is None else source.rate_limit
    if not rate:
        return
    wait = _take(source.pk, messages, float(rate))
    if wait > 0:
        raise TooMuch(
            f"This source may send {rate:,} messages a second, and {BURST:.0f} s of that at once.",
            retry_after=math.ceil(wait),
        )


def _take(source_id, messages, rate):
    """Return seconds to wait, or 0 when the messages were taken from the bucket."""
    if settings.BROKER_URL:
        from delivery.ingest import shared_limits

        wait = shared_limits.buckets.take(source_id, messages, rate, rate * BURST)
        if wait is not None:
            return wait
    return _local.take(source_id, messages, rate)


class LocalBuckets:
    """Buckets of this process."""

    def __init__(self):
        self.lock = threading.Lock()
        self.buckets = {}  # source id: (tokens, when)

    def take(self, source_id, messages, rate):
        size, now = rate * BURST, time.monotonic()
        with self.lock:
            tokens, at = self.buckets.get(source_id, (size, now))
            tokens = min(size, tokens + (now - at) * rate)
            needed = min(messages, size)
            if tokens < needed:
                return (needed - tokens) / rate
            self.buckets[source_id] = (tokens - messages, now)
        return 0.0


_local = LocalBuckets()


def forget():
    """Fill all buckets of this process."""
    _local.buckets.clear()
