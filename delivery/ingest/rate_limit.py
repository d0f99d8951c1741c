"""Enforces each source's rate limit."""

import math

from delivery.ingest.errors import RateLimitExceeded
from integrations.rate_limits import token_bucket

BURST_SECONDS = 2.0  # how many seconds of its rate a source may send at once


def check_rate(source, messages):
    """Take `messages` tokens from the source's bucket. Raises RateLimitExceeded if too few.

    A rejected request takes no tokens.
    """
    rate = source.messages_per_second
    if not rate:
        return
    taken = token_bucket.take_tokens(
        str(source.pk), messages, rate=float(rate), size=rate * BURST_SECONDS
    )
    if taken.wait > 0:
        raise RateLimitExceeded(
            f"This source may send {rate:,} messages a second, and at most "
            f"{rate * BURST_SECONDS:,.0f} at once.",
            retry_after=math.ceil(taken.wait),
        )
