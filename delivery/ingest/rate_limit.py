"""How fast a source may send."""

import math

from delivery.ingest.errors import RateLimitExceeded
from integrations.rate_limits import token_bucket

BURST_SECONDS = 2.0  # seconds


def check_rate(source, messages):
    """Take that many messages from the source's bucket. Raises TooMuch when it does not have them.

    What is refused costs nothing.
    """
    rate = source.messages_per_second
    if not rate:
        return
    taken = token_bucket.take_tokens(
        str(source.pk), messages, rate=float(rate), size=rate * BURST_SECONDS
    )
    if taken.wait > 0:
        raise RateLimitExceeded(
            f"This source may send {rate:,} messages a second, and {BURST_SECONDS:.0f} s of "
            "that at once.",
            retry_after=math.ceil(taken.wait),
        )
