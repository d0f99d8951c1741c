"""Trying an installation for real: send one test event, or see whether its vendor is there.

A test event is no event of ours: nothing is kept of it but the attempts, marked as tests, so the
ledger and the figures know nothing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
from django.utils import timezone

from delivery.outbound import client
from delivery.tester.preview import blueprint_of, requests_of
from delivery.transform.guard import Unworkable, code_of
from delivery.transform.packing import Slot
from delivery.transform.shape import leave_out_told, shape
from delivery.worker import rate_limits, settle
from delivery.worker.attempt import make_attempt
from delivery.worker.results import AttemptRecord
from integrations.destination import Destination, Limit, Request
from integrations.encryption import masked, reveal
from integrations.errors import DestinationError, VendorUnavailable
from integrations.messages import Message
from integrations.models import Installation

TOTAL = 10.0  # seconds for one exchange: a person waits for it
TEST_ID = "penstock-test-"  # how the message id of a test event begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of a test event.

    accepted    whether the vendor took all of it
    summary     the same in words, with the vendor's own where it refused
    fix         what to do about it, where anything is known
    message_id  under which the vendor got it
    is_kept     whether its attempts are in the log
    exchanges   what was sent and answered, secrets masked
    notes       what was changed on the way
    """

    accepted: bool
    summary: str
    fix: str = ""
    message_id: str
    exchanges: Sequence[AttemptRecord] = ()
    notes: Sequence[str] = ()
    is_kept: bool = True


def send_test_event(
    installation: Installation, message: Message, blueprint: Any = None, *, now: datetime
) -> Trial:
    """Send a message as one that happens now, past the queue, and return what came of it.

    It gets a message id of its own: a vendor that knows the message already would ignore it.

    installation  may be one that is not saved: then nothing is written down of it
    blueprint     JSON of one that is not saved, to send by it instead of the current one

    Raises BlueprintError with all that is wrong with the blueprint, and SecretsUnreadable.
    """
    is_installed = installation.pk is not None
    message = msgspec.structs.replace(message, message_id=f"{TEST_ID}{uuid4()}", timestamp=now)
    destination, config = installation.destination, installation.settings()
    sending = _Sending(destination, tuple(reveal(installation.sealed_secrets).values()))
    notes, nothing = [], ""
    try:
        with code_of(destination):
            published = destination.limits(config)
        tried = blueprint_of(installation, blueprint)
        with code_of(destination):
            parcel = shape(message, tried, destination, config)
        if is_installed:
            leave_out_told(installation.pk, [parcel])
        notes, nothing = parcel.notes, parcel.nothing
        parts = requests_of(parcel, message, destination, config)
        sending.send(parts, published, message.person)
        error = None
    except (DestinationError, Unworkable) as raised:
        error = raised
    if is_installed:
        settle.settle_test(installation.pk, sending.attempts, sending.facts)
    trial = sending.trial(message.message_id, error, nothing)
    return replace(trial, notes=tuple(notes), is_kept=is_installed)


@dataclass(slots=True)
class _Sending:
    """A test event on its way: what was exchanged, and what the vendor knows by it."""

    destination: Destination
    secrets: Sequence[str]
    attempts: list[AttemptRecord] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)

    def send(
        self, parts: Sequence[tuple[Request, Slot]], published: Sequence[Limit], person: str
    ) -> None:
        """Make the requests in order, up to the first that fails. Raises DestinationError."""
        with client.new_session() as session:
            for request, slot in parts:
                for limit in published:
                    self._keep(limit, slot, person)
                self._attempt(request, slot, session)
                self.facts += [item.once for _, item in slot.items if item.once]

    def _keep(self, limit: Limit, slot: Slot, person: str) -> None:
        if limit.endpoint != slot.endpoint:
            return
        wanted = {person if limit.per_person else "": len(slot.items)}
        for wait in rate_limits.take(limit, wanted, timezone.now()).values():
            raise VendorUnavailable(
                f"{self.destination.name} takes {limit.name}: try again in {wait:.0f} s."
            )

    def _attempt(self, request: Request, slot: Slot, session: client.Session) -> None:
        attempt, error = make_attempt(
            request,
            self.destination,
            session,
            secrets=self.secrets,
            items=len(slot.items),
            total=TOTAL,
        )
        self.attempts.append(attempt)
        if error:
            raise error

    def trial(
        self, message_id: str, error: DestinationError | Unworkable | None, nothing: str
    ) -> Trial:
        name = self.destination.name
        said = masked(str(error or nothing), self.secrets)
        if not self.attempts:
            return Trial(accepted=False, summary=f"Nothing was sent. {said}", message_id=message_id)
        last = self.attempts[-1]
        fix = self.destination.explain(type(error).__name__, last.status) if error else None
        return Trial(
            accepted=error is None,
            summary=f"{name} did not take it. {said}" if error else f"{name} accepted it.",
            fix=fix.fix if fix else "",
            message_id=message_id,
            exchanges=self.attempts,
        )
