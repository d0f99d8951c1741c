"""Parses every body as JSON, whatever its Content-Type, because `curl -d` declares a form."""

import json

from django.core.exceptions import ValidationError
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser


class AnyJSONParser(BaseParser):
    media_type = "*/*"

    def parse(self, stream, media_type=None, parser_context=None):
        try:
            value = json.loads(stream.read() or b"{}", parse_constant=_reject_constant)
            wrong = dict(_unstorable(value, ""))
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not JSON: {error}") from None
        if wrong:
            raise ValidationError(wrong)
        return value


def _reject_constant(name):
    raise ValueError(f"{name} is not a JSON number.")


def _unstorable(value, place):
    """Yield (place, problem) for each string that a database cannot store."""
    if isinstance(value, str):
        if "\x00" in value:
            yield place or "body", "Remove the NUL character."
        elif any("\ud800" <= each <= "\udfff" for each in value):
            yield place or "body", "Contains half of a character: a surrogate without its pair."
    elif isinstance(value, dict):
        for key, each in value.items():
            readable = key.encode(errors="replace").decode().replace("\x00", "?")
            inner = f"{place}.{readable}" if place else readable
            yield from _unstorable(key, inner)
            yield from _unstorable(each, inner)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _unstorable(each, f"{place}.{number}" if place else str(number))
