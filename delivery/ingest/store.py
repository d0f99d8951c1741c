"""Store messages and queue their deliveries, in one transaction."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from delivery import bulk
from delivery.ingest.errors import NotAllowed
from delivery.ingest.fan_out import Came, fan_out
from delivery.ingest.group_commit import Gathering
from delivery.ingest.parsing import Parsed, notes_text
from delivery.ingest.signatures import WINDOW
from delivery.lanes import routes as lanes_routes
from delivery.lanes import wakeups
from delivery.models import Event, EventBody, Rejection, Signature
from integrations.models import Source

logger = logging.getLogger(__name__)

FEW = 25  # messages of a request that does not have a transaction to itself
REMEMBERED = 2 * WINDOW + timedelta(minutes=1)  # a signed time may be WINDOW ahead of ours

EVENT = (
    "source_id", "message_id", "type", "name", "user_id", "anonymous_id", "timestamp",
    "received_at", "notes", "added_context",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Intake:
    """What one request held.

    refused  (index, reason, text) of each message that is not taken
    now      when it came
    """

    source: Source
    messages: Sequence[Parsed]
    refused: Sequence[tuple[int, str, str]]
    now: datetime


def store(
    source: Source,
    messages: Sequence[Parsed],
    refused: Sequence[tuple[int, str, str]],
    *,
    now: datetime,
    signature: str = "",
) -> None:
    """Store what a request held and queue its deliveries, in one transaction.

    The same message_id from the same source is one event, however often and at once it is sent.
    Lanes are woken after the commit. Small requests that come at once share a transaction. Raises
    NotAllowed when the request's signature was taken before.
    """
    intake = Intake(source, messages, refused, now)
    if signature or len(messages) > FEW:
        _store([intake], signature)
    else:
        _gathering.do(intake)


def _store(intakes: Sequence[Intake], signature: str = "") -> None:
    now = intakes[-1].now
    if signature:
        Signature.objects.filter(received_at__lt=now - REMEMBERED).delete()
    with bulk.transaction() as whole:
        if signature:
            _take(signature, now, whole)
        woken = [lane for its in _by_source(intakes) for lane in _store_of(its, whole)]
        whole.after(wakeups.bells(woken, now))
    wakeups.ring(whole.told)


_gathering = Gathering(_store)


def _by_source(intakes: Sequence[Intake]) -> list[list[Intake]]:
    """Return each source's, always in the same order: transactions that meet would deadlock."""
    found: dict[int, list[Intake]] = {}
    for each in intakes:
        found.setdefault(each.source.pk, []).append(each)
    return [found[pk] for pk in sorted(found)]


def _store_of(intakes: Sequence[Intake], whole: bulk.Transaction) -> list[int]:
    """Store what came from one source; return the lanes that have something new."""
    source = intakes[0].source.pk
    _reject(source, intakes, whole)
    came = [(message, intake.now) for intake in intakes for message in intake.messages]
    if not came:
        return []
    planned, kept = whole.rows(lanes_routes.planning(source), _insertion(source, came))
    first = {message.message_id: (message, now) for message, now in reversed(came)}
    new = [(pk, first[message_id]) for pk, message_id in sorted(kept)]
    if not new:
        return []
    bodies = ((pk, message.text) for pk, (message, _) in new)
    whole.do(bulk.insertion(EventBody, ("event_id", "text"), bodies))
    return fan_out(source, new, lanes_routes.plan(source, planned), whole)


def _reject(source: int, intakes: Sequence[Intake], whole: bulk.Transaction) -> None:
    rows = [
        (source, intake.now, reason[:300], text.replace("\x00", "�"))
        for intake in intakes
        for _, reason, text in intake.refused
    ]
    if rows:
        names = ("source_id", "received_at", "reason", "text")
        whole.do(bulk.insertion(Rejection, names, rows))


def _take(signature: str, now: datetime, whole: bulk.Transaction) -> None:
    """In the transaction of what was signed: what could not be stored may come again."""
    names, row = ("text", "received_at"), (signature, now)
    statement = bulk.insertion(Signature, names, [row], keep_first=True, returning=("id",))
    if whole.rows(statement) == [[]]:
        message = "This very request was taken before. Sign what you send again anew."
        raise NotAllowed("replayed", message, status=409)


def _insertion(source: int, came: Sequence[Came]) -> bulk.Statement:
    """Return what inserts the messages we did not have, and gives their ids."""
    rows = [
        (source, m.message_id, m.type, m.name, m.user_id, m.anonymous_id, m.timestamp, now,
         notes_text(m.notes), m.added_context)
        for m, now in came
    ]  # fmt: skip
    returned = ("id", "message_id")
    return bulk.insertion(
        Event, EVENT, rows, keep_first=True, returning=returned, meet_by="message_id"
    )
