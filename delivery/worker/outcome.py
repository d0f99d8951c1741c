"""What becomes of a batch, from the first answer until it is written down."""

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from django.utils import timezone

from delivery.lanes import routes
from delivery.lanes.leases import Lease
from delivery.models import Delivery, Lane, give_up_days
from delivery.outbound import client, retry
from delivery.worker import settle as worker_settle
from delivery.worker.backlog import Queued
from delivery.worker.settle import Exchange, Settled, Standing
from integrations.destination import Request, Response
from integrations.encryption import masked
from integrations.errors import (
    CredentialsRejected,
    DestinationError,
    VendorFailed,
    VendorUnavailable,
)
from integrations.models import Installation

State = Delivery.State


class Books:
    """What is known of a batch and not written down yet: `settle` does that, behind the fence.

    open      the deliveries that are still in the queue
    done      how many have left it
    notes     by delivery; set before anything is decided about it
    secrets   are masked in all that is written down
    standing  how the lane stands, where that has changed
    """

    def __init__(self, held: Lease, lane: Lane, batch: Sequence[Queued]):
        self.held = held
        self.lane = lane
        self.installation: Installation = lane.installation
        self.batch = {each.id: each for each in batch}
        self.open = dict(self.batch)
        self.done = 0
        self.notes: dict[int, list[str]] = {}
        self.secrets: tuple[str, ...] = ()
        self.exchanges: list[Exchange] = []
        self.settled: list[Settled] = []
        self.told: list[tuple[str, str]] = []
        self.used: Counter[str] = Counter()  # of allowances, by bucket
        self.standing: Standing | None = None
        self.written_at = time.monotonic()

    def revision_of(self, delivery_id: int) -> int | None:
        """Return by which revision a delivery is shaped: the installation's, or its last one."""
        if self.lane.number == routes.AS_BEFORE:
            return self.batch[delivery_id].revision_id
        return self.installation.revision_id

    # --- what became of a delivery, and of the lane ---

    def close(
        self, delivery_id: int, state: str, error: DestinationError | None = None, reason: str = ""
    ) -> None:
        """The delivery leaves the queue."""
        del self.open[delivery_id]
        self.done += 1
        self._decide(delivery_id, state, error, reason)

    def set_aside(self, delivery_id: int, error: VendorFailed) -> None:
        """The vendor fails on this message alone: it waits by itself, and the lane goes on."""
        now = timezone.now()
        if self._gave_up(delivery_id, error, now):
            return
        failures = self.open.pop(delivery_id).failures + 1
        wait = timedelta(seconds=retry.wait(failures, dice=random.random))
        reason = f"Set aside, because the vendor fails on this message alone: {error}"
        self._decide(delivery_id, State.QUEUED, error, reason, due_at=now + wait, failures=failures)

    def defer(self, delivery_id: int, reason: str, due_at: datetime) -> None:
        """One person is over a limit of their own: all that is theirs waits, and nobody else."""
        failures = self.open.pop(delivery_id).failures
        self._decide(
            delivery_id, State.QUEUED, None, f"Deferred: {reason}", due_at=due_at, failures=failures
        )

    def hold_back(self, seconds: float, reason: str) -> None:
        """The vendor takes no more for now, as it published: the lane waits, and nothing failed."""
        due_at = timezone.now() + timedelta(seconds=seconds)
        self.standing = Standing(due_at=due_at, last_error=reason)

    def wait(self, error: VendorUnavailable) -> None:
        """The vendor is unavailable: the lane waits; what is too old by now is given up."""
        now = timezone.now()
        failures = (self.standing.failures if self.standing else self.lane.failures) + 1
        seconds = retry.wait(failures, retry_after=error.retry_after, dice=random.random)
        self.standing = Standing(
            failures=failures,
            due_at=now + timedelta(seconds=seconds),
            last_error=self._masked(str(error)),
        )
        for delivery_id in list(self.open):
            self._gave_up(delivery_id, error, now)
        self._carried_in_vain(error)

    def pause(self, reason: str, error: CredentialsRejected | None = None) -> None:
        """Nothing will ever go like this: the lane stands still until a person has mended it.

        error  when it was the vendor who refused
        """
        self.standing = Standing(paused=True, last_error=self._masked(reason))
        self._carried_in_vain(error)

    def _gave_up(self, delivery_id: int, error: DestinationError, now: datetime) -> bool:
        days = give_up_days(self.installation)
        if self.open[delivery_id].queued_at >= now - timedelta(days=days):
            return False
        self.close(delivery_id, State.FAILED, error, f"Gave up after {days:g} days: {error}")
        return True

    def up_again(self) -> None:
        """A request went through: the lane is well."""
        if self.lane.failures or self.standing:
            self.standing = Standing()

    # --- writing it down ---

    def _carried_in_vain(self, error: DestinationError | None) -> None:
        decided = {each.delivery_id for each in self.settled}
        for delivery_id in self._carried() - decided:
            failures = self.open[delivery_id].failures
            self._decide(delivery_id, State.QUEUED, error, failures=failures)

    def _carried(self) -> set[int]:
        return {pk for each in self.exchanges for pk, *_ in each.carried if pk in self.open}

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
        self.settled.append(
            Settled(
                delivery_id=delivery_id,
                source_id=queued.source_id,
                queued_at=queued.queued_at,
                state=state,
                due_at=due_at,
                failures=failures,
                error=type(error).__name__ if error else "",
                reason=self._masked(reason or str(error or "")),
                notes=msgspec.json.encode(notes).decode() if notes else "",
                revision_id=self.revision_of(delivery_id),
            )
        )

    def settle(self) -> None:
        """Write down all that is known by now, in one transaction. Raises LeaseLost."""
        self._carried_in_vain(None)
        worker_settle.settle(
            self.held,
            exchanges=self.exchanges,
            settled=self.settled,
            told=self.told,
            used=self.used,
            standing=self.standing,
            now=timezone.now(),
        )
        self.exchanges, self.settled, self.told = [], [], []
        self.used.clear()
        self.written_at = time.monotonic()

    def _masked(self, text: str) -> str:
        return masked(text, self.secrets)


def written(
    request: Request,
    response: Response | None,
    error: Exception | None,
    *,
    started_at: datetime,
    seconds: float,
    secrets: Sequence[str],
    items: int,
    carried: Sequence[int] = (),
    taken_at: datetime | None = None,
) -> Exchange:
    """Return an exchange as the log keeps it, without the secrets.

    carried   the delivery of each item, in order; none of a test
    taken_at  when these had been taken from the queue
    """

    def safe(text: str) -> str:
        return masked(text, secrets)

    return Exchange(
        started_at=started_at,
        duration_ms=round(seconds * 1000),
        method=request.method,
        url=safe(request.url),
        status=response.status if response else None,
        outcome=type(error).__name__ if error else "accepted",
        error=safe(str(error or "")),
        request_headers=safe(_json(client.headers(request))),
        request_body=safe(request.body.decode()),
        response_headers=safe(_json(response.headers if response else {})),
        response_body=safe(response.body if response else ""),
        items=items,
        carried=_places(carried),
        taken_at=taken_at,
    )


def _places(carried: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return for each delivery where its items begin in the request, and how many they are."""
    counts = Counter(carried)
    first: dict[int, int] = {}
    for at, delivery_id in enumerate(carried):
        first.setdefault(delivery_id, at)
    return [(delivery_id, at, counts[delivery_id]) for delivery_id, at in first.items()]


def _json(value: Mapping[str, str]) -> str:
    return msgspec.json.encode(value).decode()
