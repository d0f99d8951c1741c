"""Packs items into as few requests as keep each person's order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from integrations.destination import Destination, Endpoint, Item, Request


@dataclass(slots=True)
class PlannedRequest:
    """The items that one request will carry, each with the delivery it belongs to."""

    endpoint: str
    items: list[tuple[int, Item]] = field(default_factory=list)
    size: int = 0  # bytes


def pack_requests(
    parcels: Iterable[tuple[int, str, Sequence[Item]]], destination: Destination
) -> list[PlannedRequest]:
    """Return the fewest requests that carry all items and keep each person's order.

    parcels  (delivery id, person, items), in the order in which they must arrive

    Each person's items get non-decreasing levels: an item stays on the level of the previous one
    if both are for the same endpoint, otherwise it goes one level up. Levels are sent one after
    another, so no item overtakes another of the same person; people share requests freely.
    """
    packed: dict[tuple[int, str], list[PlannedRequest]] = {}
    reached: dict[str, tuple[int, str]] = {}
    for delivery_id, person, items in parcels:
        for item in items:
            level, endpoint = reached.get(person, (0, item.endpoint))
            place = (level + (endpoint != item.endpoint), item.endpoint)
            reached[person] = place
            _add_item(packed.setdefault(place, []), delivery_id, item, destination)
    return [
        request for place in sorted(packed, key=lambda each: each[0]) for request in packed[place]
    ]


def with_idempotency_key(
    request: Request, endpoint: Endpoint, items: Sequence[tuple[int, Item]]
) -> Request:
    """Return the request with its idempotency key, in the header that the vendor reads.

    The key is a hash of the delivery ids and the items. It is the same when the request is sent
    again, and different after a change of the blueprint, because vendors reject a known key with a
    different body.
    """
    if not endpoint.idempotency_header:
        return request
    digest = sha256()
    for delivery_id, item in items:
        digest.update(b"%d:%d:" % (delivery_id, len(item.body)) + item.body)
    key = f"penstock-{digest.hexdigest()[:32]}"
    return replace(request, headers={**request.headers, endpoint.idempotency_header: key})


def _add_item(
    planned: list[PlannedRequest], delivery_id: int, item: Item, destination: Destination
) -> None:
    room = destination.endpoints[item.endpoint]
    fits = (
        planned
        and len(planned[-1].items) < room.max_items
        and planned[-1].size + len(item.body) <= room.max_bytes
    )
    if not fits:
        planned.append(PlannedRequest(item.endpoint))
    planned[-1].items.append((delivery_id, item))
    planned[-1].size += len(item.body)
