"""Builds the view of a message that blueprints see: JSON of the Segment spec."""

from typing import Any

from integrations.messages import Message, format_iso

NAME_FIELDS = {
    "track": "event",
    "page": "name",
    "screen": "name",
}  # the field with the message's name


def build_message_view(message: Message) -> dict[str, Any]:
    """Return the message's body, overridden by the values that Penstock normalised."""
    body = message.body
    view = {
        **body,
        "type": message.type,
        "messageId": message.message_id,
        "userId": message.user_id or None,
        "anonymousId": message.anonymous_id or None,
        "traits": message.traits,
        "timestamp": format_iso(message.timestamp),
        "originalTimestamp": body.get("timestamp") or body.get("originalTimestamp"),
        "receivedAt": format_iso(message.received_at),
    }
    if message.type in NAME_FIELDS:
        view[NAME_FIELDS[message.type]] = message.name
        if not message.name:  # a blank name counts as absent
            del view[NAME_FIELDS[message.type]]
    return view
