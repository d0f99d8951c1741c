"""Sends a test event to the vendor at once, outside the queue.

A test event is not stored. Only its attempts are, marked as tests, so that the ledger and the
metrics do not count it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
from django.utils import timezone

from delivery.outbound import client
from delivery.tester.preview import build_requests, resolve_blueprint
from delivery.transform.guard import DestinationCodeError, guarded_destination
from delivery.transform.packing import PlannedRequest
from delivery.transform.shape import leave_out_known_facts, shape_message
from delivery.worker import rate_limits, settle
from delivery.worker.attempt import make_attempt
from delivery.worker.results import AttemptRecord
from integrations.access import audit
from integrations.destination import Destination, Limit, Request
from integrations.encryption import mask_secrets, reveal
from integrations.errors import DestinationError, VendorUnavailable
from integrations.messages import Message
from integrations.models import Installation

TEST_TIMEOUT_SECONDS = 10.0  # seconds for one request, because a person waits for it
TEST_MESSAGE_ID_PREFIX = "penstock-test-"  # prefix of a test event's message id


@dataclass(frozen=True, slots=True, kw_only=True)
class TestEventResult:
    """The result of a test event.

    accepted    whether the vendor accepted all of it
    summary     the result as text, with the vendor's message when it refused
    fix         what to do about it, or "" when unknown
    message_id  the message id that was sent
    is_kept     whether its attempts are in the log
    attempts    the requests and responses, with secrets masked
    notes       what was changed in the message
    """

    accepted: bool
    summary: str
    fix: str = ""
    message_id: str
    attempts: Sequence[AttemptRecord] = ()
    notes: Sequence[str] = ()
    is_kept: bool = True


def send_test_event(
    installation: Installation, message: Message, blueprint: Any = None, *, now: datetime
) -> TestEventResult:
    """Send a message with the current time, outside the queue, and return the result.

    The message gets a new id, because a vendor ignores an id that it has already received.

    installation  may be unsaved, in which case nothing is recorded
    blueprint     JSON of an unsaved blueprint, to use instead of the current one

    Raises BlueprintError, which lists every problem of the blueprint, and SecretsUnreadable.
    """
    is_installed = installation.pk is not None
    message = msgspec.structs.replace(
        message, message_id=f"{TEST_MESSAGE_ID_PREFIX}{uuid4()}", timestamp=now
    )
    destination, config = installation.destination, installation.settings()
    sending = _TestEventSender(destination, tuple(reveal(installation.sealed_secrets).values()))
    notes, nothing = [], ""
    try:
        with guarded_destination(destination):
            published = destination.limits(config)
        tried = resolve_blueprint(installation, blueprint)
        with guarded_destination(destination):
            parcel = shape_message(message, tried, destination, config)
        if is_installed:
            leave_out_known_facts(installation.pk, [parcel])
        notes, nothing = parcel.notes, parcel.nothing
        parts = build_requests(parcel, message, destination, config)
        sending.send(parts, published, message.person)
        error = None
    except (DestinationError, DestinationCodeError) as raised:
        error = raised
    if is_installed:
        settle.settle_test(installation.pk, sending.attempts, sending.facts)
    about = installation if is_installed else f"{destination.name}, before it is installed"
    audit.record("installation.test_event_sent", about)
    trial = sending.result(message.message_id, error, nothing)
    return replace(trial, notes=tuple(notes), is_kept=is_installed)


@dataclass(slots=True)
class _TestEventSender:
    """Sends a test event and collects its attempts and the facts that the vendor accepted."""

    destination: Destination
    secrets: Sequence[str]
    attempts: list[AttemptRecord] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)

    def send(
        self,
        parts: Sequence[tuple[Request, PlannedRequest]],
        published: Sequence[Limit],
        person: str,
    ) -> None:
        """Make the requests in order until one fails. Raises DestinationError."""
        with client.new_session() as session:
            for request, slot in parts:
                for limit in published:
                    self._take_rate_limit(limit, slot, person)
                self._make_attempt(request, slot, session)
                self.facts += [item.once for _, item in slot.items if item.once]

    def _take_rate_limit(self, limit: Limit, slot: PlannedRequest, person: str) -> None:
        if limit.endpoint != slot.endpoint:
            return
        wanted = {person if limit.per_person else "": len(slot.items)}
        for wait in rate_limits.take_tokens(limit, wanted, timezone.now()).values():
            raise VendorUnavailable(
                f"{self.destination.name} allows {limit.name}. Try again in {wait:.0f} s."
            )

    def _make_attempt(
        self, request: Request, slot: PlannedRequest, session: client.Session
    ) -> None:
        attempt, error = make_attempt(
            request,
            self.destination,
            session,
            secrets=self.secrets,
            items=len(slot.items),
            total=TEST_TIMEOUT_SECONDS,
        )
        self.attempts.append(attempt)
        if error:
            raise error

    def result(
        self, message_id: str, error: DestinationError | DestinationCodeError | None, nothing: str
    ) -> TestEventResult:
        name = self.destination.name
        said = mask_secrets(str(error or nothing), self.secrets)
        if not self.attempts:
            return TestEventResult(
                accepted=False, summary=f"Nothing was sent. {said}", message_id=message_id
            )
        last = self.attempts[-1]
        fix = self.destination.explain(type(error).__name__, last.status) if error else None
        return TestEventResult(
            accepted=error is None,
            summary=f"{name} did not accept it. {said}" if error else f"{name} accepted it.",
            fix=fix.fix if fix else "",
            message_id=message_id,
            attempts=self.attempts,
        )
