"""One lane, from lease to release: read a batch, send it, write down what came of it."""

import json
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote

import msgspec
import requests
from django.conf import settings
from django.utils import timezone

from delivery import client, lanes, retry
from delivery.lanes import Exchange, Lease, Settled, Standing
from delivery.models import Delivery, Lane
from delivery.shaping import (
    COLUMNS,
    Parcel,
    Slot,
    compiled,
    leave_out_told,
    message_of,
    pack,
    shape,
)
from integrations.blueprints import BlueprintError
from integrations.destination import Item, Request, Response
from integrations.errors import (
    CredentialsRejected,
    DestinationError,
    MessageRejected,
    VendorUnavailable,
)
from integrations.models import Installation
from integrations.secrets import MASK, SecretsUnreadable, reveal

logger = logging.getLogger(__name__)

BUDGET = 20.0  # seconds a worker stays with one lane before others have their turn
LINGER = 0.5  # seconds it stays with an empty lane: cheaper than another wake-up
LOOK_AGAIN = 0.02  # seconds between two looks at an empty lane
SHORT_WAIT = 5.0  # seconds that are waited out with the lease; longer waits are left to the watch
SETTLE_AFTER = 2.0  # seconds of sending after which results are written down

State = Delivery.State


def drain(lane_id: int) -> int:
    """Work on a lane until it is empty, must wait, or the budget is used up.

    Return how many deliveries left the queue; 0 when another worker has the lane.
    """
    held = lanes.lease(lane_id, timezone.now())
    if held is None:
        return 0
    try:
        done = work(held, until=time.monotonic() + BUDGET)
    except lanes.LeaseLost:
        logger.warning("Lane %s: the lease was lost; another worker goes on.", lane_id)
        return 0
    finally:
        lanes.release(held)
    if lanes.is_stranded(lane_id, timezone.now()):  # what came while we let go, or is left over
        lanes.wake([lane_id])
    return done


def work(held: Lease, *, until: float) -> int:
    """Deliver batch after batch; return how many deliveries left the queue.

    until  by time.monotonic()
    """
    done, busy_at = 0, time.monotonic()
    while time.monotonic() < until and not stopping():
        batch = next_batch(held.lane_id, settings.BATCH_SIZE)
        if batch:
            done += deliver(held, batch, until=until)
            busy_at = time.monotonic()
            if not may_go_on(held, until=until):
                break
        elif time.monotonic() - busy_at > LINGER:
            break
        else:
            time.sleep(LOOK_AGAIN)
    return done


def stopping() -> bool:
    """Say whether the cluster was asked to stop: then a worker ends after the request at hand."""
    path = os.environ.get("PENSTOCK_STOP_FILE")
    return bool(path) and os.path.exists(path)


def may_go_on(held: Lease, *, until: float) -> bool:
    """Wait out a short wait of the lane; say whether it may be worked on after that."""
    lane = Lane.objects.select_related("installation").get(pk=held.lane_id)
    if lane.paused or not lane.installation.enabled:
        return False
    wait = (lane.due_at - timezone.now()).total_seconds() if lane.due_at else 0.0
    if wait > SHORT_WAIT or time.monotonic() + wait > until:
        return False
    if wait > 0:
        time.sleep(wait)
        lanes.renew(held, timezone.now())
    return True


@dataclass(frozen=True, slots=True)
class Queued:
    """A delivery read from the queue; `event` as `message_of` takes it."""

    id: int
    queued_at: datetime
    event: Sequence[Any]


def next_batch(lane_id: int, limit: int) -> list[Queued]:
    """Return the head of the lane's queue, in order."""
    rows = (
        Delivery.objects.filter(lane=lane_id, state=State.QUEUED)
        .order_by("pk")
        .values_list("pk", "queued_at", *(f"event__{name}" for name in COLUMNS))[:limit]
    )
    return [Queued(pk, queued_at, event) for pk, queued_at, *event in rows]


def deliver(held: Lease, batch: Sequence[Queued], *, until: float) -> int:
    """Send a batch in as few requests as possible and settle it behind the fence.

    Return how many deliveries left the queue. Raises LeaseLost.
    """
    run = Run(held, batch)
    try:
        for slot in run.shape():
            if time.monotonic() > until or stopping():
                break
            run.exchange(slot.endpoint, slot.items)
    except VendorUnavailable as error:
        run.wait(error)
    except CredentialsRejected as error:
        run.pause(error)
    except SecretsUnreadable as error:
        run.pause(CredentialsRejected(str(error)))
    except BlueprintError as error:  # made by an older version: checked when it was saved
        run.pause(CredentialsRejected(f"The blueprint cannot be used. {error}"))
    run.settle()
    return run.done


class Run:
    """One batch on its way: what is open, what was exchanged, what is not written down yet."""

    def __init__(self, held: Lease, batch: Sequence[Queued]):
        self.held = held
        self.lane = Lane.objects.select_related("installation__revision").get(pk=held.lane_id)
        self.installation: Installation = self.lane.installation
        self.destination = self.installation.destination
        self.open = {each.id: each for each in batch}
        self.people: dict[int, str] = {}
        self.parcels: dict[int, Parcel] = {}
        self.to_go: Counter[int] = Counter()  # delivery id → items that had no answer yet
        self.refused: dict[int, DestinationError] = {}
        self.exchanges: list[Exchange] = []
        self.settled: list[Settled] = []
        self.told: list[tuple[str, str]] = []
        self.standing: Standing | None = None
        self.written_at = time.monotonic()
        self.done = 0

    # --- shape ---

    def shape(self) -> list[Slot]:
        """Return the requests to make; what needs none is closed.

        Raises SecretsUnreadable and BlueprintError.
        """
        self.config = self.installation.settings()
        self.secrets = tuple(reveal(self.installation.sealed_secrets).values())
        blueprint = compiled(self.installation.revision_id)
        for queued in list(self.open.values()):
            try:
                message = message_of(*queued.event)
                parcel = shape(message, blueprint, self.destination, self.config)
            except DestinationError as error:
                self.close(queued.id, State.FAILED, error)
            except Exception as error:  # a bug for one message must not stop the others
                logger.exception("Delivery %s failed on a bug", queued.id)
                self.close(queued.id, State.FAILED, MessageRejected(f"Our bug: {error!r}"))
            else:
                self.people[queued.id], self.parcels[queued.id] = message.person, parcel
        leave_out_told(self.installation.pk, self.parcels.values())
        return self._packed()

    def _packed(self) -> list[Slot]:
        for delivery_id, parcel in self.parcels.items():
            self.to_go[delivery_id] = len(parcel.items)
            if not parcel.items:
                self.close(delivery_id, State.FILTERED, reason=parcel.nothing)
        return pack(
            (
                (delivery_id, self.people[delivery_id], parcel.items)
                for delivery_id, parcel in self.parcels.items()
                if parcel.items
            ),
            self.destination,
        )

    # --- send and judge ---

    def exchange(self, endpoint: str, items: Sequence[tuple[int, Item]]) -> None:
        """Make one request of these items; when it is rejected, halve it until the guilty stand
        alone. Raises VendorUnavailable and CredentialsRejected."""
        if time.monotonic() - self.written_at > SETTLE_AFTER:
            self.settle()
        try:
            self._send(endpoint, items)
        except MessageRejected as error:
            if len(items) == 1:
                self._answered(items[0], error)
                return
            middle = len(items) // 2
            self.exchange(endpoint, items[:middle])
            self.exchange(endpoint, items[middle:])
        else:
            for each in items:
                self._answered(each, None)

    def _send(self, endpoint: str, items: Sequence[tuple[int, Item]]) -> None:
        request = self.destination.request(endpoint, [item for _, item in items], self.config)
        started_at, clock = timezone.now(), time.monotonic()
        response, error = None, None
        try:
            response = client.send(request, session())
            self.destination.judge(response)
        except DestinationError as raised:
            error = raised
            raise
        finally:
            self.exchanges.append(self._written(request, response, error, started_at, clock, items))
        self._up_again()

    def _answered(self, each: tuple[int, Item], error: DestinationError | None) -> None:
        """One item has its answer; with the last one the delivery is closed."""
        delivery_id, item = each
        if error:
            self.refused[delivery_id] = error
        elif item.once:
            self.told.append(item.once)
        self.to_go[delivery_id] -= 1
        if self.to_go[delivery_id] == 0:
            refused = self.refused.get(delivery_id)
            self.close(delivery_id, State.FAILED if refused else State.DELIVERED, refused)

    # --- what becomes of the deliveries and the lane ---

    def close(
        self, delivery_id: int, state: str, error: DestinationError | None = None, reason: str = ""
    ) -> None:
        """The delivery leaves the queue."""
        del self.open[delivery_id]
        self.done += 1
        self._decide(delivery_id, state, error, reason)

    def wait(self, error: VendorUnavailable) -> None:
        """The vendor is unavailable: the lane waits; what is too old by now is given up."""
        now = timezone.now()
        failures = (self.standing.failures if self.standing else self.lane.failures) + 1
        seconds = retry.wait(failures, retry_after=error.retry_after, dice=random.random)
        self.standing = Standing(
            failures=failures, due_at=now + timedelta(seconds=seconds), last_error=str(error)
        )
        limit = lanes.give_up_before(now)
        for queued in list(self.open.values()):
            if queued.queued_at < limit:
                reason = f"Gave up after {settings.GIVE_UP_DAYS:g} days: {error}"
                self.close(queued.id, State.FAILED, error, reason)
        self._carried_in_vain(error)

    def pause(self, error: CredentialsRejected) -> None:
        """The vendor refuses who we are: the lane stands still until a person has mended it."""
        self.standing = Standing(paused=True, last_error=str(error))
        self._carried_in_vain(error)

    def _up_again(self) -> None:
        if self.lane.failures or self.standing:
            self.standing = Standing()

    def _carried_in_vain(self, error: DestinationError) -> None:
        for delivery_id in self._carried():
            self._decide(delivery_id, State.QUEUED, error)

    def _carried(self) -> set[int]:
        return {pk for each in self.exchanges for pk, _ in each.carried if pk in self.open}

    def _decide(
        self, delivery_id: int, state: str, error: DestinationError | None, reason: str = ""
    ) -> None:
        parcel = self.parcels.get(delivery_id)
        self.settled.append(
            Settled(
                delivery_id=delivery_id,
                state=state,
                error=type(error).__name__ if error else "",
                reason=reason or self._masked(str(error or "")),
                notes=msgspec.json.encode(parcel.notes).decode() if parcel and parcel.notes else "",
                revision_id=self.installation.revision_id,
            )
        )

    def settle(self) -> None:
        """Write down all that is known by now, in one transaction. Raises LeaseLost."""
        decided = {each.delivery_id for each in self.settled}
        for delivery_id in self._carried() - decided:
            self._decide(delivery_id, State.QUEUED, None)
        lanes.settle(
            self.held,
            exchanges=self.exchanges,
            settled=self.settled,
            told=self.told,
            standing=self.standing,
            now=timezone.now(),
        )
        self.exchanges, self.settled, self.told = [], [], []
        self.written_at = time.monotonic()

    # --- the log ---

    def _written(
        self,
        request: Request,
        response: Response | None,
        error: DestinationError | None,
        started_at: datetime,
        clock: float,
        items: Sequence[tuple[int, Item]],
    ) -> Exchange:
        return Exchange(
            started_at=started_at,
            duration_ms=round((time.monotonic() - clock) * 1000),
            method=request.method,
            url=self._masked(request.url),
            status=response.status if response else None,
            outcome=type(error).__name__ if error else "accepted",
            error=self._masked(str(error or "")),
            request_headers=self._masked(_json(client.headers(request))),
            request_body=self._masked(request.body.decode()),
            response_headers=self._masked(_json(response.headers if response else {})),
            response_body=self._masked(response.body if response else ""),
            carried=[(delivery_id, at) for at, (delivery_id, _) in enumerate(items)],
        )

    def _masked(self, text: str) -> str:
        """Return the text without any secret of the installation, however it is spelled."""
        for secret in self.secrets:
            for shown in _spellings(secret):
                text = text.replace(shown, MASK)
        return text


def _spellings(secret: str) -> tuple[str, ...]:
    """Return how a secret may stand in a text: as it is, in JSON of two habits, in an address."""
    return secret, _json(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")


@cache
def session() -> requests.Session:
    """Return the session of this process; its connections stay open between batches."""
    return client.new_session()


def _json(value: Mapping[str, str] | str) -> str:
    return msgspec.json.encode(value).decode()
