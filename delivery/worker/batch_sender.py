"""Sends the planned requests of a batch and records each response in the outcome."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from django.utils import timezone

from delivery.transform.guard import guarded_destination
from delivery.transform.packing import PlannedRequest, with_idempotency_key
from delivery.worker import rate_limits
from delivery.worker.attempt import make_attempt, shared_session
from delivery.worker.bisect import bisect
from delivery.worker.outcome import BatchOutcome
from delivery.worker.settle import PROBE_AFTER_FAILURES
from delivery.worker.shape_batch import BatchContext, ShapedBatch
from delivery.worker.suspects import Suspects
from integrations.destination import Item, Limit
from integrations.errors import DestinationError, MessageRejected, TooLarge, VendorFailed

SETTLE_AFTER = 2.0  # seconds of sending after which results are settled
SUSPECT_AFTER = 2  # consecutive failures of the lane after which one message may be at fault

Items = Sequence[tuple[int, Item]]  # each with the id of its delivery


class LimitReached(Exception):
    """A rate limit of the whole account is used up for `seconds`."""

    def __init__(self, limit: Limit, seconds: float):
        super().__init__(limit.name)
        self.limit = limit
        self.seconds = seconds


class BatchSender:
    """Sends planned requests one after another.

    settle  writes what the outcome has collected; called between requests when sending takes long
    """

    def __init__(
        self,
        context: BatchContext,
        shaped: ShapedBatch,
        limits: Sequence[Limit],
        outcome: BatchOutcome,
        settle: Callable[[], None],
    ):
        self.context = context
        self.destination = context.destination
        self.people = shaped.people
        self.limits = limits
        self.outcome = outcome
        self.settle = settle
        self.suspects = Suspects()

    def send(self, planned: PlannedRequest) -> None:
        """Make a request, and halve it while it is rejected.

        Raises VendorUnavailable, CredentialsRejected, LimitReached, DestinationCodeError and
        LeaseLost.
        """
        for items, error in bisect(planned.items, partial(self._attempt, planned.endpoint)):
            if error is None:
                self._record_accepted(items)
            else:
                self._record_rejected(items[0], error)

    def conclude(self) -> None:
        """Decide on the remaining suspects. Raises VendorFailed when the vendor is at fault."""
        for delivery_id, error in self.suspects.conclude().items():
            self.outcome.set_aside(delivery_id, error)

    def _attempt(self, endpoint: str, items: Items) -> tuple[Items, DestinationError | None]:
        """Make one request; return the items it carried, and the error if they were rejected."""
        if time.monotonic() - self.outcome.settled_at > SETTLE_AFTER:
            self.settle()
        items = self._within_limits(endpoint, items)
        if not items:
            return items, None
        with guarded_destination(self.destination):
            request = self.destination.request(
                endpoint, [item for _, item in items], self.context.config
            )
        attempt, error = make_attempt(
            with_idempotency_key(request, self.destination.endpoints[endpoint], items),
            self.destination,
            shared_session(),
            secrets=self.context.secrets,
            carried=[delivery_id for delivery_id, _ in items],
            items=len(items),
            taken_at=self.outcome.taken_at,
        )
        self.outcome.record_attempt(attempt)
        if isinstance(error, VendorFailed) and self._may_be_a_message(items):
            return items, error
        if error is None or isinstance(error, MessageRejected):
            return items, error
        raise error

    def _may_be_a_message(self, items: Items) -> bool:
        """Return whether a 500 may be the fault of one message rather than the vendor's."""
        was_set_aside = len(items) == 1 and self.outcome.failures_of(items[0][0]) > 0
        return was_set_aside or SUSPECT_AFTER <= self.context.lane.failures < PROBE_AFTER_FAILURES

    def _record_accepted(self, items: Items) -> None:
        self.outcome.mark_lane_up()
        for delivery_id, error in self.suspects.convict().items():
            self.outcome.set_aside(delivery_id, error)
        for delivery_id, item in items:
            if item.once:
                self.outcome.record_fact(item.once)
                self._record_use(delivery_id, item)
            self.outcome.record_answer(delivery_id, None)

    def _record_rejected(self, rejected: tuple[int, Item], error: Exception) -> None:
        delivery_id, item = rejected
        if isinstance(error, VendorFailed):
            if self.outcome.failures_of(delivery_id):
                self.outcome.set_aside(delivery_id, error)
            else:
                self.suspects.add(delivery_id, error)
        elif isinstance(error, DestinationError):
            self.outcome.record_answer(delivery_id, _with_size(error, item))

    def _within_limits(self, endpoint: str, items: Items) -> Items:
        """Return the items that may be sent now.

        Raises LimitReached when the limit of the whole account is used up. A person's own limit
        defers only that person's deliveries.
        """
        items = [each for each in items if self.outcome.is_open(each[0])]
        for limit in self.limits:
            if limit.endpoint == endpoint and items:
                items = self._within(limit, items)
        return items

    def _within(self, limit: Limit, items: Items) -> Items:
        people = [self.people[pk] if limit.per_person else "" for pk, _ in items]
        waits = rate_limits.take_tokens(limit, Counter(people), timezone.now())
        if not waits:
            return items
        if not limit.per_person:
            raise LimitReached(limit, waits[""])
        reason = f"{self.destination.name} accepts at most {limit.name}."
        for delivery_id in self.outcome.open_ids():
            person = self.people.get(delivery_id)
            if person in waits:
                due_at = timezone.now() + timedelta(seconds=waits[person])
                self.outcome.defer(delivery_id, reason, due_at)
        return [each for each in items if self.outcome.is_open(each[0])]

    def _record_use(self, delivery_id: int, item: Item) -> None:
        """Count an accepted item against the vendor's monthly allowances, which the vendor enforces
        without an error."""
        with guarded_destination(self.destination):
            allowances = self.destination.allowances(self.context.config)
        for allowance in allowances:
            if allowance.endpoint != item.endpoint:
                continue
            key = rate_limits.month_bucket(allowance, self.people[delivery_id], timezone.now())
            if rate_limits.items_counted(key) + self.outcome.record_use(key) > allowance.items:
                note = (
                    f"Sent to {item.endpoint}, but {self.destination.name} ignores it, because its "
                    f"allowance of {allowance.name} is used up."
                )
                self.outcome.notes[delivery_id].append(note)


def _with_size(error: DestinationError, item: Item) -> DestinationError:
    """Add the size of the item to an error that says it is too large."""
    if isinstance(error, TooLarge):
        return TooLarge(f"{error} (alone it has {len(item.body):,} bytes)")
    return error
