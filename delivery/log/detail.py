"""Loads one delivery with its event, attempts, mapping result and replays.

The admin and the API both read deliveries here, so that they show the same.
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
from integrations.formats.json_values import parse_json_or_text
from integrations.messages import Message
from integrations.models import Revision

DETAIL_MAX_ATTEMPTS = 100  # attempts of a delivery that are shown
ATTEMPTS_WITH_BODIES = 5  # newest attempts shown with bodies, because a body can be a megabyte
MAX_BODY_CHARS = 200_000  # characters of a body that a page includes


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """An attempt from the view of one delivery.

    body    the request body reduced to the delivery's own items, or "" when not loaded
    position_text   "item 17 of 1,000 in this request", or "" when the request carried nothing else
    """

    attempt: Attempt
    position: int
    position_text: str
    body: str
    attempt_body: AttemptBody | None


@dataclass(frozen=True)
class DeliveryDetail:
    """A delivery with everything that its page and the API show.

    shows_bodies  whether the reader may see bodies; if not, none is loaded
    """

    delivery: Delivery
    shows_bodies: bool

    @cached_property
    def body(self) -> str:
        """The event as received, as JSON text, or "" when it is hidden or no longer stored."""
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
        """The revision that shaped the delivery, or the current one before it is shaped."""
        return self.delivery.revision or self.delivery.installation.revision

    @cached_property
    def replays(self) -> list[Replay]:
        """The replays that queued the delivery, newest first."""
        rows = Replayed.objects.filter(delivery=self.delivery).select_related("replay")
        return [each.replay for each in rows.order_by("-replay_id")[:DETAIL_MAX_ATTEMPTS]]

    @cached_property
    def attempts(self) -> list[DeliveryAttempt]:
        """The attempts, newest first."""
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
    """Return a delivery with its details. Raises Delivery.DoesNotExist."""
    rows = deliveries_with_relations().select_related(
        "event__source", "installation__revision", "revision"
    )
    return DeliveryDetail(rows.get(pk=pk), shows_bodies)


def get_event_body(event_id: int) -> str:
    """Return an event as received, as JSON text, or "" when it is no longer stored."""
    texts = EventBody.objects.filter(pk=event_id).values_list("text", flat=True)
    return texts.first() or ""


def parse_notes(text: str) -> list[str]:
    """Return stored notes, which are "" or a JSON list of sentences, as a list."""
    return json.loads(text) if text else []


def build_delivery_attempt(carried: Carried, attempt_body: AttemptBody | None) -> DeliveryAttempt:
    attempt = carried.attempt
    alone = attempt.items == carried.items  # the request carried no other delivery
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
    """Return a request body reduced to `own` items from `position` of its list of items.

    A body that is not an object with one list of that many items is returned unchanged.
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


@dataclass(frozen=True, slots=True)
class MappingResult:
    """The actions that a blueprint makes of an event, or why they are unknown."""

    actions: Sequence[Action] = ()
    problem: str = ""


def apply_blueprint(event: Event, body: str, revision: Any) -> MappingResult:
    """Apply a revision to an event again. Mappings are pure, so their result is not stored."""
    if not body or revision is None:
        return MappingResult(problem="The event's body or the blueprint is no longer stored.")
    try:
        return MappingResult(
            compile_revision_by_id(revision.pk).apply(
                build_message_view(build_event_message(event, body))
            )
        )
    except (BlueprintError, LookupError, TypeError, ValueError) as error:
        return MappingResult(problem=f"The blueprint cannot be applied: {error}")


def build_event_message(event: Event, body: str) -> Message:
    return decode_stored_message(
        body, *(getattr(event, name) for name in STORED_MESSAGE_COLUMNS[1:])
    )
