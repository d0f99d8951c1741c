"""Store messages and queue their deliveries, in one transaction."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from django.db import transaction

from delivery import bulk, lanes
from delivery.ingest.errors import NotAllowed
from delivery.ingest.parsing import Parsed, notes_text
from delivery.ingest.signing import WINDOW
from delivery.models import Delivery, Event, EventBody, Rejection, Signature, Tally
from delivery.shaping import Arrival, compiled
from integrations.blueprints import BlueprintError
from integrations.models import Source

logger = logging.getLogger(__name__)

REMEMBERED = 2 * WINDOW + timedelta(minutes=1)  # a signed time may be WINDOW ahead of ours

EVENT = (
    "source_id", "message_id", "type", "name", "user_id", "anonymous_id", "timestamp",
    "received_at", "notes", "added_context",
)  # fmt: skip
DELIVERY = (
    "event_id", "installation_id", "lane_id", "state", "queued_at", "attempts", "failures", "error",
    "reason", "notes",
)  # fmt: skip


def store(
    source: Source,
    messages: Sequence[Parsed],
    refused: Sequence[tuple[int, str, str]],
    *,
    now: datetime,
    signature: str = "",
) -> int:
    """Store what a request held and queue its deliveries; return how many events are new.

    The same message_id from the same source is one event, however often and at once it is sent.
    Lanes are woken after the commit. Raises NotAllowed when the request's signature was taken
    before.
    """
    with transaction.atomic(), bulk.few_waits():
        if signature:
            _take(signature, now)
        asked = lanes.ask(source.pk)  # the rows are waited for together with those of the events
        new = _events(source, messages, now)
        woken = _fan_out(source, new, lanes.plan(source.pk, asked), now) if new else []
        if refused:
            rows = [
                (source.pk, now, reason[:300], text.replace("\x00", "�"))
                for _, reason, text in refused
            ]
            bulk.insert(Rejection, ("source_id", "received_at", "reason", "text"), rows)
    if woken:
        lanes.wake(woken)
    return len(new)


def _take(signature: str, now: datetime) -> None:
    """In the transaction of what was signed: what could not be stored may come again."""
    Signature.objects.filter(received_at__lt=now - REMEMBERED).delete()
    row = [(signature, now)]
    names = ("text", "received_at")
    if not bulk.insert(Signature, names, row, keep_first=True, returning=("id",)):
        message = "This very request was taken before. Sign what you send again anew."
        raise NotAllowed("replayed", message, status=409)


def _events(source: Source, messages: Sequence[Parsed], now: datetime) -> list[tuple[int, Parsed]]:
    """Insert the messages we did not have; return them with their ids, in order."""
    first = {message.message_id: message for message in reversed(messages)}
    rows = [
        (source.pk, m.message_id, m.type, m.name, m.user_id, m.anonymous_id, m.timestamp, now,
         notes_text(m.notes), m.added_context)
        for m in messages
    ]  # fmt: skip
    if not rows:
        return []
    returned = bulk.insert(
        Event,
        EVENT,
        rows,
        keep_first=True,
        returning=("id", "message_id"),
        meet_by="message_id",
    )
    new = [(pk, first[message_id]) for pk, message_id in sorted(returned)]
    if new:
        bulk.insert(EventBody, ("event_id", "text"), ((pk, m.text) for pk, m in new))
    return new


def _fan_out(
    source: Source,
    new: Sequence[tuple[int, Parsed]],
    routes: Sequence[lanes.Route],
    now: datetime,
) -> list[int]:
    """Queue a delivery for each installation that wants an event, count the others.

    Return the lanes that have something new.
    """
    arrivals = {pk: Arrival(message, now) for pk, message in new}
    rows, unwanted = [], {}
    for route in routes:
        wanted = _wanted(route.revision_id, arrivals)
        rows += [
            (pk, route.installation_id, route.lane_of(arrivals[pk].person),
             Delivery.State.QUEUED, now, 0, 0, "", "", "")
            for pk in wanted
        ]  # fmt: skip
        unwanted[route.installation_id] = len(new) - len(wanted)
    if rows:
        rows.sort()  # by event, so that deliveries of all lanes rise together
        bulk.insert(Delivery, DELIVERY, rows)
    tally = (source.pk, now, len(new), msgspec.json.encode(unwanted).decode())
    bulk.insert(Tally, ("source_id", "at", "events", "unwanted"), [tally])
    return sorted({lane for _, _, lane, *_ in rows})


def _wanted(revision: int, arrivals: Mapping[int, Arrival]) -> list[int]:
    try:
        blueprint = compiled(revision)
    except BlueprintError:
        logger.exception("Revision %s cannot be compiled", revision)
        return list(arrivals)  # it counts as wanting: nothing is lost when it is mended
    return [pk for pk, arrival in arrivals.items() if arrival.is_wanted(blueprint)]
