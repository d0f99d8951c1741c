"""How much a source may send: a bucket that fills at its rate and holds BURST seconds of it.

Web processes share the buckets where there is Redis; without, and while it is away, each has its
own, and a source may send that much to each of them.
"""

import logging
import math
import threading
import time
from functools import cache

import redis
from django.conf import settings

from delivery.ingest.errors import TooMuch

logger = logging.getLogger(__name__)

BURST = 2.0  # seconds
PATIENCE = 0.25  # seconds for an answer of Redis
REST = 5.0  # seconds to do without Redis after it failed
KEY = "penstock:rate:{}"

# Returns the seconds to wait, as text: Redis cuts numbers to integers. A request larger than the
# bucket needs a full one, and leaves a debt behind.
TAKE = """
local rate, size, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local was = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = math.min(size, (was[1] or size) + (now - (was[2] or now)) * rate)
local needed = math.min(cost, size)
if tokens < needed then return tostring((needed - tokens) / rate) end
redis.call('HSET', KEYS[1], 'tokens', tokens - cost, 'at', now)
redis.call('EXPIRE', KEYS[1], math.ceil((size + cost) / rate) + 1)
return '0'
"""


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
    if settings.BROKER_URL and _redis.is_well():
        try:
            return _redis.take(source_id, messages, rate)
        except redis.RedisError:
            _redis.rest()
            logger.exception("Rates are limited per process until Redis answers again.")
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


class RedisBuckets:
    """Buckets that all processes share, while Redis answers."""

    def __init__(self):
        self.well_from = 0.0  # monotonic

    def is_well(self):
        return time.monotonic() >= self.well_from

    def rest(self):
        self.well_from = time.monotonic() + REST

    def take(self, source_id, messages, rate):
        script = _script(settings.BROKER_URL)
        return float(script([KEY.format(source_id)], [rate, rate * BURST, messages]))


@cache
def _script(url):
    client = redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
    return client.register_script(TAKE)


_local, _redis = LocalBuckets(), RedisBuckets()


def forget():
    """Fill all buckets of this process, and ask Redis again."""
    _local.buckets.clear()
    _redis.well_from = 0.0
