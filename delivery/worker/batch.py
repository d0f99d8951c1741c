"""One batch on its way: shape it, send it, judge the answers."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache

from django.conf import settings
from django.utils import timezone

from delivery.lanes import leases, routes
from delivery.lanes.leases import Lease
from delivery.models import Delivery, Lane
from delivery.outbound import client
from delivery.transform.guard import Missing, Unworkable, code_of
from delivery.transform.packing import Slot, keyed, pack
from delivery.transform.shape import Parcel, leave_out_told, shape
from delivery.transform.stored_messages import compiled, message_of
from delivery.worker import rate_limits
from delivery.worker import settle as worker_settle
from delivery.worker.backlog import Queued, deferred, next_batch
from delivery.worker.lane_threads import standing_aside
from delivery.worker.outcome import Books, written
from integrations.blueprints import Blueprint, BlueprintError
from integrations.destination import Item, Limit
from integrations.encryption import SecretsUnreadable, reveal
from integrations.errors import (
    CredentialsRejected,
    DestinationError,
    MessageRejected,
    TooLarge,
    VendorFailed,
    VendorUnavailable,
)
from integrations.models import Installation

logger = logging.getLogger(__name__)

SETTLE_AFTER = 2.0  # seconds of sending after which results are written down
CAREFUL_SIZE = 100  # deliveries
LOOK_AGAIN = 60.0  # seconds until a destination that the catalog lacks is looked for again
SUSPECT_AFTER = 2  # failures of the lane in a row, from which on one message may be to blame

State = Delivery.State


def deliver(held: Lease, *, go_on: Callable[[], bool]) -> int | None:
    """Send the head of the queue in as few requests as possible and settle it behind the fence.

    Return how many deliveries left the queue; None when nothing was due. Raises LeaseLost.

    go_on  is asked before each request
    """
    lane = Lane.objects.select_related("installation__revision").get(pk=held.lane_id)
    batch = next_batch(lane.pk, limit=_size(lane), now=timezone.now())
    if not batch:
        return None
    run = Run(held, lane, batch)
    run.send(go_on)
    run.books.settle()
    return run.books.done


def _size(lane: Lane) -> int:
    """Return how many deliveries to take: few, where each costs a note of its own."""
    if lane.failures >= worker_settle.OPEN_AFTER:
        return 1
    careful = lane.deaths >= leases.CAREFUL_AFTER
    return min(CAREFUL_SIZE, settings.BATCH_SIZE) if careful else settings.BATCH_SIZE


class LimitReached(Exception):
    """The vendor's limit is used up for so many seconds."""

    def __init__(self, limit: Limit, seconds: float):
        super().__init__(limit.name)
        self.limit = limit
        self.seconds = seconds


class Run:
    """One batch on its way: shaped, sent and judged. What comes of it is in its `books`."""

    def __init__(self, held: Lease, lane: Lane, batch: Sequence[Queued]):
        self.held = held
        self.lane = lane
        self.taken_at = timezone.now()
        self.installation: Installation = lane.installation
        self.destination = self.installation.destination
        self.books = Books(held, lane, batch)
        self.people: dict[int, str] = {}
        self.parcels: dict[int, Parcel] = {}
        self.to_go: Counter[int] = Counter()  # delivery id → items that had no answer yet
        self.refused: dict[int, DestinationError] = {}
        self.suspects: dict[int, VendorFailed] = {}  # they failed alone, and nothing went since
        self.is_well = False  # whether anything went through

    def send(self, go_on: Callable[[], bool]) -> None:
        """Send all that can be sent; what is wrong with the vendor becomes the lane's standing."""
        try:
            for slot in self.shape():
                if not go_on():
                    break
                self.exchange(slot.endpoint, slot.items)
            self._judge_suspects()
        except VendorUnavailable as error:
            self.books.wait(error)
        except LimitReached as reached:
            reason = f"{self.destination.name} takes {reached.limit.name}"
            self.books.hold_back(reached.seconds, reason)
        except CredentialsRejected as error:
            self.books.pause(f"{self.destination.name} refused the credentials: {error}", error)
        except Missing as error:  # a version that has it goes on by itself
            self.books.hold_back(LOOK_AGAIN, str(error))
        except (SecretsUnreadable, Unworkable) as error:
            self.books.pause(str(error))
        except BlueprintError as error:  # made by an older version: checked when it was saved
            self.books.pause(f"The blueprint cannot be used. {error}")

    # --- shape ---

    def shape(self) -> list[Slot]:
        """Return the requests to make; what needs none is closed.

        Raises SecretsUnreadable, BlueprintError and Unworkable.
        """
        self.config = self.installation.settings()
        self.books.secrets = tuple(reveal(self.installation.sealed_secrets).values())
        with code_of(self.destination):
            self.limits = self.destination.limits(self.config)
        as_before = self.lane.number == routes.AS_BEFORE
        blueprint = None if as_before else compiled(self.installation.revision_id)
        careful = self.lane.deaths >= leases.CAREFUL_AFTER
        for queued in list(self.books.open.values()):
            if careful:
                self._note(queued.id)
            self._shape_one(queued, blueprint)
        if careful:
            leases.suspect(self.held, None, 0, timezone.now())
        if any(limit.per_person for limit in self.limits):
            self._keep_behind_deferred()
        leave_out_told(self.installation.pk, self.parcels.values())
        with code_of(self.destination):
            return self._packed()

    def _shape_one(self, queued: Queued, blueprint: Blueprint | None) -> None:
        """Shape a delivery by a blueprint, or by that which shaped it last."""
        try:
            self._refuse_guilty(queued.id)
            blueprint = blueprint or self._last_blueprint(queued)
            message = message_of(*queued.event)
            parcel = shape(message, blueprint, self.destination, self.config)
        except DestinationError as error:
            self.books.close(queued.id, State.FAILED, error)
        except Exception as error:  # a bug for one message must not stop the others
            logger.exception("Delivery %s failed on a bug", queued.id)
            bug = MessageRejected(f"A bug in {self.destination.name}'s code here: {error!r}")
            self.books.close(queued.id, State.FAILED, bug)
        else:
            self.people[queued.id], self.parcels[queued.id] = message.person, parcel

    def _last_blueprint(self, queued: Queued) -> Blueprint:
        """Return the blueprint that shaped a delivery last. Raises MessageRejected."""
        if queued.revision_id is None:
            raise MessageRejected("It was never shaped: there is nothing to send as before.")
        try:
            return compiled(queued.revision_id)
        except BlueprintError as error:  # made by an older version
            raise MessageRejected(f"What shaped it cannot be used any more. {error}") from error

    def _note(self, delivery_id: int) -> None:
        times = self.lane.suspected if self.lane.suspect == delivery_id else 0
        leases.suspect(self.held, delivery_id, times + 1, timezone.now())

    def _refuse_guilty(self, delivery_id: int) -> None:
        """Workers that die leave no error: what the last ones were at is not touched again."""
        if self.lane.suspect == delivery_id and self.lane.suspected >= leases.GUILTY_AFTER:
            raise MessageRejected(f"{self.lane.deaths} workers died, the last two over this.")

    def _keep_behind_deferred(self) -> None:
        """What came later for a person whose deliveries wait, must not overtake them."""
        waiting = deferred(self.lane.pk, timezone.now())
        for delivery_id, person in list(self.people.items()) if waiting else ():
            if person in waiting:
                del self.parcels[delivery_id]
                self.books.defer(
                    delivery_id, "Its user's earlier deliveries wait.", waiting[person]
                )

    def _packed(self) -> list[Slot]:
        """Return the slots: first the lane's, then, each alone, what was set aside before."""
        together, alone = [], []
        for delivery_id, parcel in self.parcels.items():
            self.to_go[delivery_id] = len(parcel.items)
            self.books.notes[delivery_id] = parcel.notes
            if not parcel.items:
                self.books.close(delivery_id, State.FILTERED, reason=parcel.nothing)
                continue
            entry = (delivery_id, self.people[delivery_id], parcel.items)
            (alone if self.books.open[delivery_id].failures else together).append(entry)
        slots = pack(together, self.destination)
        return slots + [slot for entry in alone for slot in pack([entry], self.destination)]

    # --- send and judge ---

    def exchange(self, endpoint: str, items: Sequence[tuple[int, Item]]) -> None:
        """Make one request of these items; when it is rejected, halve it until the guilty stand
        alone. Raises VendorUnavailable and CredentialsRejected."""
        if time.monotonic() - self.books.written_at > SETTLE_AFTER:
            self.books.settle()
        items = self._permitted(endpoint, items)
        if not items:
            return
        try:
            self._send(endpoint, items)
        except (MessageRejected, VendorFailed) as error:
            self._halve(endpoint, items, error)
        else:
            for each in items:
                self._answered(each, None)

    def _permitted(
        self, endpoint: str, items: Sequence[tuple[int, Item]]
    ) -> Sequence[tuple[int, Item]]:
        """Return the items that may go now. Raises LimitReached when the vendor's limit for all
        is used up; a person's own limit defers that person's deliveries only."""
        items = [each for each in items if each[0] in self.books.open]
        for limit in self.limits:
            if limit.endpoint == endpoint and items:
                items = self._within(limit, items)
        return items

    def _within(
        self, limit: Limit, items: Sequence[tuple[int, Item]]
    ) -> Sequence[tuple[int, Item]]:
        people = [self.people[pk] if limit.per_person else "" for pk, _ in items]
        waits = rate_limits.take(limit, Counter(people), timezone.now())
        if not waits:
            return items
        if not limit.per_person:
            raise LimitReached(limit, waits[""])
        reason = f"{self.destination.name} takes {limit.name}."
        for delivery_id in list(self.books.open):
            person = self.people.get(delivery_id)
            if person in waits:
                due_at = timezone.now() + timedelta(seconds=waits[person])
                self.books.defer(delivery_id, reason, due_at)
        return [each for each in items if each[0] in self.books.open]

    def _halve(
        self, endpoint: str, items: Sequence[tuple[int, Item]], error: DestinationError
    ) -> None:
        if isinstance(error, VendorFailed) and not self._may_be_a_message(items):
            raise error
        if len(items) > 1:
            middle = len(items) // 2
            self.exchange(endpoint, items[:middle])
            self.exchange(endpoint, items[middle:])
        elif isinstance(error, VendorFailed):
            self._suspect(items[0][0], error)
        else:
            self._answered(items[0], error)

    def _may_be_a_message(self, items: Sequence[tuple[int, Item]]) -> bool:
        was_set_aside = len(items) == 1 and self.books.open[items[0][0]].failures > 0
        return was_set_aside or SUSPECT_AFTER <= self.lane.failures < worker_settle.OPEN_AFTER

    def _suspect(self, delivery_id: int, error: VendorFailed) -> None:
        """One message failed alone. Two in a row, and it is the vendor. Raises VendorFailed."""
        if self.books.open[delivery_id].failures:
            self.books.set_aside(delivery_id, error)
        elif self.suspects:
            raise error
        else:
            self.suspects[delivery_id] = error

    def _send(self, endpoint: str, items: Sequence[tuple[int, Item]]) -> None:
        with code_of(self.destination):
            request = self.destination.request(endpoint, [item for _, item in items], self.config)
        request = keyed(request, self.destination.endpoints[endpoint], items)
        started_at, clock = timezone.now(), time.monotonic()
        response, error = None, None
        try:
            with standing_aside():
                response = client.send(request, session())
            with code_of(self.destination):
                self.destination.judge(response)
        except DestinationError as raised:
            error = raised
            raise
        finally:
            self.books.exchanges.append(
                written(
                    request,
                    response,
                    error,
                    started_at=started_at,
                    seconds=time.monotonic() - clock,
                    secrets=self.books.secrets,
                    items=len(items),
                    carried=[delivery_id for delivery_id, _ in items],
                    taken_at=self.taken_at,
                )
            )
        self._up_again()

    def _answered(self, each: tuple[int, Item], error: DestinationError | None) -> None:
        """One item has its answer; with the last one the delivery is closed."""
        delivery_id, item = each
        if error:
            self.refused[delivery_id] = _with_size(error, item)
        elif item.once:
            self.books.told.append(item.once)
            self._use(delivery_id, item)
        self.to_go[delivery_id] -= 1
        if self.to_go[delivery_id] == 0:
            refused = self.refused.get(delivery_id)
            self.books.close(delivery_id, State.FAILED if refused else State.DELIVERED, refused)

    def _use(self, delivery_id: int, item: Item) -> None:
        """Count what the vendor took. It says nothing when it ignores what is over."""
        with code_of(self.destination):
            allowances = self.destination.allowances(self.config)
        for allowance in allowances:
            if allowance.endpoint != item.endpoint:
                continue
            key = rate_limits.month_of(allowance, self.people[delivery_id], timezone.now())
            self.books.used[key] += 1
            if rate_limits.used(key) + self.books.used[key] > allowance.items:
                note = (
                    f"Sent to {item.endpoint}, but {self.destination.name} ignores it: it takes "
                    f"{allowance.name}, and they are used up."
                )
                self.books.notes[delivery_id].append(note)

    def _up_again(self) -> None:
        """A request went through: the lane is well, so whom we suspected is to blame."""
        self.books.up_again()
        self.is_well = True
        self._judge_suspects()

    def _judge_suspects(self) -> None:
        """Set them aside when anything went through; else it is the vendor. Raises VendorFailed."""
        for delivery_id, error in self.suspects.items():
            if not self.is_well:
                raise error
            self.books.set_aside(delivery_id, error)
        self.suspects.clear()


@cache
def session() -> client.Session:
    """Return the session of this process; its connections stay open between batches."""
    return client.new_session()


def _with_size(error: DestinationError, item: Item) -> DestinationError:
    """Return the error, with how large the item is when that is what is wrong with it."""
    if isinstance(error, TooLarge):
        return TooLarge(f"{error} (alone it has {len(item.body):,} bytes)")
    return error
