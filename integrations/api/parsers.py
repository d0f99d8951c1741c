"""JSON, whatever the Content-Type says: `curl -d` calls it a form."""

import json

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser


class AnyJSONParser(BaseParser):
    media_type = "*/*"

    def parse(self, stream, media_type=None, parser_context=None):
        try:
            value = json.loads(stream.read() or b"{}", parse_constant=_refuse)
            _check(value)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not JSON: {error}") from None
        return value


def _refuse(name):
    raise ValueError(f"{name} is no number of JSON.")


def _check(value):
    """Raise ValueError for texts that no database stores: with NUL, or half a character."""
    if isinstance(value, str):
        value.encode()
        if "\x00" in value:
            raise ValueError("A text has a NUL character in it.")
    elif isinstance(value, dict):
        for key, each in value.items():
            _check(key)
            _check(each)
    elif isinstance(value, list):
        for each in value:
            _check(each)
