"""Stores messages and queues their deliveries in one transaction."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from delivery import bulk
from delivery.ingest.errors import NotAllowed
from delivery.ingest.fan_out import ReceivedMessage, fan_out
from delivery.ingest.group_commit import GroupCommit
from delivery.ingest.parsing import ParsedMessage, encode_notes
from delivery.ingest.signatures import SIGNATURE_TOLERANCE
from delivery.lanes import routes as lanes_routes
from delivery.lanes import wakeups
from delivery.models import Event, EventBody, Rejection, Signature
from delivery.telemetry import instruments
from integrations.encryption import MASK
from integrations.models import Source, WriteKey

logger = logging.getLogger(__name__)

GROUP_COMMIT_MAX_MESSAGES = 25  # a request with more messages gets its own transaction
SIGNATURE_RETENTION = 2 * SIGNATURE_TOLERANCE + timedelta(
    minutes=1
)  # a signed time may be SIGNATURE_TOLERANCE ahead of the server's

NEW_EVENT_COLUMNS = (
    "source_id", "message_id", "type", "name", "user_id", "anonymous_id", "timestamp",
    "received_at", "notes", "added_context",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """The messages of one request.

    rejected  (index, reason, text) of each rejected message
    now       when the request was received
    """

    source: Source
    messages: Sequence[ParsedMessage]
    rejected: Sequence[tuple[int, str, str]]
    now: datetime


def store_messages(
    source: Source,
    messages: Sequence[ParsedMessage],
    rejected: Sequence[tuple[int, str, str]],
    *,
    now: datetime,
    signature: str = "",
) -> None:
    """Store the messages of a request and queue their deliveries, in one transaction.

    The same message_id from the same source is one event, however often and however concurrently
    it is sent. Lanes are woken after the commit. Small concurrent requests share a transaction.
    Raises NotAllowed when a request with the same signature was already accepted.
    """
    if rejected:
        rejected = _without_write_keys(source, rejected)
    request = IngestRequest(source, messages, rejected, now)
    if signature or len(messages) > GROUP_COMMIT_MAX_MESSAGES:
        _store_requests([request], signature)
    else:
        _group_commit.do(request)


def _store_requests(requests: Sequence[IngestRequest], signature: str = "") -> None:
    began = time.perf_counter()
    try:
        _store_in_transaction(requests, signature)
    finally:
        instruments.observe_store(time.perf_counter() - began)


def _store_in_transaction(requests: Sequence[IngestRequest], signature: str) -> None:
    now = requests[-1].now
    if signature:
        Signature.objects.filter(received_at__lt=now - SIGNATURE_RETENTION).delete()
    with bulk.transaction() as transaction:
        if signature:
            _claim_signature(signature, now, transaction)
        woken = [
            lane
            for its in _group_by_source(requests)
            for lane in _store_from_source(its, transaction)
        ]
        transaction.on_commit(wakeups.wakeup_statements(woken, now))
    wakeups.enqueue_wakeups(transaction.on_commit_rows)


_group_commit = GroupCommit(_store_requests)


def _group_by_source(requests: Sequence[IngestRequest]) -> list[list[IngestRequest]]:
    """Return the requests of each source, ordered by source id so that concurrent transactions
    cannot deadlock."""
    found: dict[int, list[IngestRequest]] = {}
    for each in requests:
        found.setdefault(each.source.pk, []).append(each)
    return [found[pk] for pk in sorted(found)]


def _store_from_source(
    requests: Sequence[IngestRequest], transaction: bulk.Transaction
) -> list[int]:
    """Store the messages of one source; return the lanes with new deliveries."""
    source = requests[0].source.pk
    _insert_rejections(source, requests, transaction)
    came = [(message, request.now) for request in requests for message in request.messages]
    if not came:
        return []
    planned, kept = transaction.rows(
        lanes_routes.routes_statement(source), _event_insert_statement(source, came)
    )
    first = {message.message_id: (message, now) for message, now in reversed(came)}
    new = [(pk, first[message_id]) for pk, message_id in sorted(kept)]
    if not new:
        return []
    bodies = ((pk, message.text) for pk, (message, _) in new)
    transaction.do(bulk.insert_statement(EventBody, ("event_id", "text"), bodies))
    return fan_out(source, new, lanes_routes.plan_routes(source, planned), transaction)


def _without_write_keys(
    source: Source, rejected: Sequence[tuple[int, str, str]]
) -> list[tuple[int, str, str]]:
    further = WriteKey.objects.filter(source=source).values_list("key", flat=True)
    masked = []
    for index, reason, text in rejected:
        for key in (source.write_key, *further):
            text = text.replace(key, MASK)
        masked.append((index, reason, text))
    return masked


def _insert_rejections(
    source: int, requests: Sequence[IngestRequest], transaction: bulk.Transaction
) -> None:
    rows = [
        (source, request.now, reason[:300], text.replace("\x00", "�"))
        for request in requests
        for _, reason, text in request.rejected
    ]
    if rows:
        names = ("source_id", "received_at", "reason", "text")
        transaction.do(bulk.insert_statement(Rejection, names, rows))


def _claim_signature(signature: str, now: datetime, transaction: bulk.Transaction) -> None:
    """Record a signature so that it is accepted once. Raises NotAllowed if it was already used.

    Runs in the transaction of the signed messages, so that a request that was not stored can be
    retried.
    """
    names, row = ("text", "received_at"), (signature, now)
    statement = bulk.insert_statement(
        Signature, names, [row], ignore_conflicts=True, returning=("id",)
    )
    if transaction.rows(statement) == [[]]:
        message = "This signed request was already accepted. Sign it again to resend it."
        raise NotAllowed("replayed", message, status=409)


def _event_insert_statement(source: int, came: Sequence[ReceivedMessage]) -> bulk.Statement:
    """Return the statement that inserts the new messages and returns their ids."""
    rows = [
        (source, m.message_id, m.type, m.name, m.user_id, m.anonymous_id, m.timestamp, now,
         encode_notes(m.notes), m.added_context)
        for m, now in came
    ]  # fmt: skip
    returned = ("id", "message_id")
    return bulk.insert_statement(
        Event,
        NEW_EVENT_COLUMNS,
        rows,
        ignore_conflicts=True,
        returning=returned,
        lock_order="message_id",
    )
