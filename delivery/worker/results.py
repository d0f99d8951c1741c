"""Results of a batch that the settle step writes: attempts, delivery results, a lane state."""

from dataclasses import dataclass
from datetime import datetime

MAX_ERROR_CHARS = 2_000  # characters of an error's text; every delivery of a batch stores it


@dataclass(slots=True, kw_only=True)
class AttemptRecord:
    """One HTTP exchange with a vendor. Secrets are already masked in its texts.

    items     how many items the request carried
    carried   (delivery id, position of its first item in the request, number of its items);
              empty for a test event
    taken_at  when its deliveries were taken from the queue
    """

    started_at: datetime
    duration_ms: int
    method: str
    url: str
    status: int | None
    outcome: str
    error: str
    request_headers: str
    request_body: str
    response_headers: str
    response_body: str
    items: int
    carried: list[tuple[int, int, int]]
    taken_at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class DeliveryResult:
    """The new state of one delivery; it can still be queued after an attempt.

    due_at    when to try again, if it was set aside or deferred
    failures  how often it has been set aside
    """

    delivery_id: int
    source_id: int
    queued_at: datetime
    state: str
    due_at: datetime | None = None
    failures: int = 0
    error: str = ""
    reason: str = ""
    notes: str = ""
    revision_id: int | None = None


@dataclass(slots=True, kw_only=True)
class LaneState:
    """The new state of the lane.

    due_at  when to try again, while the vendor is unavailable or a rate limit is used up
    paused  whether the lane waits until someone changes the installation
    """

    failures: int = 0
    due_at: datetime | None = None
    paused: bool = False
    last_error: str = ""
