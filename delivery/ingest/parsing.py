"""From the bytes of a request to messages ready to be stored. Pure: no database, no clock.

What the SDKs send, and what they make of our answers, was recorded from the real packages; the
facts named in the comments are from those recordings (November 2026).
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
    WRITE_KEY_PATTERN,
    Envelope,
    raw_messages,
    shared_fields,
    with_shared_fields,
)
from delivery.ingest.errors import UnreadableRequest
from delivery.ingest.timestamps import correct_clock_skew, read_time
from integrations.messages import MESSAGE_TYPES, normalize_id

MAX_COLUMN_CHARS = 255  # characters of an id or a name that its column holds; the body holds all
MAX_MESSAGE_KEYS = 2_000  # of all objects of one message
OBJECT_FIELDS = ("properties", "traits", "context")


class IngestLimits(NamedTuple):
    """Most bytes of a message, most messages of a request, most bytes of a request."""

    message_bytes: int
    messages: int
    request_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What is known of a request besides its body.

    now      when we received it
    implied_type  the type that the address stands for, or ""
    is_single   whether the body is one message, as it is with an implied type
    visitor_id  the anonymous id of messages that have none, or ""
    added_context    context that lies under that of the messages
    repair_notes   notes for every message: what had to be mended of the whole
    """

    now: datetime
    limits: IngestLimits
    implied_type: str = ""
    is_single: bool = False
    visitor_id: str = ""
    added_context: AddedContext = NO_ADDED_CONTEXT
    repair_notes: tuple[str, ...] = ()


class MessageRejected(Exception):
    """One message cannot be taken; the reason names the field and the fix."""


class MessageFields(msgspec.Struct):
    """What we look at of a message. Any type: a wrong one is refused with its name, or mended."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedMessage:
    """A valid message, as it will be stored. Ids and names are cut to their columns.

    text           JSON as it came, or as it was mended; notes say what was
    added_context  JSON of what lies under its context, or ""
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


@dataclass(slots=True)
class ParsedBatch:
    """What a request held."""

    messages: list[ParsedMessage] = field(default_factory=list)
    rejected: list[tuple[int, str, str]] = field(default_factory=list)  # (index, reason, text)


def parse_messages(body: bytes, envelope: Envelope, request: RequestContext) -> ParsedBatch:
    """Return the messages of a request: all that are valid, and why the others are not.

    They come in the order in which they happened: that of a batch is not always the order of the
    calls, and what is stored first is delivered first.

    Raises Unreadable when there is no message to look at, or there are too many.
    """
    is_single, limits = request.is_single or bool(request.implied_type), request.limits
    raws = [body] if is_single else raw_messages(body, envelope)
    shared = b"" if is_single else shared_fields(envelope)
    _check_request(body, len(raws), shared, limits)
    sent_at = read_time(envelope.sentAt)
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
    """Raise Unreadable when the request is too large as a whole, or would be once taken apart."""
    if messages > limits.messages:
        message = f"{messages:,} messages in one request; send at most {limits.messages:,}."
        raise UnreadableRequest("too_many_messages", message, text=body)
    if messages * len(shared) > limits.request_bytes:
        message = f"{messages:,} messages cannot share a context of {len(shared):,} bytes."
        raise UnreadableRequest("too_large", message, status=413, text=body)
    if json_repair.is_nested_deeper(shared, MAX_NESTING_LEVELS):
        message = f"The context that is shared is nested deeper than {MAX_NESTING_LEVELS} levels."
        raise UnreadableRequest("too_deep", message, text=body)


def _check_message(raw: bytes, shared: int, limits: IngestLimits) -> None:
    """Raise Refused for a message that must not be decoded at all."""
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
        raise MessageRejected(
            f"type: must be one of {', '.join(MESSAGE_TYPES)}, not {str(fields.type)[:40]!r}."
        )
    user_id = normalize_id(fields.userId)
    anonymous_id = normalize_id(fields.anonymousId) or request.visitor_id
    name = _event_name(kind, fields, user_id, anonymous_id)
    timestamp, time_notes = _event_timestamp(fields, request.now, sent_at)
    text = WRITE_KEY_PATTERN.sub(rb'\1***"', raw).decode("utf-8")
    return ParsedMessage(
        message_id=_message_id(normalize_id(fields.messageId)),
        type=kind,
        name=_fit_column(name),
        user_id=_fit_column(user_id),
        anonymous_id=_fit_column(anonymous_id),
        timestamp=timestamp,
        text=text,
        added_context=request.added_context.for_message(text),
        notes=(
            *request.repair_notes,
            *notes,
            *time_notes,
            *_unread_value_notes(fields, name + user_id + anonymous_id),
        ),
    )


def _decode_message(raw: bytes) -> tuple[bytes, MessageFields, tuple[str, ...]]:
    """Return a message as strict JSON, its fields that we read, and notes on what was repaired.

    All of it is decoded here once: what is stored, the worker can read.
    """
    try:
        raw, data, notes = json_repair.decode_or_repair(raw, msgspec.json.decode)
        return raw, msgspec.convert(data, MessageFields), notes
    except ValueError as error:
        raise MessageRejected(f"The message is not usable: {error}") from None


def _unread_value_notes(fields: MessageFields, columns: str) -> Iterator[str]:
    """Return notes about what is taken but will not be seen as it was sent."""
    for name in OBJECT_FIELDS:
        value = getattr(fields, name)
        if value is not None and not isinstance(value, dict):
            yield f"{name}: it is no object, so nothing of it is read."
    if "\x00" in columns:
        yield "NUL characters in its ids or its name are shown as �."


def _event_name(kind: str, fields: MessageFields, user_id: str, anonymous_id: str) -> str:
    """Return the name of what happened. Raises Refused when the type's own fields are missing."""
    if not (user_id or anonymous_id):
        raise MessageRejected("userId or anonymousId: one of them is needed.")
    if kind == "track":
        name = normalize_id(fields.event)
        if not name:
            raise MessageRejected("event: a track needs the name of its event.")
        return name
    if kind == "group" and not normalize_id(fields.groupId):
        raise MessageRejected("groupId: a group needs it.")
    if kind == "alias" and not normalize_id(fields.previousId):
        raise MessageRejected("previousId: an alias needs it.")
    return normalize_id(fields.name) if kind in ("page", "screen") else ""


def _message_id(given: str) -> str:
    """Return the id under which a message is stored once: ours when the source gave none."""
    if not given:
        return f"ps-{uuid4()}"
    if len(given) <= MAX_COLUMN_CHARS and "\x00" not in given:
        return given
    # a cut, or a replacement, would make two different ids one
    return f"sha256-{sha256(given.encode()).hexdigest()}"


def _fit_column(text: str) -> str:
    return text[:MAX_COLUMN_CHARS].replace("\x00", "�")  # PostgreSQL keeps no NUL in a text


def _event_timestamp(
    fields: MessageFields, now: datetime, sent_at: datetime | None
) -> tuple[datetime, tuple[str, ...]]:
    """Return when it happened by our clock, and a note when that is not what the sender said."""
    name, given = _given_time(fields)
    if not name:
        return now, ()
    at = read_time(given)
    if at is None:
        note = f"{name} {str(given)[:40]!r} is no time we can read: the time of receipt is used."
        return now, (note,)
    # the envelope's is of the sending itself; a message that waited may carry an older one
    ours = correct_clock_skew(at, sent_at or read_time(fields.sentAt), now)
    if ours == at:
        return at, ()
    off = (at - ours).total_seconds()
    note = f"The sender's clock was {abs(off):.0f} s {'fast' if off > 0 else 'slow'}: corrected."
    return ours, (note,)


def _given_time(fields: MessageFields) -> tuple[str, Any]:
    """RudderStack's browser SDK gives `originalTimestamp` only; with both, `timestamp` is the
    caller's own."""
    for name in ("timestamp", "originalTimestamp"):
        given = getattr(fields, name)
        if given is not None and given != "":
            return name, given
    return "", None


def encode_notes(notes: Sequence[str]) -> str:
    """Return notes as their column keeps them: a JSON list, or nothing."""
    return msgspec.json.encode(notes).decode() if notes else ""
