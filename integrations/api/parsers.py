"""Parses every body as JSON, whatever its Content-Type, because `curl -d` declares a form."""

import json
from collections import Counter

from django.core.exceptions import ValidationError
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from integrations.formats.json_values import MAX_NESTING_LEVELS, find_unstorable, readable


class AnyJSONParser(BaseParser):
    media_type = "*/*"

    def parse(self, stream, media_type=None, parser_context=None):
        try:
            value = json.loads(
                stream.read() or b"{}",
                parse_constant=_reject_constant,
                object_pairs_hook=_build_object,
            )
        except RecursionError:
            message = f"The body is nested deeper than {MAX_NESTING_LEVELS} levels."
            raise ParseError(message) from None
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}") from None
        if wrong := dict(find_unstorable(value)):
            raise ValidationError(wrong)
        return value


def _build_object(pairs):
    """Return the object. RFC 8259 leaves open which of two equal keys counts, so none does."""
    value = dict(pairs)
    if len(value) < len(pairs):
        [(key, _), *_] = Counter(key for key, _ in pairs).most_common(1)
        raise ParseError(f'The key "{readable(key)}" occurs twice in an object.')
    return value


def _reject_constant(name):
    raise ValueError(f"{name} is not a JSON number.")
