"""From queued messages to the requests that carry them. No network; the database is only asked
which facts a vendor was told already."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any

import msgspec

from delivery.ingest.parsing import Parsed, identifier
from delivery.models import Told
from integrations.blueprints import NAMED, Blueprint, View, compile_blueprint, view_of
from integrations.destination import Config, Destination, Endpoint, Item, Request
from integrations.messages import Message
from integrations.models import Revision

logger = logging.getLogger(__name__)

CUT = 255  # characters; ids as long as that were cut in their column, and stand whole in the body


@lru_cache(maxsize=256)
def compiled(revision_id: int) -> Blueprint:
    """Return the blueprint of a revision. Revisions never change, so one compilation serves."""
    return compile_blueprint(Revision.objects.get(pk=revision_id).blueprint)


@lru_cache(maxsize=256)
def compiled_of(revision: Revision) -> Blueprint:
    """Return the same of a revision that is at hand: models are equal when their ids are."""
    return compile_blueprint(revision.blueprint)


# What `message_of` needs of an event; the body's text comes first.
COLUMNS = (
    "body__text", "type", "message_id", "name", "user_id", "anonymous_id", "timestamp",
    "received_at", "added_context", "source_id",
)  # fmt: skip


def message_of(
    text: str,
    type: str,  # noqa: A002  (the column's name)
    message_id: str,
    name: str,
    user_id: str,
    anonymous_id: str,
    timestamp: datetime,
    received_at: datetime,
    added_context: str = "",
    source_id: int = 0,
) -> Message:
    """Return a stored event, given as its COLUMNS, as destinations read it."""
    body = msgspec.json.decode(text)
    if added_context:
        body["context"] = _over(body.get("context"), msgspec.json.decode(added_context))
    return Message(
        type=type,
        message_id=message_id,
        name=_whole(name, body, NAMED.get(type, "name")),
        user_id=_whole(user_id, body, "userId"),
        anonymous_id=_whole(anonymous_id, body, "anonymousId"),
        timestamp=timestamp,
        received_at=received_at,
        source=source_id,
        body=body,
    )


def _over(own: Any, added: dict[str, Any]) -> dict[str, Any]:
    return {**added, **own} if isinstance(own, dict) else added


def _whole(column: str, body: Mapping[str, Any], key: str) -> str:
    return column if len(column) < CUT else identifier(body.get(key))


class Arrival:
    """A message that has just come in, to be asked which blueprints want it.

    Its body is decoded only for a trigger that reads what no column holds, and then once.
    """

    def __init__(self, parsed: Parsed, now: datetime):
        self.parsed, self.now = parsed, now

    @property
    def person(self) -> str:
        return self.parsed.user_id or self.parsed.anonymous_id

    def is_wanted(self, blueprint: Blueprint) -> bool:
        """Say whether a blueprint wants it. A trigger that errs counts as wanting: the event is
        queued, and what is wrong will be said on its delivery."""
        reads = blueprint.reads(self.parsed.type)
        try:
            return blueprint.wants(self.columns if self._suffices(reads) else self.view)
        except (LookupError, TypeError, ValueError, RecursionError):
            logger.exception("A trigger erred for message %s", self.parsed.message_id)
            return True

    def _suffices(self, reads: frozenset[str]) -> bool:
        """Say whether the columns hold these fields whole."""
        if not reads:
            return True
        longest = max(map(len, (self.parsed.name, self.parsed.user_id, self.parsed.anonymous_id)))
        return longest < CUT and reads <= self.columns.keys()

    @cached_property
    def columns(self) -> View:
        parsed = self.parsed
        columns = {
            "type": parsed.type,
            "messageId": parsed.message_id,
            "userId": parsed.user_id or None,
            "anonymousId": parsed.anonymous_id or None,
        }
        if parsed.type in NAMED:
            columns[NAMED[parsed.type]] = parsed.name or None
        return columns

    @cached_property
    def view(self) -> View:
        return view_of(self.message)

    @property
    def message(self) -> Message:
        parsed = self.parsed
        return message_of(
            parsed.text,
            parsed.type,
            parsed.message_id,
            parsed.name,
            parsed.user_id,
            parsed.anonymous_id,
            parsed.timestamp,
            self.now,
            parsed.added_context,
        )


@dataclass(slots=True)
class Parcel:
    """What one delivery sends: its items in order, and what was changed to make them."""

    items: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    nothing: str = ""  # why there is nothing to send


def shape(
    message: Message, blueprint: Blueprint, destination: Destination, config: Config
) -> Parcel:
    """Return what a message becomes. Raises DestinationError when it cannot be sent at all."""
    parcel = Parcel(nothing="No action of the blueprint is triggered by it.")
    for action in blueprint.apply(view_of(message)):
        shaped = destination.items(action, message, config)
        parcel.items += shaped.items
        parcel.notes += shaped.notes
        parcel.nothing = shaped.nothing
    return parcel


def leave_out_told(installation_id: int, parcels: Iterable[Parcel]) -> None:
    """Take out items whose fact the vendor was told before, or is told earlier in this batch."""
    parcels = list(parcels)
    keys = {item.once[0] for parcel in parcels for item in parcel.items if item.once}
    if not keys:
        return
    rows = Told.objects.filter(installation=installation_id, key__in=keys)
    told = dict(rows.values_list("key", "value"))
    for parcel in parcels:
        parcel.items = [item for item in parcel.items if _is_news(item, told, parcel)]
        parcel.nothing = parcel.nothing or "The vendor was told this before."


def _is_news(item: Item, told: dict[str, str], parcel: Parcel) -> bool:
    if item.once is None:
        return True
    key, value = item.once
    if key not in told:
        told[key] = value
        return True
    if told[key] != value:
        parcel.notes.append(
            f"Not sent: {key} = {value}. The vendor was told {told[key]} before, and would "
            "ignore another value."
        )
    return False


@dataclass(slots=True)
class Slot:
    """The items that one request will carry, each with the delivery it belongs to."""

    endpoint: str
    items: list[tuple[int, Item]] = field(default_factory=list)
    size: int = 0  # bytes


def pack(
    parcels: Iterable[tuple[int, str, Sequence[Item]]], destination: Destination
) -> list[Slot]:
    """Return as few requests as carry everything and still keep each person's order.

    parcels  (delivery id, person, items), in the order in which they must arrive

    A person's items go to rising levels: the next one stays on its level when it is for the
    same endpoint, and goes one up when not. Levels are sent one after another, so nothing can
    overtake; items of different people share requests freely.
    """
    packed: dict[tuple[int, str], list[Slot]] = {}
    reached: dict[str, tuple[int, str]] = {}
    for delivery_id, person, items in parcels:
        for item in items:
            level, endpoint = reached.get(person, (0, item.endpoint))
            place = (level + (endpoint != item.endpoint), item.endpoint)
            reached[person] = place
            _put(packed.setdefault(place, []), delivery_id, item, destination)
    return [slot for place in sorted(packed, key=lambda each: each[0]) for slot in packed[place]]


def keyed(request: Request, endpoint: Endpoint, items: Sequence[tuple[int, Item]]) -> Request:
    """Return the request with its idempotency key in the header that the vendor takes it in.

    The key says which items of which deliveries it carries and what they say: the same when it is
    sent again, and another one when the blueprint was changed meanwhile, since vendors refuse a
    known key with another body.
    """
    if not endpoint.idempotency_header:
        return request
    digest = sha256()
    for delivery_id, item in items:
        digest.update(b"%d:%d:" % (delivery_id, len(item.body)) + item.body)
    key = f"penstock-{digest.hexdigest()[:32]}"
    return replace(request, headers={**request.headers, endpoint.idempotency_header: key})


def _put(slots: list[Slot], delivery_id: int, item: Item, destination: Destination) -> None:
    room = destination.endpoints[item.endpoint]
    fits = (
        slots
        and len(slots[-1].items) < room.max_items
        and slots[-1].size + len(item.body) <= room.max_bytes
    )
    if not fits:
        slots.append(Slot(item.endpoint))
    slots[-1].items.append((delivery_id, item))
    slots[-1].size += len(item.body)
