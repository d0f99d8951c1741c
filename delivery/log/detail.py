"""Reading the log: find deliveries a page at a time, and tell all there is about one.

The admin and the API both read here, so they cannot differ. Nothing counts rows or skips them:
pages are found by key, and what a list shows never touches a body.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from delivery.log.body_access import BODIES_HIDDEN_TEXT
from delivery.log.querysets import deliveries_with_relations
from delivery.models import (
    Attempt,
    AttemptBody,
    Carried,
    Delivery,
    Event,
    EventBody,
    Replay,
    Replayed,
)
from delivery.transform.stored_messages import (
    STORED_MESSAGE_COLUMNS,
    compile_revision_by_id,
    decode_stored_message,
)
from integrations.blueprints import BlueprintError, build_message_view
from integrations.destination import Action
from integrations.messages import Message
from integrations.models import Revision

DETAIL_MAX_ATTEMPTS = 100  # how many of a delivery are told of
ATTEMPTS_WITH_BODIES = 5  # and how many of these with all that was sent: one can be a megabyte
MAX_BODY_CHARS = 200_000  # characters of a body that a page carries


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """An attempt as one delivery sees it: what of the request was its own.

    body    the request's body with only the delivery's own item in it, or "" when not loaded
    position_text   "item 17 of 1,000 in this request", or "" when the request carried nothing else
    """

    attempt: Attempt
    position: int
    position_text: str
    body: str
    attempt_body: AttemptBody | None


@dataclass(frozen=True)
class DeliveryDetail:
    """All there is to tell about one delivery.

    shows_bodies  whether whom it is told may see bodies; without, none is read
    """

    delivery: Delivery
    shows_bodies: bool

    @cached_property
    def body(self) -> str:
        """The event as it was received, as JSON text, or "" when it is hidden or kept no more."""
        return get_event_body(self.delivery.event_id) if self.shows_bodies else ""

    @property
    def added_context(self) -> str:
        return self.delivery.event.added_context if self.shows_bodies else ""

    @property
    def message(self) -> Message:
        return build_event_message(self.delivery.event, self.body)

    @property
    def event_notes(self) -> list[str]:
        return parse_notes(self.delivery.event.notes) if self.shows_bodies else []

    @property
    def notes(self) -> list[str]:
        return parse_notes(self.delivery.notes) if self.shows_bodies else []

    @cached_property
    def result(self) -> "MappingResult":
        if not self.shows_bodies:
            return MappingResult(problem=BODIES_HIDDEN_TEXT)
        return apply_blueprint(self.delivery.event, self.body, self.revision)

    @property
    def revision(self) -> Revision | None:
        """The blueprint that shaped it, or the current one while none has."""
        return self.delivery.revision or self.delivery.installation.revision

    @cached_property
    def replays(self) -> list[Replay]:
        """The replays that queued it, the last one first."""
        rows = Replayed.objects.filter(delivery=self.delivery).select_related("replay")
        return [each.replay for each in rows.order_by("-replay_id")[:DETAIL_MAX_ATTEMPTS]]

    @cached_property
    def attempts(self) -> list[DeliveryAttempt]:
        """Its attempts, newest first."""
        carried = list(
            Carried.objects.filter(delivery=self.delivery)
            .select_related("attempt__installation")
            .order_by("-attempt_id")[:DETAIL_MAX_ATTEMPTS]
        )
        newest = (
            [each.attempt_id for each in carried[:ATTEMPTS_WITH_BODIES]]
            if self.shows_bodies
            else []
        )
        bodies = AttemptBody.objects.in_bulk(newest)
        return [build_delivery_attempt(each, bodies.get(each.attempt_id)) for each in carried]


def get_delivery_detail(pk: int, *, shows_bodies: bool) -> DeliveryDetail:
    """Return all there is to tell about a delivery. Raises Delivery.DoesNotExist."""
    rows = deliveries_with_relations().select_related(
        "event__source", "installation__revision", "revision"
    )
    return DeliveryDetail(rows.get(pk=pk), shows_bodies)


def get_event_body(event_id: int) -> str:
    """Return an event as it was received, as JSON text, or "" when it is not kept any more."""
    texts = EventBody.objects.filter(pk=event_id).values_list("text", flat=True)
    return texts.first() or ""


def parse_notes(text: str) -> list[str]:
    """Return notes as they are stored, "" or a JSON list of sentences, as a list."""
    return json.loads(text) if text else []


def build_delivery_attempt(carried: Carried, attempt_body: AttemptBody | None) -> DeliveryAttempt:
    attempt = carried.attempt
    alone = attempt.items == carried.items  # nobody else's
    position_text = (
        "" if alone else f"{_describe_items(carried)} of {attempt.items:,} in this request"
    )
    position, own = carried.position, carried.items
    body = (
        extract_own_items(attempt_body.request_body, position, attempt.items, own)
        if attempt_body
        else ""
    )
    return DeliveryAttempt(attempt, carried.position, position_text, body, attempt_body)


def _describe_items(carried: Carried) -> str:
    first, last = carried.position + 1, carried.position + carried.items
    return f"item {first:,}" if first == last else f"items {first:,} to {last:,}"


def extract_own_items(body: str, position: int, items: int, own: int = 1) -> str:
    """Return a request's body with only `own` items from `position` in its list of items.

    A body that is not an object with one list of that many items is returned as it is.
    """
    if items == 1:
        return body
    envelope = parse_json_or_text(body)
    entries = envelope.items() if isinstance(envelope, dict) else ()
    lists = [key for key, value in entries if isinstance(value, list) and len(value) == items]
    if len(lists) != 1:
        return body
    part = envelope[lists[0]][position : position + own]
    return json.dumps({**envelope, lists[0]: part}, ensure_ascii=False)


def parse_json_or_text(text: str) -> Any:
    """Return JSON as what it says, and any other text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class MappingResult:
    """What a blueprint makes of an event, or why that cannot be told."""

    actions: Sequence[Action] = ()
    problem: str = ""


def apply_blueprint(event: Event, body: str, revision: Any) -> MappingResult:
    """Apply a revision to an event again: it is not stored, and a mapping is pure."""
    if not body or revision is None:
        return MappingResult(problem="The event's body or the blueprint is not kept any more.")
    try:
        return MappingResult(
            compile_revision_by_id(revision.pk).apply(
                build_message_view(build_event_message(event, body))
            )
        )
    except (BlueprintError, LookupError, TypeError, ValueError) as error:
        return MappingResult(problem=f"The blueprint cannot be applied to it: {error}")


def build_event_message(event: Event, body: str) -> Message:
    return decode_stored_message(
        body, *(getattr(event, name) for name in STORED_MESSAGE_COLUMNS[1:])
    )
