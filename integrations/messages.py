"""The one shape in which destinations and blueprints read what a source sent."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct, field

TYPES = ("track", "identify", "page", "screen", "group", "alias")


class Message(Struct, frozen=True, kw_only=True):
    """One call of a source, parsed and valid.

    timestamp    aware; when it happened by the source's account
    received_at  aware; when we stored it, by our clock
    body         the call as it came: camelCase names of the Segment spec, any extra key kept
    """

    type: str
    message_id: str
    timestamp: datetime
    received_at: datetime
    name: str = ""  # the event of a track, the name of a page or screen
    user_id: str = ""
    anonymous_id: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def person(self) -> str:
        """Whose events must stay in order: the user, or the visitor while there is no user."""
        return self.user_id or self.anonymous_id

    @property
    def properties(self) -> Mapping[str, Any]:
        return _mapping(self.body.get("properties"))

    @property
    def context(self) -> Mapping[str, Any]:
        return _mapping(self.body.get("context"))

    @property
    def traits(self) -> Mapping[str, Any]:
        """Traits of the call. RudderStack's SDKs send those of an identify in `context.traits`
        only; in any other call that is who the user is, and not what the call says."""
        own = _mapping(self.body.get("traits"))
        return own or (_mapping(self.context.get("traits")) if self.type == "identify" else {})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
