"""Parses every body as JSON, whatever its Content-Type, because `curl -d` declares a form."""

import json

from django.core.exceptions import ValidationError
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from integrations.formats.json_values import find_unstorable


class AnyJSONParser(BaseParser):
    media_type = "*/*"

    def parse(self, stream, media_type=None, parser_context=None):
        try:
            value = json.loads(stream.read() or b"{}", parse_constant=_reject_constant)
            wrong = dict(find_unstorable(value))
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not JSON: {error}") from None
        if wrong:
            raise ValidationError(wrong)
        return value


def _reject_constant(name):
    raise ValueError(f"{name} is not a JSON number.")
