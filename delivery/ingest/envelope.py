"""From the bytes of a request to its envelope: the list of raw messages and what they share."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from delivery.ingest import json_repair
from delivery.ingest.errors import UnreadableRequest

MAX_NESTING_LEVELS = 64  # of arrays and objects in one message

NESTING_MARGIN = 4  # levels more than a message may have, and it is still too deep when cut there

WRITE_KEY_PATTERN = re.compile(rb'("writeKey"\s*:\s*")[^"\\]*(?:\\.[^"\\]*)*"')


class Envelope(msgspec.Struct):
    """What stands around the messages of a request; each message stays raw bytes."""

    batch: list[msgspec.Raw] | None = None
    writeKey: Any = None  # noqa: N815  (names of the wire)
    sentAt: Any = None  # noqa: N815
    context: msgspec.Raw = msgspec.Raw()
    integrations: msgspec.Raw = msgspec.Raw()


class WriteKeyOnly(msgspec.Struct):
    """Of a message, only the key that some SDKs repeat in it."""

    writeKey: Any = None  # noqa: N815


_envelope_decoder = msgspec.json.Decoder(Envelope)

_write_key_decoder = msgspec.json.Decoder(WriteKeyOnly)

_raw_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decompress_body(body: bytes, encoding: str, *, limit: int) -> bytes:
    """Return the body unpacked. Raises Unreadable when it is broken, or too large unpacked.

    limit  bytes; a gzip bomb is unpacked no further than that
    """
    if encoding.strip().lower() in ("gzip", "x-gzip"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(body)) as unpacked:
                body = unpacked.read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UnreadableRequest("invalid_encoding", f"The body is not gzip: {error}") from None
    if len(body) > limit:
        message = f"The request is larger than {limit:,} bytes. Send fewer messages in one."
        raise UnreadableRequest("too_large", message, status=413, text=body)
    return body


def parse_envelope(body: bytes) -> tuple[bytes, Envelope, tuple[str, ...]]:
    """Return the body as JSON that can be split, its envelope, and notes on what was repaired.

    One message must not cost the others: what is nested too deeply for any decoder is cut, so that
    only its message is rejected, and JSON that is not strict is repaired. Raises Unreadable.
    """
    try:
        return json_repair.decode_or_repair(
            body, _decode_envelope, levels=MAX_NESTING_LEVELS + NESTING_MARGIN
        )
    except (ValueError, RecursionError) as error:
        message = f"The body is not usable: {error.__cause__}"
        raise UnreadableRequest("invalid_json", message, text=body) from None


def _decode_envelope(body: bytes) -> Envelope:
    if not body.isascii():
        body.decode()  # the envelope's messages stay raw, and are not looked at
    return _envelope_decoder.decode(body)


def iter_envelope_write_keys(envelope: Envelope) -> Iterator[str]:
    """Return the write keys that stand in the body: of the envelope, then of the first message."""
    if isinstance(envelope.writeKey, str):
        yield envelope.writeKey
    if envelope.batch:
        try:
            key = _write_key_decoder.decode(envelope.batch[0]).writeKey
        except (ValueError, RecursionError):
            return
        if isinstance(key, str):
            yield key


def raw_messages(body: bytes, envelope: Envelope) -> list[msgspec.Raw]:
    if envelope.batch is None:
        message = 'The body needs "batch": a list of messages.'
        raise UnreadableRequest("missing_batch", message, text=body)
    return envelope.batch


def shared_fields(envelope: Envelope) -> bytes:
    """Return the context and integrations of the whole batch as JSON members, or nothing."""
    members = [
        b'"%s":%s' % (name.encode(), value)
        for name in ("context", "integrations")
        if (value := bytes(getattr(envelope, name))) not in (b"", b"null")
    ]
    return b",".join(members)


def with_shared_fields(shared: bytes, raw: bytes) -> bytes:
    """Return the message with what its batch shares; its own context is laid over the batch's."""
    if not shared:
        return raw
    try:
        common, own = _raw_object_decoder.decode(b"{%s}" % shared), _raw_object_decoder.decode(raw)
        for name, value in common.items():
            own[name] = _merge_objects(value, own.get(name))
    except ValueError:
        return raw
    return msgspec.json.encode(own)


def _merge_objects(common: msgspec.Raw, own: msgspec.Raw | None) -> msgspec.Raw:
    if own is None or bytes(own) == b"null":
        return common
    merged = {**_raw_object_decoder.decode(common), **_raw_object_decoder.decode(own)}
    return msgspec.Raw(msgspec.json.encode(merged))
