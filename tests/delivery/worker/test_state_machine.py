"""Delivery as a state machine: whatever happens, the ledger closes after every step.

Hypothesis accepts, leases, sends, crashes, waits and purges in any order.

PENSTOCK_MACHINE_EXAMPLES   how many sequences of up to 40 steps are tried
"""

import os
import re
from collections import defaultdict
from datetime import timedelta

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from delivery.accounting.ledger import build_ledger
from delivery.lanes import leases as lanes_leases
from delivery.lanes import routes
from delivery.lanes.leases import Lease, LeaseLost
from delivery.models import Attempt, Carried, Delivery, Event, Lane
from delivery.operations import retention
from delivery.worker import attempt
from delivery.worker.backlog import next_batch
from delivery.worker.batch import attempt_batch
from delivery.worker.outcome import BatchOutcome
from delivery.worker.settle import settle_outcome
from integrations.models import Source
from tests.delivery.accounting.test_ledger import installed
from tests.delivery.worker.test_batch import send_in
from tests.faults.support.raw_vendor import OK_RESPONSE, RawVendor, respond_with_status

pytestmark = pytest.mark.django_db(transaction=True)

EXAMPLES = int(os.environ.get("PENSTOCK_MACHINE_EXAMPLES", "10"))
WORKERS = (0, 1)
USERS = ("ada", "bob", "eve")
KINDS = ("track", "track", "track", "guilty", "page", "identify")
NUMBER = re.compile(rb'"idempotency_key":"message-(\d+)"')
Q = Delivery.State.QUEUED


class Penstock(RuleBasedStateMachine):
    """One lane, a vendor, and two workers that may crash or resume after their lease ended."""

    vendor: RawVendor

    @initialize()
    def open(self) -> None:
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.source = Source.objects.create(name="Machine")
        installed(trigger='type = "track" or type = "identify"')
        routes.plan_routes()
        self.lane = Lane.objects.get().pk
        self.leases: dict[int, Lease] = {}
        self.outcomes: dict[int, tuple[Lease, BatchOutcome]] = {}
        self.count = 0
        self.users: dict[int, str] = {}
        self.again: set[int] = set()  # messages stored or queued again, or cancelled
        self.taken: list[int] = []  # messages in the vendor's order, without repetitions
        self.mood = 200
        self.vendor.answer = self.answer

    def teardown(self) -> None:
        if hasattr(self, "atomic"):
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)

    def answer(self, connection) -> None:
        body = self.vendor.requests[-1]
        if self.mood != 200:
            respond_with_status(self.mood)(connection)
        elif b"guilty" in body:
            respond_with_status(400)(connection)
        else:
            numbers = [int(number) for number in NUMBER.findall(body)]
            self.taken += [number for number in numbers if number not in self.taken]
            connection.sendall(OK_RESPONSE)

    # --- people and sources ---

    @rule(
        user=st.sampled_from(USERS), kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=6)
    )
    def accept(self, user: str, kinds: list[str]) -> None:
        messages = []
        for kind in kinds:
            self.count += 1
            self.users[self.count] = user
            messages.append(message(self.count, kind, user))
        send_in(self.source, *messages)

    @precondition(lambda self: self.count)
    @rule(back=st.integers(0, 10))
    def accept_the_same_again(self, back: int) -> None:
        number = max(self.count - back, 1)
        before = Event.objects.count(), Delivery.objects.count()
        send_in(self.source, message(number, "track", self.users[number]))
        if Event.objects.filter(message_id=f"message-{number:06}").count() > 1:
            raise AssertionError("stored twice")
        if Event.objects.count() > before[0]:  # it had been purged, so it counts as new
            self.again.add(number)

    @precondition(lambda self: self.taken)
    @rule()
    def deliver_again(self) -> None:
        self.touch(Delivery.objects.exclude(state=Q))
        Delivery.objects.all().deliver_again(timezone.now(), "hand")

    @precondition(lambda self: self.count > 5)
    @rule(every=st.integers(2, 4))
    def cancel(self, every: int) -> None:
        chosen = [pk for pk in Delivery.objects.filter(state=Q).values_list("pk", flat=True)
                  if pk % every == 0]  # fmt: skip
        rows = Delivery.objects.filter(pk__in=chosen)
        self.touch(rows)
        rows.update(state=Delivery.State.CANCELLED, settled_at=timezone.now())

    def touch(self, rows) -> None:
        ids = rows.values_list("event__message_id", flat=True)
        self.again.update(int(each.rpartition("-")[2]) for each in ids)

    # --- workers ---

    @precondition(lambda self: self.count and len(self.outcomes) < len(WORKERS))
    @rule(
        data=st.data(),
        mood=st.sampled_from([200, 200, 200, 503, 401]),
        size=st.integers(1, 8),
        late=st.booleans(),
    )
    def send(self, data, mood: int, size: int, late: bool) -> None:
        """Let a worker lease the lane, if it can, and send a batch, but write nothing yet."""
        worker = data.draw(st.sampled_from(sorted(set(WORKERS) - set(self.outcomes))))
        if late:  # the worker that has the lane was paused for longer than its lease
            self.leases_run_out()
        if self.owner() != worker and (
            held := lanes_leases.acquire_lease(self.lane, timezone.now())
        ):
            self.leases[worker] = held
        if worker not in self.leases:
            return
        lane = Lane.objects.select_related("installation__revision").get()
        queued = next_batch(lane.pk, limit=size, now=timezone.now())
        if queued:
            self.mood = mood
            held = self.leases[worker]
            try:
                outcome = attempt_batch(held, lane, queued, go_on=lambda: True)
            except LeaseLost:
                # After two crashes, a worker marks what it shapes, and marking needs the lease.
                assert self.owner() != worker
                del self.leases[worker]
            else:
                self.outcomes[worker] = held, outcome

    @precondition(lambda self: self.outcomes)
    @rule(data=st.data())
    def settle(self, data) -> None:
        """Let a worker write the outcome of its batch, or nothing when its lease is lost."""
        worker = data.draw(st.sampled_from(sorted(self.outcomes)))
        (held, outcome), before = self.outcomes.pop(worker), written()
        if self.owner() == worker:
            settle_outcome(held, outcome)
            return
        with pytest.raises(LeaseLost), transaction.atomic():
            settle_outcome(held, outcome)
        assert written() == before, "a worker without a lease wrote"
        del self.leases[worker]

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def crash(self, data) -> None:
        """Crash a worker before or after it has sent; its outcome is lost and its lease remains."""
        worker = data.draw(st.sampled_from(sorted(self.leases)))
        self.outcomes.pop(worker, None)
        del self.leases[worker]

    @precondition(lambda self: self.idle())
    @rule(data=st.data())
    def release(self, data) -> None:
        worker = data.draw(st.sampled_from(self.idle()))
        lanes_leases.release_lease(self.leases.pop(worker))

    # --- passing time ---

    @rule()
    def leases_run_out(self) -> None:
        past = timezone.now() - timedelta(seconds=1)
        Lane.objects.filter(lease__isnull=False).update(lease_until=past)

    @rule()
    def waits_end(self) -> None:
        Lane.objects.update(due_at=None, paused=False)
        Delivery.objects.update(due_at=None)

    @precondition(lambda self: self.taken)
    @rule()
    def purge(self) -> None:
        keep = dict.fromkeys(("KEEP_EVENTS_DAYS", "KEEP_DELIVERIES_DAYS", "KEEP_ATTEMPTS_DAYS"), -1)
        with override_settings(**keep):
            retention.purge_old_rows(timezone.now())

    # --- invariants ---

    def idle(self) -> list[int]:
        return sorted(set(self.leases) - set(self.outcomes))

    def owner(self) -> int | None:
        token = Lane.objects.values_list("lease", flat=True).get()
        return next((w for w, held in self.leases.items() if held.token == token), None)

    @invariant()
    def the_ledger_closes(self) -> None:
        if hasattr(self, "source"):
            book = build_ledger()
            assert book.closes, book

    @invariant()
    def what_is_delivered_is_at_the_vendor(self) -> None:
        if hasattr(self, "source"):
            rows = Delivery.objects.filter(state="delivered", event__type="track")
            ids = rows.values_list("event__message_id", flat=True)
            missing = {int(each.rpartition("-")[2]) for each in ids} - set(self.taken)
            assert not missing, f"never sent: {missing}"

    @invariant()
    def each_user_is_in_order(self) -> None:
        if hasattr(self, "source"):
            last: defaultdict[str, int] = defaultdict(int)
            for number in self.taken:
                if number not in self.again:
                    assert number > last[self.users[number]], f"{number} is out of order"
                    last[self.users[number]] = number

    @invariant()
    def nothing_is_left_dangling(self) -> None:
        if hasattr(self, "source"):
            events = Event.objects.values("pk")
            assert not Delivery.objects.exclude(event__in=events).exists()
            attempts = Attempt.objects.values("pk")
            assert not Carried.objects.exclude(attempt__in=attempts).exists()


def message(number: int, kind: str, user: str) -> dict[str, object]:
    return {
        "type": "track" if kind == "guilty" else kind, "event": "Step", "name": "Home",
        "userId": user, "messageId": f"message-{number:06}",
        "properties": {"verdict": "guilty"} if kind == "guilty" else {}, "traits": {},
    }  # fmt: skip


def written() -> tuple[object, ...]:
    deliveries = Delivery.objects.order_by("pk").values_list("pk", "state", "attempts", "failures")
    return list(deliveries), Attempt.objects.count(), Carried.objects.count()


def test_whatever_happens_in_whatever_order_the_books_close(settings):
    with RawVendor() as vendor:
        settings.SANDBOX_URL = vendor.url
        Penstock.vendor = vendor
        try:
            run_state_machine_as_test(
                Penstock,
                settings=hypothesis_settings(
                    max_examples=EXAMPLES, stateful_step_count=40, deadline=None
                ),
            )
        finally:
            attempt.shared_session().close()
