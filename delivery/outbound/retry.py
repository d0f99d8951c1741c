"""The retry schedule. Pure: the random source is passed in."""

from collections.abc import Callable

RETRY_SCHEDULE = (1, 5, 30, 120, 600, 1_800, 3_600)  # seconds; the last one repeats
RETRY_JITTER = 0.2  # fraction of the wait, in either direction
MAX_RETRY_AFTER = 3_600  # seconds; the longest wait a vendor can ask for


def retry_wait(
    failures: int, *, retry_after: float | None = None, dice: Callable[[], float]
) -> float:
    """Return the seconds to wait after a number of consecutive failures.

    failures     1 or more
    retry_after  seconds the vendor asked for (RFC 9110 §10.2.3); it can lengthen the wait, up to
                 MAX_RETRY_AFTER, and never shortens it; jitter never makes a retry earlier than it
    dice         returns a number in [0, 1), such as random.random

    Raises ValueError when failures is below 1.
    """
    if failures < 1:
        raise ValueError(f"failures must be 1 or more, not {failures}")
    planned = RETRY_SCHEDULE[min(failures, len(RETRY_SCHEDULE)) - 1]
    jittered = planned * (1 + RETRY_JITTER * (2 * dice() - 1))
    asked = min(max(retry_after or 0.0, 0.0), MAX_RETRY_AFTER)
    return max(jittered, asked)
