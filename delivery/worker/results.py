"""What a batch leads to, as the settle step writes it: attempts, delivery results, a lane state."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True, kw_only=True)
class AttemptRecord:
    """One HTTP exchange with a vendor. Its texts have their secrets masked already.

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
    """The new state of one delivery; still queued after an attempt that the vendor did not answer.

    due_at, failures   of a delivery that is set aside: when to try again, how often it has failed
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
    """How the lane continues.

    due_at     when to try again, while the vendor is unavailable
    paused     until a person has changed the installation
    """

    failures: int = 0
    due_at: datetime | None = None
    paused: bool = False
    last_error: str = ""
