"""JSON, whatever the Content-Type says: `curl -d` calls it a form."""

import json

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser


class AnyJSONParser(BaseParser):
    media_type = "*/*"

    def parse(self, stream, media_type=None, parser_context=None):
        try:
            return json.loads(stream.read() or b"{}")
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not JSON: {error}") from None
