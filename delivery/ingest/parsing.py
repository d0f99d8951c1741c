"""Parses a request body into valid messages. Pure: no database, no clock.

The SDKs' requests and their handling of responses were recorded from the real packages (November
2026); the facts in the comments come from those recordings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from delivery.ingest import json_repair
from delivery.ingest.enrichment import NO_ADDED_CONTEXT, AddedContext
from delivery.ingest.envelope import (
    MAX_NESTING_LEVELS,
    Envelope,
    decode_scalar,
    raw_messages,
    shared_fields,
    with_masked_write_key,
    with_shared_fields,
)
from delivery.ingest.errors import UnreadableRequest
from delivery.ingest.timestamps import correct_clock_skew, read_time
from delivery.transform.switches import Switches, read_switches
from integrations.messages import MESSAGE_TYPES, normalize_id

MAX_COLUMN_CHARS = 255  # size of an id or name column; the body keeps the full text
MAX_MESSAGE_KEYS = 2_000  # in all objects of one message together
OBJECT_FIELDS = ("properties", "traits", "context", "integrations")


class IngestLimits(NamedTuple):
    """Maximum bytes of a message, messages of a request, and bytes of a request."""

    message_bytes: int
    messages: int
    request_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """Everything about a request except its body.

    now            when it was received
    implied_type   the message type that the URL implies, or ""
    is_single      whether the body is one message; always so with an implied type
    visitor_id     the anonymous id for messages that have none, or ""
    added_context  context to merge beneath the messages' own
    repair_notes   notes for every message: repairs of the whole body
    """

    now: datetime
    limits: IngestLimits
    implied_type: str = ""
    is_single: bool = False
    visitor_id: str = ""
    added_context: AddedContext = NO_ADDED_CONTEXT
    repair_notes: tuple[str, ...] = ()


class MessageRejected(Exception):
    """One message is rejected; the text names the field and the fix."""


class MessageFields(msgspec.Struct):
    """The fields of a message that ingest reads.

    Each accepts any type, so that a wrong type is rejected by field name, or converted.
    """

    type: Any = None
    event: Any = None
    name: Any = None
    userId: Any = None  # noqa: N815
    anonymousId: Any = None  # noqa: N815
    previousId: Any = None  # noqa: N815
    groupId: Any = None  # noqa: N815
    messageId: Any = None  # noqa: N815
    timestamp: Any = None
    originalTimestamp: Any = None  # noqa: N815
    sentAt: Any = None  # noqa: N815
    properties: Any = None
    traits: Any = None
    context: Any = None
    integrations: Any = None
    writeKey: Any = None  # noqa: N815


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedMessage:
    """A valid message, ready to be stored. Ids and names are truncated to their columns.

    text           JSON as received, or as repaired; notes list the repairs
    added_context  JSON of the context to merge beneath its own, or ""
    switches       the destinations that its sender switched off, or None
    """

    message_id: str
    type: str
    name: str
    user_id: str
    anonymous_id: str
    timestamp: datetime
    text: str
    notes: tuple[str, ...] = ()
    added_context: str = ""
    switches: Switches | None = None


@dataclass(slots=True)
class ParsedBatch:
    """The valid and the rejected messages of a request."""

    messages: list[ParsedMessage] = field(default_factory=list)
    rejected: list[tuple[int, str, str]] = field(default_factory=list)  # (index, reason, text)


def parse_messages(body: bytes, envelope: Envelope, request: RequestContext) -> ParsedBatch:
    """Return the valid messages of a request, and the reasons for rejecting the others.

    Messages are sorted by timestamp, because SDKs do not always batch them in the order of the
    calls, and events are delivered in the order in which they are stored.

    Raises UnreadableRequest when the body has no batch, too many messages, or is too large.
    """
    is_single, limits = request.is_single or bool(request.implied_type), request.limits
    raws = [body] if is_single else raw_messages(body, envelope)
    shared = b"" if is_single else shared_fields(envelope)
    _check_request(body, len(raws), shared, limits)
    sent_at = read_time(decode_scalar(envelope.sentAt))
    result = ParsedBatch()
    for index, raw in enumerate(map(bytes, raws)):
        try:
            _check_message(raw, len(shared), limits)
            result.messages.append(
                _parse_message(with_shared_fields(shared, raw), request, sent_at)
            )
        except MessageRejected as refusal:
            text = raw[: limits.message_bytes].decode("utf-8", "replace")
            result.rejected.append((index, str(refusal), text))
    result.messages.sort(key=attrgetter("timestamp"))
    return result


def _check_request(body: bytes, messages: int, shared: bytes, limits: IngestLimits) -> None:
    """Raise UnreadableRequest when the request is too large, as sent or with its shared context
    copied into each message."""
    if messages > limits.messages:
        message = f"{messages:,} messages in one request; send at most {limits.messages:,}."
        raise UnreadableRequest("too_many_messages", message, text=body)
    if messages * len(shared) > limits.request_bytes:
        message = f"{messages:,} messages cannot share a context of {len(shared):,} bytes."
        raise UnreadableRequest("too_large", message, status=413, text=body)
    if json_repair.is_nested_deeper(shared, MAX_NESTING_LEVELS):
        message = f"The shared context is nested deeper than {MAX_NESTING_LEVELS} levels."
        raise UnreadableRequest("too_deep", message, text=body)


def _check_message(raw: bytes, shared: int, limits: IngestLimits) -> None:
    """Raise MessageRejected for a message that is not safe to decode."""
    size = len(raw) + shared
    if size > limits.message_bytes:
        raise MessageRejected(f"The message has {size:,} bytes; at most {limits.message_bytes:,}.")
    if json_repair.is_nested_deeper(raw, MAX_NESTING_LEVELS):
        raise MessageRejected(f"The message is nested deeper than {MAX_NESTING_LEVELS} levels.")
    if json_repair.has_more_keys(raw, MAX_MESSAGE_KEYS):
        raise MessageRejected(f"The message has more than {MAX_MESSAGE_KEYS:,} keys.")


def _parse_message(raw: bytes, request: RequestContext, sent_at: datetime | None) -> ParsedMessage:
    raw, fields, notes = _decode_message(raw)
    kind = request.implied_type or fields.type
    if kind not in MESSAGE_TYPES:
        sent = "" if fields.type is None else f", not {str(fields.type)[:40]!r}"
        raise MessageRejected(f"type: must be one of {', '.join(MESSAGE_TYPES)}{sent}.")
    user_id = normalize_id(fields.userId)
    anonymous_id = normalize_id(fields.anonymousId) or request.visitor_id
    name = _event_name(kind, fields, user_id, anonymous_id)
    timestamp, time_notes = _event_timestamp(fields, request.now, sent_at)
    text = (raw if fields.writeKey is None else with_masked_write_key(raw)).decode("utf-8")
    return ParsedMessage(
        message_id=_message_id(normalize_id(fields.messageId)),
        type=kind,
        name=_fit_column(name),
        user_id=_fit_column(user_id),
        anonymous_id=_fit_column(anonymous_id),
        timestamp=timestamp,
        text=text,
        added_context=request.added_context.for_message(text),
        switches=read_switches(fields.integrations),
        notes=(
            *request.repair_notes,
            *notes,
            *time_notes,
            *_unread_value_notes(fields, name + user_id + anonymous_id),
        ),
    )


def _decode_message(raw: bytes) -> tuple[bytes, MessageFields, tuple[str, ...]]:
    """Return a message as strict JSON, the fields that ingest reads, and notes on repairs.

    The whole message is decoded here, so that the worker can decode everything that is stored.
    """
    try:
        raw, data, notes = json_repair.decode_or_repair(raw, msgspec.json.decode)
        return raw, msgspec.convert(data, MessageFields), notes
    except ValueError as error:
        raise MessageRejected(f"The message cannot be parsed: {error}") from None


def _unread_value_notes(fields: MessageFields, columns: str) -> Iterator[str]:
    """Yield notes about values that are accepted but ignored or changed."""
    for name in OBJECT_FIELDS:
        value = getattr(fields, name)
        if value is not None and not isinstance(value, dict):
            yield f"{name}: ignored because it is not an object."
    if "\x00" in columns:
        yield "NUL characters in its ids or name were replaced by �."


def _event_name(kind: str, fields: MessageFields, user_id: str, anonymous_id: str) -> str:
    """Return the event's name. Raises MessageRejected when a field of its type is missing."""
    if not (user_id or anonymous_id):
        raise MessageRejected("userId or anonymousId: one is required, as a string or a number.")
    if kind == "track":
        name = normalize_id(fields.event)
        if not name:
            raise MessageRejected("event: required for a track.")
        return name
    if kind == "group" and not normalize_id(fields.groupId):
        raise MessageRejected("groupId: required for a group.")
    if kind == "alias" and not normalize_id(fields.previousId):
        raise MessageRejected("previousId: required for an alias.")
    return normalize_id(fields.name) if kind in ("page", "screen") else ""


def _message_id(given: str) -> str:
    """Return the id that deduplicates a message; a generated one when the source gave none."""
    if not given:
        return f"ps-{uuid4()}"
    if len(given) <= MAX_COLUMN_CHARS and "\x00" not in given:
        return given
    # Truncating it or replacing characters could make two different ids equal.
    return f"sha256-{sha256(given.encode()).hexdigest()}"


def _fit_column(text: str) -> str:
    return text[:MAX_COLUMN_CHARS].replace("\x00", "�")  # PostgreSQL cannot store NUL


def _event_timestamp(
    fields: MessageFields, now: datetime, sent_at: datetime | None
) -> tuple[datetime, tuple[str, ...]]:
    """Return the event's time by the server's clock, with a note if that is not the sent time."""
    name, given = _given_time(fields)
    if not name:
        return now, ()
    at = read_time(given)
    if at is None:
        note = f"{name} {str(given)[:40]!r} names no certain time; the time of receipt is used."
        return now, (note,)
    # The envelope's sentAt is the time of this request; a queued message may carry an older one.
    ours = correct_clock_skew(at, sent_at or read_time(fields.sentAt), now)
    if ours == at:
        return at, ()
    off = (at - ours).total_seconds()
    note = f"The sender's clock was {abs(off):.0f} s {'fast' if off > 0 else 'slow'}; corrected."
    return ours, (note,)


def _given_time(fields: MessageFields) -> tuple[str, Any]:
    """Return the name and value of the message's time, or two empty strings.

    RudderStack's browser SDK sends `originalTimestamp` only; when both are present, `timestamp` was
    set by the caller.
    """
    for name in ("timestamp", "originalTimestamp"):
        given = getattr(fields, name)
        if given is not None and given != "":
            return name, given
    return "", None


def encode_notes(notes: Sequence[str]) -> str:
    """Return notes as a JSON list; "" when there are none."""
    return msgspec.json.encode(notes).decode() if notes else ""
