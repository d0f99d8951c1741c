"""Reads pages of the admin."""

import re
from html import unescape


def read_page(client, address, **params):
    """Return the HTML of a page."""
    answer = client.get(address, params)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def text_of(html):
    """Return the text of a page, with whitespace collapsed."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())
