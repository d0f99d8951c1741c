"""From queued messages to the requests that carry them. No network; the database is only asked
which facts a vendor was told already."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from delivery.models import Told
from integrations.blueprints import Blueprint, view_of
from integrations.destination import Config, Destination, Item
from integrations.messages import Message

logger = logging.getLogger(__name__)


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
