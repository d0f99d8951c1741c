"""Token buckets in Redis, shared by all processes.

Imported only if Redis is configured, because its library takes 24 MB of memory.
"""

import logging
import time
from functools import cache
from typing import Any

import redis
from django.conf import settings

logger = logging.getLogger(__name__)

REDIS_TIMEOUT = 0.25  # seconds to wait for a response of Redis
REDIS_RETRY_DELAY = 5.0  # seconds without Redis after an error
BUCKET_KEY = "penstock:rate:{}"

# Returns the seconds to wait and the tokens left, as texts, because Redis truncates numbers to
# integers. A cost above the bucket's size needs a full bucket and leaves a debt.
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
    """The shared buckets, used while Redis responds."""

    def __init__(self) -> None:
        self.usable_from = 0.0  # monotonic

    def take(self, key: str, cost: float, rate: float, size: float) -> tuple[float, float] | None:
        """Return (seconds to wait, tokens left), or None while Redis is unavailable.

        The wait is 0 if the tokens were taken.
        """
        if time.monotonic() < self.usable_from:
            return None
        try:
            wait, left = _take_script(settings.BROKER_URL)(
                [BUCKET_KEY.format(key)], [rate, size, cost]
            )
        except redis.RedisError:
            self.usable_from = time.monotonic() + REDIS_RETRY_DELAY
            logger.exception(
                "Redis is unavailable. Rates are limited per process until it responds again."
            )
            return None
        return float(wait), float(left)


@cache
def _take_script(url: str) -> Any:
    client = redis.from_url(url, socket_timeout=REDIS_TIMEOUT, socket_connect_timeout=REDIS_TIMEOUT)
    return client.register_script(TAKE_SCRIPT)


shared_buckets = SharedBuckets()
