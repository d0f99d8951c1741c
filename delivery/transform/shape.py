"""Shapes messages into the items that a vendor receives.

No network; the database is read only for the facts that a vendor already knows.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from delivery.models import Told
from integrations.blueprints import Blueprint, build_message_view
from integrations.destination import Config, Destination, Item
from integrations.messages import Message

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ShapedDelivery:
    """The items that one delivery sends, in order, and notes on what was changed for the vendor."""

    items: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    nothing: str = ""  # why there is nothing to send


def shape_message(
    message: Message, blueprint: Blueprint, destination: Destination, config: Config
) -> ShapedDelivery:
    """Return the shaped message. Raises DestinationError when it cannot be sent at all."""
    parcel = ShapedDelivery(nothing="It triggers no action of the blueprint.")
    for action in blueprint.apply(build_message_view(message)):
        shaped = destination.items(action, message, config)
        parcel.items += shaped.items
        parcel.notes += shaped.notes
        parcel.nothing = shaped.nothing
    return parcel


def leave_out_known_facts(installation_id: int, parcels: Iterable[ShapedDelivery]) -> None:
    """Drop items whose fact the vendor already knows, or receives earlier in this batch."""
    parcels = list(parcels)
    keys = {item.once[0] for parcel in parcels for item in parcel.items if item.once}
    if not keys:
        return
    rows = Told.objects.filter(installation=installation_id, key__in=keys)
    known_facts = dict(rows.values_list("key", "value"))
    for parcel in parcels:
        parcel.items = [item for item in parcel.items if _is_new_fact(item, known_facts, parcel)]
        parcel.nothing = parcel.nothing or "The vendor already knows this fact."


def _is_new_fact(item: Item, known_facts: dict[str, str], parcel: ShapedDelivery) -> bool:
    if item.once is None:
        return True
    key, value = item.once
    if key not in known_facts:
        known_facts[key] = value
        return True
    if known_facts[key] != value:
        parcel.notes.append(
            f"Not sent: {key} = {value}. The vendor already has {known_facts[key]} and ignores "
            "another value."
        )
    return False
