"""Collects the outcome of a batch until it is settled."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from django.utils import timezone

from delivery.lanes import routes
from delivery.models import Delivery, Lane, give_up_days
from delivery.outbound import retry
from delivery.worker.backlog import QueuedDelivery
from delivery.worker.results import (
    MAX_ERROR_CHARS,
    AttemptRecord,
    DeliveryResult,
    LaneState,
)
from integrations.encryption import mask_secrets
from integrations.errors import (
    CredentialsRejected,
    DestinationError,
    VendorFailed,
    VendorUnavailable,
)
from integrations.formats.storable_text import storable_text
from integrations.models import Installation

State = Delivery.State


class BatchOutcome:
    """The results of a batch that are not settled yet.

    secrets     texts to mask in everything that is stored
    notes       by delivery; set before the delivery's result is decided
    closed      how many deliveries have left the queue
    lane_state  the new state of the lane; None if unchanged
    settled_at  monotonic time of the last settle
    """

    def __init__(self, lane: Lane, batch: Sequence[QueuedDelivery]):
        self.lane = lane
        self.installation: Installation = lane.installation
        self.taken_at = timezone.now()
        self.batch = {each.id: each for each in batch}
        self.secrets: tuple[str, ...] = ()
        self.notes: dict[int, list[str]] = {}
        self.closed = 0
        self.attempts: list[AttemptRecord] = []
        self.results: list[DeliveryResult] = []
        self.facts: list[tuple[str, str]] = []
        self.used: Counter[str] = Counter()  # items counted against allowances, by bucket
        self.lane_state: LaneState | None = None
        self.settled_at = time.monotonic()
        self._open = dict(self.batch)
        self._answers_left: Counter[int] = Counter()  # delivery id -> items without an answer
        self._rejected: dict[int, DestinationError] = {}

    def is_open(self, delivery_id: int) -> bool:
        """Return whether the delivery is still in the queue."""
        return delivery_id in self._open

    def open_ids(self) -> list[int]:
        return list(self._open)

    def failures_of(self, delivery_id: int) -> int:
        """Return how often an open delivery was set aside."""
        return self._open[delivery_id].failures

    def set_aside_before(self) -> dict[int, bool]:
        return {delivery_id: queued.failures > 0 for delivery_id, queued in self._open.items()}

    def expect(self, delivery_id: int, *, answers: int, notes: list[str]) -> None:
        """Expect an answer for each item of a delivery; the last one closes the delivery."""
        self._answers_left[delivery_id] = answers
        self.notes[delivery_id] = notes

    def record_attempt(self, attempt: AttemptRecord) -> None:
        self.attempts.append(attempt)

    def record_fact(self, fact: tuple[str, str]) -> None:
        """Remember a fact that the vendor has accepted, so that it is not sent again."""
        self.facts.append(fact)

    def record_use(self, bucket: str) -> int:
        """Count an item against an allowance; return how many this batch has counted there."""
        self.used[bucket] += 1
        return self.used[bucket]

    def record_answer(self, delivery_id: int, error: DestinationError | None) -> None:
        """Record the result of one item; the error is None when the item was accepted."""
        if error:
            self._rejected[delivery_id] = error
        self._answers_left[delivery_id] -= 1
        if self._answers_left[delivery_id] == 0:
            rejected = self._rejected.get(delivery_id)
            self.close(delivery_id, State.FAILED if rejected else State.DELIVERED, rejected)

    def close(
        self, delivery_id: int, state: str, error: DestinationError | None = None, reason: str = ""
    ) -> None:
        """Take a delivery out of the queue, with its final state."""
        del self._open[delivery_id]
        self.closed += 1
        self._decide(delivery_id, state, error, reason)

    def set_aside(self, delivery_id: int, error: VendorFailed) -> None:
        """Give a delivery that the vendor fails on its own retry time; the lane continues."""
        now = timezone.now()
        if self._gave_up(delivery_id, error, now):
            return
        failures = self._open.pop(delivery_id).failures + 1
        wait = timedelta(seconds=retry.retry_wait(failures, dice=random.random))
        reason = f"Set aside, because the vendor fails on this message alone: {error}"
        self._decide(delivery_id, State.QUEUED, error, reason, due_at=now + wait, failures=failures)

    def defer(self, delivery_id: int, reason: str, due_at: datetime) -> None:
        """Defer a delivery whose user is over a per-user limit; other deliveries continue."""
        failures = self._open.pop(delivery_id).failures
        self._decide(
            delivery_id, State.QUEUED, None, f"Deferred: {reason}", due_at=due_at, failures=failures
        )

    def hold_back(self, seconds: float, reason: str) -> None:
        """Make the lane wait for a published rate limit. This is not a failure."""
        due_at = timezone.now() + timedelta(seconds=seconds)
        self.lane_state = LaneState(due_at=due_at, last_error=reason)

    def wait(self, error: VendorUnavailable) -> None:
        """Make the lane wait for an unavailable vendor; give up deliveries that are too old."""
        now = timezone.now()
        failures = (self.lane_state.failures if self.lane_state else self.lane.failures) + 1
        seconds = retry.retry_wait(failures, retry_after=error.retry_after, dice=random.random)
        self.lane_state = LaneState(
            failures=failures,
            due_at=now + timedelta(seconds=seconds),
            last_error=self._storable(str(error)),
        )
        for delivery_id in list(self._open):
            self._gave_up(delivery_id, error, now)
        self.record_fruitless(error)

    def pause(self, reason: str, error: CredentialsRejected | None = None) -> None:
        """Pause the lane until someone changes the installation.

        error  given when the vendor rejected the credentials
        """
        self.lane_state = LaneState(paused=True, last_error=self._storable(reason))
        self.record_fruitless(error)

    def mark_lane_up(self) -> None:
        """Reset the failures of the lane after a request succeeded."""
        if self.lane.failures or self.lane_state:
            self.lane_state = LaneState()

    def record_fruitless(self, error: DestinationError | None) -> None:
        """Record the deliveries that were attempted and stay queued."""
        decided = {each.delivery_id for each in self.results}
        for delivery_id in self._carried() - decided:
            failures = self._open[delivery_id].failures
            self._decide(delivery_id, State.QUEUED, error, failures=failures)

    def clear(self) -> None:
        """Forget the settled results; open deliveries stay open."""
        self.attempts, self.results, self.facts = [], [], []
        self.used.clear()
        self.settled_at = time.monotonic()

    def _carried(self) -> set[int]:
        return {pk for each in self.attempts for pk, *_ in each.carried if pk in self._open}

    def _gave_up(self, delivery_id: int, error: DestinationError, now: datetime) -> bool:
        days = give_up_days(self.installation)
        if self._open[delivery_id].queued_at >= now - timedelta(days=days):
            return False
        self.close(delivery_id, State.FAILED, error, f"Gave up after {days:g} days: {error}")
        return True

    def _decide(
        self,
        delivery_id: int,
        state: str,
        error: DestinationError | None,
        reason: str = "",
        *,
        due_at: datetime | None = None,
        failures: int = 0,
    ) -> None:
        queued, notes = self.batch[delivery_id], self.notes.get(delivery_id)
        self.results.append(
            DeliveryResult(
                delivery_id=delivery_id,
                source_id=queued.source_id,
                queued_at=queued.queued_at,
                state=state,
                due_at=due_at,
                failures=failures,
                error=type(error).__name__ if error else "",
                reason=self._storable(reason or str(error or "")),
                notes=msgspec.json.encode(notes).decode() if notes else "",
                revision_id=self._revision_of(delivery_id),
            )
        )

    def _revision_of(self, delivery_id: int) -> int | None:
        """Return the revision that shapes a delivery: the current one, or its own last one."""
        if self.lane.number == routes.ORIGINAL_REVISION_LANE_NUMBER:
            return self.batch[delivery_id].revision_id
        return self.installation.revision_id

    def _storable(self, text: str) -> str:
        return storable_text(mask_secrets(text, self.secrets), MAX_ERROR_CHARS)
