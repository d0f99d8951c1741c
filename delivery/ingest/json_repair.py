"""Repairs JSON that is not strict, and checks its depth and key count before decoding."""

import json
import math
import re
from collections.abc import Callable
from itertools import accumulate
from typing import TypeVar

Decoded = TypeVar("Decoded")
REPAIR_NOTE = (
    "It was not strict JSON: NaN, Infinity and numbers too large became null, invalid characters "
    "were replaced."
)

# A string without a closing quote reaches to the end of the text. If it did not match, each escaped
# quote within it would be tried as the start of another string, which takes quadratic time. The
# possessive quantifiers keep the memory constant.
JSON_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
JSON_STRING_PATTERN = re.compile(JSON_STRING, re.DOTALL)
JSON_TOKEN_PATTERN = re.compile(rb"%s|[\[{]|[\]}]" % JSON_STRING, re.DOTALL)
# Every value has one of these signs beside it, and a million take half a second to repair.
SIGNS = (b'"', b",", b"[", b"]", b"{", b"}")
MAX_REPAIRED_SIGNS = 1_000_000
NON_BRACKET_BYTES = bytes(set(range(256)) - set(b"[]{}"))
NESTING_STEPS = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]


def decode_or_repair(
    text: bytes, decode: Callable[[bytes], Decoded], *, levels: int | None = None
) -> tuple[bytes, Decoded, tuple[str, ...]]:
    """Decode JSON, repairing it first if the decoder rejects it.

    levels  values nested deeper are cut before anything else, for a decoder that recurses

    Return the decoded text, its value and notes on repairs. Raises ValueError or RecursionError
    when even the repaired text is not JSON, or repairs would take long; the cause is the first
    error.
    """
    try:
        return text, decode(text), ()
    except (ValueError, RecursionError) as error:
        complaint = error
    if sum(map(text.count, SIGNS)) > MAX_REPAIRED_SIGNS:
        raise ValueError("It has too many values to be repaired.") from complaint
    try:
        if levels is not None and (shallow := cut_deep_values(text, levels)) != text:
            text = shallow
            try:
                return text, decode(text), ()
            except ValueError:
                pass  # it is not strict JSON either
        text = to_strict_json(text)
        return text, decode(text), (REPAIR_NOTE,)
    except (ValueError, RecursionError) as error:
        raise error from complaint


def is_nested_deeper(text: bytes, levels: int) -> bool:
    """Return whether arrays and objects are nested deeper than `levels`."""
    if text.count(b"{") + text.count(b"[") <= levels:
        return False  # true of nearly every message, and cheap
    brackets = JSON_STRING_PATTERN.sub(b"", text).translate(None, NON_BRACKET_BYTES)
    return max(accumulate(map(NESTING_STEPS.__getitem__, brackets)), default=0) > levels


def has_more_keys(text: bytes, number: int) -> bool:
    """Return whether all its objects together have more than `number` keys."""
    return text.count(b":") > number and JSON_STRING_PATTERN.sub(b"", text).count(b":") > number


def cut_deep_values(text: bytes, levels: int) -> bytes:
    """Return the JSON with null in place of every value nested deeper than `levels`.

    Decoders recurse and reject the whole text when any part is too deep.
    """
    kept, level, done = [], 0, 0
    for piece in JSON_TOKEN_PATTERN.finditer(text):
        step = NESTING_STEPS[piece[0][0]]
        if step > 0 and level == levels:
            kept.append(text[done : piece.start()] + b"null")
        level += step
        if step < 0 and level == levels:
            done = piece.end()
    if level <= levels:
        kept.append(text[done:])
    return b"".join(kept)


def to_strict_json(text: bytes) -> bytes:
    """Return strict JSON: NaN and Infinity become null, invalid characters are replaced.

    Python SDKs send NaN and Infinity, JavaScript SDKs send halves of surrogate pairs. Raises
    ValueError when the text is still not JSON.
    """
    readable = text.decode("utf-8", "replace")
    data = json.loads(readable, parse_constant=lambda name: None, parse_float=_finite_or_none)
    written = json.dumps(data, ensure_ascii=False)
    return written.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _finite_or_none(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None
