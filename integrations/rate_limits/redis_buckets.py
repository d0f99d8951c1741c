"""Buckets that all processes share, in Redis. Imported only where there is one: its library takes
24 MB of memory."""

import logging
import time
from functools import cache
from typing import Any

import redis
from django.conf import settings

logger = logging.getLogger(__name__)

REDIS_TIMEOUT = 0.25  # seconds for an answer of Redis
REDIS_RETRY_DELAY = 5.0  # seconds to do without Redis after it failed
BUCKET_KEY = "penstock:rate:{}"

# Returns seconds to wait and what is left, as texts: Redis cuts numbers to integers. What costs
# more than the bucket holds needs a full one, and leaves a debt behind.
TAKE_SCRIPT = """
local rate, size, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local was = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = math.min(size, (was[1] or size) + (now - (was[2] or now)) * rate)
local needed = math.min(cost, size)
if tokens < needed then return {tostring((needed - tokens) / rate), tostring(tokens)} end
redis.call('HSET', KEYS[1], 'tokens', tokens - cost, 'at', now)
redis.call('EXPIRE', KEYS[1], math.ceil((size + cost) / rate) + 1)
return {'0', tostring(tokens - cost)}
"""


class SharedBuckets:
    """The buckets, while Redis answers."""

    def __init__(self) -> None:
        self.usable_from = 0.0  # monotonic

    def take(self, key: str, cost: float, rate: float, size: float) -> tuple[float, float] | None:
        """Return seconds to wait, 0 when it was taken, and what is left; None without Redis."""
        if time.monotonic() < self.usable_from:
            return None
        try:
            wait, left = _take_script(settings.BROKER_URL)(
                [BUCKET_KEY.format(key)], [rate, size, cost]
            )
        except redis.RedisError:
            self.usable_from = time.monotonic() + REDIS_RETRY_DELAY
            logger.exception("Rates are limited per process until Redis answers again.")
            return None
        return float(wait), float(left)


@cache
def _take_script(url: str) -> Any:
    client = redis.from_url(url, socket_timeout=REDIS_TIMEOUT, socket_connect_timeout=REDIS_TIMEOUT)
    return client.register_script(TAKE_SCRIPT)


shared_buckets = SharedBuckets()
