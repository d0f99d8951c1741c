"""Parses a request body into its envelope: the raw messages and the fields they share."""

import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

import msgspec

from delivery.ingest import json_repair
from delivery.ingest.errors import UnreadableRequest

MAX_NESTING_LEVELS = 64  # of arrays and objects in one message

MASKED_WRITE_KEY = msgspec.Raw(b'"***"')

MAX_GZIP_MEMBERS = 100  # of one body; SDKs send one
GZIP_WINDOW_BITS = 31  # zlib's name for gzip

WRITE_KEY_PATTERN = re.compile(rb'"writeKey"\s*+:\s*+"([^"\\]{1,255})"')
MAX_WRITE_KEYS = 10  # different ones that are looked up for a body

NESTING_MARGIN = 4  # extra levels kept when cutting, so that a cut message is still too deep


class Envelope(msgspec.Struct):
    """The fields around the messages of a request.

    All stay raw bytes, because a list as `sentAt` would take a second to decode before the source
    is known.
    """

    batch: list[msgspec.Raw] | None = None
    writeKey: msgspec.Raw = msgspec.Raw()  # noqa: N815  (names of the JSON fields)
    sentAt: msgspec.Raw = msgspec.Raw()  # noqa: N815
    context: msgspec.Raw = msgspec.Raw()
    integrations: msgspec.Raw = msgspec.Raw()


class WriteKeyOnly(msgspec.Struct):
    """The write key that some SDKs repeat in each message."""

    writeKey: msgspec.Raw = msgspec.Raw()  # noqa: N815


_envelope_decoder = msgspec.json.Decoder(Envelope)

_write_key_decoder = msgspec.json.Decoder(WriteKeyOnly)

_raw_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decompress_body(body: bytes, encoding: str, *, limit: int) -> bytes:
    """Return the decompressed body. Raises UnreadableRequest when it is corrupt or too large.

    limit  bytes; decompression stops there, which defuses gzip bombs
    """
    if encoding.strip().lower() in ("gzip", "x-gzip"):
        try:
            body = _gunzip(body, limit + 1)
        except zlib.error as error:
            raise UnreadableRequest(
                "invalid_encoding", f"The body is not valid gzip: {error}"
            ) from None
    if len(body) > limit:
        message = f"The request is larger than {limit:,} bytes. Send fewer messages per request."
        raise UnreadableRequest("too_large", message, status=413, text=body)
    return body


def _gunzip(packed: bytes, most: int) -> bytes:
    """Return at most that many unpacked bytes. Raises zlib.error.

    gzip.GzipFile would read a million empty members, or a name of megabytes, in slow Python.
    """
    unpacked = []
    for _ in range(MAX_GZIP_MEMBERS):
        member = zlib.decompressobj(GZIP_WINDOW_BITS)
        unpacked.append(member.decompress(packed, most))
        most -= len(unpacked[-1])
        packed = member.unused_data.lstrip(b"\0")  # padding
        if most == 0 or (member.eof and not packed):
            return b"".join(unpacked)
        if not member.eof:
            raise zlib.error("it ends too early")
    raise zlib.error(f"it has more than {MAX_GZIP_MEMBERS} members")


def parse_envelope(body: bytes) -> tuple[bytes, Envelope, tuple[str, ...]]:
    """Return the body as decodable JSON, its envelope, and notes on repairs.

    One bad message must not reject the others, so values nested too deeply for the decoder are cut
    (which rejects only their message) and JSON that is not strict is repaired. Raises
    UnreadableRequest.
    """
    try:
        return json_repair.decode_or_repair(
            body.removeprefix(BOM_UTF8),
            _decode_envelope,
            levels=MAX_NESTING_LEVELS + NESTING_MARGIN,
        )
    except (ValueError, RecursionError) as error:
        message = f"The body cannot be parsed: {error.__cause__}"
        raise UnreadableRequest("invalid_json", message, text=body) from None


def _decode_envelope(body: bytes) -> Envelope:
    if not body.isascii():
        body.decode()  # check the encoding: the decoder does not look into raw messages
    return _envelope_decoder.decode(body)


def find_possible_write_keys(body: bytes) -> list[str]:
    """Return the first few texts of a body that look like its write key, without parsing it."""
    found: dict[bytes, None] = {}
    for match in WRITE_KEY_PATTERN.finditer(body):
        found[match[1]] = None
        if len(found) == MAX_WRITE_KEYS:
            break
    return [each.decode("utf-8", "replace") for each in found]


def iter_envelope_write_keys(envelope: Envelope) -> Iterator[str]:
    """Yield the write keys in the body: the envelope's, then the first message's."""
    key = decode_scalar(envelope.writeKey)
    if isinstance(key, str):
        yield key
    if envelope.batch:
        try:
            key = decode_scalar(_write_key_decoder.decode(envelope.batch[0]).writeKey)
        except (ValueError, RecursionError):
            return
        if isinstance(key, str):
            yield key


def decode_scalar(raw: msgspec.Raw) -> Any:
    """Return the value of a field; None for an array, an object or what cannot be read."""
    text = bytes(raw)
    if text[:1] in (b"[", b"{", b""):
        return None
    try:
        return msgspec.json.decode(text)
    except ValueError:
        return None


def raw_messages(body: bytes, envelope: Envelope) -> list[msgspec.Raw]:
    if envelope.batch is None:
        message = 'The body must have "batch", a list of messages.'
        raise UnreadableRequest("missing_batch", message, text=body)
    return envelope.batch


def shared_fields(envelope: Envelope) -> bytes:
    """Return the context and integrations of the whole batch as JSON members; empty if none."""
    members = [
        b'"%s":%s' % (name.encode(), value)
        for name in ("context", "integrations")
        if (value := bytes(getattr(envelope, name))) not in (b"", b"null")
    ]
    return b",".join(members)


def with_shared_fields(shared: bytes, raw: bytes) -> bytes:
    """Return the message merged with the batch's shared fields; the message's own values win."""
    if not shared:
        return raw
    try:
        own = _raw_object_decoder.decode(raw)
    except ValueError:
        return raw  # it is no object, and is rejected when it is parsed
    for name, value in _raw_object_decoder.decode(b"{%s}" % shared).items():
        own[name] = _merge_objects(value, own.get(name))
    return msgspec.json.encode(own)


def with_masked_write_key(raw: bytes) -> bytes:
    """Return the message with its own write key masked, but not a property of that name."""
    own = _raw_object_decoder.decode(raw)
    own["writeKey"] = MASKED_WRITE_KEY
    return msgspec.json.encode(own)


def _merge_objects(common: msgspec.Raw, own: msgspec.Raw | None) -> msgspec.Raw:
    """Return both objects as one; if one of them is no object, return the other."""
    own_members, common_members = _members(own), _members(common)
    if own_members is None:
        return common
    return msgspec.Raw(msgspec.json.encode({**(common_members or {}), **own_members}))


def _members(value: msgspec.Raw | None) -> dict[str, msgspec.Raw] | None:
    """Return the members of an object; None for anything else."""
    if value is None or not bytes(value).startswith(b"{"):
        return None
    return _raw_object_decoder.decode(value)
