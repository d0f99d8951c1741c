"""From the bytes of a request to messages ready to be stored. Pure: no database, no clock.

What the SDKs send, and what they make of our answers, was recorded from the real packages; the
facts named in the comments are from those recordings (November 2026).
"""

import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

import msgspec

from delivery.ingest.errors import Unreadable
from integrations.messages import TYPES

COLUMN = 255  # characters of an id or a name that its column holds; the body holds all
MILLISECONDS = 100_000_000_000  # a number above is unix time in ms, below in s (year 5138)
WRITE_KEY = re.compile(rb'("writeKey"\s*:\s*")[^"]*"')
MENDED = (
    "The request was no strict JSON: NaN and Infinity became null, halves of characters were "
    "replaced."
)


class Refused(Exception):
    """One message cannot be taken; the reason names the field and the fix."""


class Envelope(msgspec.Struct):
    """What stands around the messages of a request; each message stays raw bytes."""

    batch: list[msgspec.Raw] | None = None
    writeKey: Any = None  # noqa: N815  (names of the wire)
    context: msgspec.Raw = msgspec.Raw()
    integrations: msgspec.Raw = msgspec.Raw()


class Call(msgspec.Struct):
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
    writeKey: Any = None  # noqa: N815


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A valid message, as it will be stored. Ids and names are cut to their columns.

    text    JSON as it came, or as it was mended; notes say what was
    """

    message_id: str
    type: str
    name: str
    user_id: str
    anonymous_id: str
    timestamp: datetime
    text: str
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Batch:
    """What a request held."""

    messages: list[Parsed] = field(default_factory=list)
    refused: list[tuple[int, str, str]] = field(default_factory=list)  # (index, reason, text)


_envelope = msgspec.json.Decoder(Envelope)
_call = msgspec.json.Decoder(Call)
_raw_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decoded(body: bytes, encoding: str, *, limit: int) -> bytes:
    """Return the body unpacked. Raises Unreadable when it is broken, or too large unpacked.

    limit  bytes; a gzip bomb is unpacked no further than that
    """
    if encoding.strip().lower() in ("gzip", "x-gzip"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(body)) as unpacked:
                body = unpacked.read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise Unreadable("invalid_encoding", f"The body is not gzip: {error}") from None
    if len(body) > limit:
        message = f"The request is larger than {limit:,} bytes. Send fewer messages in one."
        raise Unreadable("too_large", message, status=413)
    return body


def opened(body: bytes) -> tuple[bytes, Envelope, tuple[str, ...]]:
    """Return the body as clean JSON, its envelope, and what had to be mended.

    Python's SDKs send NaN and Infinity, JavaScript's send halves of surrogate pairs: neither is
    JSON, and neither may cost the batch they came in.
    """
    try:
        return body, _envelope.decode(body), ()
    except (ValueError, RecursionError) as error:
        mended = _mended(body, str(error))
        try:
            return mended, _envelope.decode(mended), (MENDED,)
        except (ValueError, RecursionError):
            raise Unreadable("invalid_json", f"The body is not usable: {error}") from None


def parse(
    body: bytes,
    envelope: Envelope,
    *,
    implied: str,
    now: datetime,
    limits: tuple[int, int],
    mended: tuple[str, ...] = (),
) -> Batch:
    """Return the messages of a request: all that are valid, and why the others are not.

    implied  the type that the address stands for, or "" for a batch
    mended   notes for every message: what had to be mended of the whole
    limits   most bytes of a message, most messages of a request

    Raises Unreadable when there is no message to look at, or there are too many.
    """
    most_bytes, most_messages = limits
    raws = [body] if implied else _batch(envelope)
    if len(raws) > most_messages:
        message = f"{len(raws):,} messages in one request; send at most {most_messages:,}."
        raise Unreadable("too_many_messages", message)
    shared = b"" if implied else _shared(envelope)
    result = Batch()
    for index, raw in enumerate(raws):
        raw = bytes(raw)
        try:
            if len(raw) > most_bytes:
                raise Refused(f"The message has {len(raw):,} bytes; at most {most_bytes:,}.")
            result.messages.append(_parsed(_with(shared, raw), implied, now, mended))
        except Refused as refusal:
            result.refused.append((index, str(refusal), raw[:most_bytes].decode("utf-8")))
    return result


def write_keys(envelope: Envelope) -> Iterator[str]:
    """Return the write keys that stand in the body: of the envelope, then of the first message."""
    if isinstance(envelope.writeKey, str):
        yield envelope.writeKey
    if envelope.batch:
        try:
            key = _call.decode(envelope.batch[0]).writeKey
        except ValueError:
            return
        if isinstance(key, str):
            yield key


def identifier(value: Any) -> str:
    """Return an id as text: trimmed, numbers written out, anything else as none at all."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return str(int(value)) if float(value).is_integer() else str(value)


def _batch(envelope: Envelope) -> list[msgspec.Raw]:
    if envelope.batch is None:
        raise Unreadable("missing_batch", 'The body needs "batch": a list of messages.')
    return envelope.batch


def _parsed(raw: bytes, implied: str, now: datetime, mended: tuple[str, ...]) -> Parsed:
    try:
        call = _call.decode(raw)
    except ValueError as error:
        raise Refused(f"The message is not an object: {error}") from None
    kind = implied or call.type
    if kind not in TYPES:
        raise Refused(f"type: must be one of {', '.join(TYPES)}, not {call.type!r}.")
    user_id, anonymous_id = identifier(call.userId), identifier(call.anonymousId)
    name = _checked_name(kind, call, user_id, anonymous_id)
    timestamp, notes = _timestamp(call, now)
    return Parsed(
        message_id=_message_id(identifier(call.messageId)),
        type=kind,
        name=_column(name),
        user_id=_column(user_id),
        anonymous_id=_column(anonymous_id),
        timestamp=timestamp,
        text=WRITE_KEY.sub(rb'\1***"', raw).decode("utf-8"),
        notes=(*mended, *notes),
    )


def _checked_name(kind: str, call: Call, user_id: str, anonymous_id: str) -> str:
    """Return the name of what happened. Raises Refused when the type's own fields are missing."""
    if not (user_id or anonymous_id):
        raise Refused("userId or anonymousId: one of them is needed.")
    if kind == "track":
        name = identifier(call.event)
        if not name:
            raise Refused("event: a track needs the name of its event.")
        return name
    if kind == "group" and not identifier(call.groupId):
        raise Refused("groupId: a group needs it.")
    if kind == "alias" and not identifier(call.previousId):
        raise Refused("previousId: an alias needs it.")
    return identifier(call.name) if kind in ("page", "screen") else ""


def _message_id(given: str) -> str:
    """Return the id under which a message is stored once: ours when the source gave none."""
    if not given:
        return f"ps-{uuid4()}"
    # a cut would make two different ids one
    return given if len(given) <= COLUMN else f"sha256-{sha256(given.encode()).hexdigest()}"


def _column(text: str) -> str:
    return text[:COLUMN].replace("\x00", "�")  # PostgreSQL keeps no NUL in a text


def _timestamp(call: Call, now: datetime) -> tuple[datetime, tuple[str, ...]]:
    """Return when it happened. RudderStack's browser SDK gives `originalTimestamp` only."""
    for name in ("timestamp", "originalTimestamp"):
        given = getattr(call, name)
        if given is None or given == "":
            continue
        at = _read_time(given)
        if at:
            return at, ()
        note = f"{name} {str(given)[:40]!r} is no time we can read: the time of receipt is used."
        return now, (note,)
    return now, ()


def _read_time(value: Any) -> datetime | None:
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value.strip())
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / (1000 if value > MILLISECONDS else 1), UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


# --- mending and merging -------------------------------------------------------------------------


def _mended(body: bytes, complaint: str) -> bytes:
    """Return the body as strict JSON: NaN and Infinity as null, broken surrogates replaced."""
    try:
        data = json.loads(body, parse_constant=lambda name: None, parse_float=_finite)
        text = json.dumps(data, ensure_ascii=False)
    except (ValueError, RecursionError):
        raise Unreadable("invalid_json", f"The body is not JSON: {complaint}") from None
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _shared(envelope: Envelope) -> bytes:
    """Return the context and integrations of the whole batch as JSON members, or nothing."""
    members = [
        b'"%s":%s' % (name.encode(), value)
        for name in ("context", "integrations")
        if (value := bytes(getattr(envelope, name))) not in (b"", b"null")
    ]
    return b",".join(members)


def _with(shared: bytes, raw: bytes) -> bytes:
    """Return the message with what its batch shares; its own context is laid over the batch's."""
    if not shared:
        return raw
    try:
        common, own = _raw_objects.decode(b"{%s}" % shared), _raw_objects.decode(raw)
        for name, value in common.items():
            own[name] = _over(value, own.get(name))
    except ValueError:
        return raw
    return msgspec.json.encode(own)


def _over(common: msgspec.Raw, own: msgspec.Raw | None) -> msgspec.Raw:
    if own is None or bytes(own) == b"null":
        return common
    merged = {**_raw_objects.decode(common), **_raw_objects.decode(own)}
    return msgspec.Raw(msgspec.json.encode(merged))


def notes_text(notes: Sequence[str]) -> str:
    """Return notes as their column keeps them: a JSON list, or nothing."""
    return msgspec.json.encode(notes).decode() if notes else ""
