"""Builds messages from pixel URLs, for emails, AMP pages and pages without scripts. Pure."""

from base64 import b64decode
from collections.abc import Mapping

import msgspec

PIXEL_GIF = b64decode(
    "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
)  # 1 × 1, transparent
NO_STORE_HEADERS = {
    "Cache-Control": "no-store, no-cache, must-revalidate",
    "Pragma": "no-cache",
    "Expires": "0",
    "Cross-Origin-Resource-Policy": "cross-origin",  # some pages block images without this header
}
PIXEL_FIELDS = {
    "e": "event", "n": "name", "uid": "userId", "aid": "anonymousId", "gid": "groupId",
    "pid": "previousId", "mid": "messageId",
}  # fmt: skip
PIXEL_OBJECT_PREFIXES = {"p.": "properties", "t.": "traits"}


def build_pixel_message(kind: str, query: Mapping[str, str], page: str) -> bytes:
    """Return the message that a pixel's query encodes, as JSON. All values are strings.

    page  the URL of the page that shows the image, or ""
    """
    message = {
        PIXEL_FIELDS[name]: value for name, value in query.items() if name in PIXEL_FIELDS and value
    }
    if kind in ("page", "screen") and "event" in message:
        message["name"] = message.pop("event")
    context: dict[str, object] = {"library": {"name": "penstock-pixel"}}
    if page:
        context["page"] = {"url": page}
    objects = {field: _members(query, prefix) for prefix, field in PIXEL_OBJECT_PREFIXES.items()}
    whole = {
        **message,
        "type": kind,
        "timestamp": query.get("ts") or None,
        "context": context,
        **{field: members for field, members in objects.items() if members},
    }
    return msgspec.json.encode(whole)


def _members(query: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix): value
        for name, value in query.items()
        if name.startswith(prefix) and name != prefix
    }
