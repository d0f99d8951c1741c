"""The parsed message, as destinations and blueprints read it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from msgspec import Struct, field
from msgspec.json import Encoder

MESSAGE_TYPES = ("track", "identify", "page", "screen", "group", "alias")
_encode = Encoder().encode


class Message(Struct, frozen=True, kw_only=True):
    """One call of a source, parsed and valid.

    timestamp    aware; when it happened, according to the source
    received_at  aware; when Penstock stored it, by Penstock's clock
    source       the id of the source; message ids are unique within one source only
    body         the call as received: camelCase names of the Segment spec, extra keys kept
    """

    type: str
    message_id: str
    timestamp: datetime
    received_at: datetime
    name: str = ""  # the event of a track, the name of a page or screen
    user_id: str = ""
    anonymous_id: str = ""
    source: int = 0
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def person(self) -> str:
        """The id whose events stay in order: the user's, or the visitor's if there is no user."""
        return self.user_id or self.anonymous_id

    @property
    def properties(self) -> Mapping[str, Any]:
        return _mapping(self.body.get("properties"))

    @property
    def context(self) -> Mapping[str, Any]:
        return _mapping(self.body.get("context"))

    @property
    def traits(self) -> Mapping[str, Any]:
        """The traits of the call.

        RudderStack's SDKs send the traits of an identify in `context.traits` only. In other calls,
        `context.traits` describes the user and is not part of the call.
        """
        own = _mapping(self.body.get("traits"))
        return own or (_mapping(self.context.get("traits")) if self.type == "identify" else {})


@lru_cache(maxsize=256)  # a message's time is formatted twice, a batch's many times
def format_iso(moment: datetime) -> str:
    """Return an aware datetime in UTC, to the millisecond, such as 2026-11-21T09:30:15.250Z."""
    text = _encode(moment.astimezone(UTC))  # twice as fast as isoformat
    return f"{text[1:24].decode()}Z" if moment.microsecond else f"{text[1:20].decode()}.000Z"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def normalize_id(value: Any) -> str:
    """Return an id as text: strings trimmed, numbers written out, anything else as ""."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    # An int has no is_integer() before Python 3.12, and may be too large for a float.
    return str(int(value)) if isinstance(value, int) or value.is_integer() else str(value)
