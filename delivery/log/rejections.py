"""Splits a rejected message into lines and marks the line that the reason is about; pure."""

import json
import re
from dataclasses import dataclass

from integrations.formats.json_values import parse_json_or_text

MSGSPEC_PATH = re.compile(
    r"at `\$([^`]*)`"
)  # how msgspec names a place: "- at `$.properties[...]`"
BYTE_OFFSET = re.compile(r"\(byte (\d+)\)|char (\d+)")
REASON_FIELDS = re.compile(
    r"^([A-Za-z_]+(?: or [A-Za-z_]+)*):"
)  # the start of Penstock's own reasons


@dataclass(frozen=True, slots=True)
class RejectedLine:
    text: str
    is_wrong: bool = False


def mark_wrong_line(text: str, reason: str) -> list[RejectedLine]:
    """Return the lines of a message, with JSON indented; at most one line is marked as wrong."""
    value = parse_json_or_text(text)
    if value is text:
        lines, wrong = text.splitlines() or [""], _line_at_offset(text, reason)
    else:
        lines = json.dumps(value, indent=2, ensure_ascii=False).splitlines()
        wrong = _line_of_field(lines, reason)
    return [RejectedLine(line, number == wrong) for number, line in enumerate(lines)]


def _line_at_offset(text: str, reason: str) -> int | None:
    found = BYTE_OFFSET.search(reason)
    if found is None:
        return None
    place = int(found[1] or found[2])
    return text.encode()[:place].count(b"\n")


def _line_of_field(lines: list[str], reason: str) -> int | None:
    path = MSGSPEC_PATH.search(reason)
    if path:
        return _find_key_line(lines, re.findall(r"\w+", path[1]))
    fields = REASON_FIELDS.match(reason)
    if fields is None:
        return None
    there = (_find_key_line(lines, [name], indent=2) for name in fields[1].split(" or "))
    return next((number for number in there if number is not None), None)


def _find_key_line(lines: list[str], keys: list[str], indent: int = 0) -> int | None:
    """Return the line of the last key, searching each key after the line of the previous one."""
    at = None
    for key in keys:
        start = r"\s*" if not indent else " " * indent
        line = re.compile(f'{start}"{re.escape(key)}":')
        here = (n for n in range((at or -1) + 1, len(lines)) if line.match(lines[n]))
        at = next(here, at)
    return at
