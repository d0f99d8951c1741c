"""Reads stored events as messages, and compiles blueprints once per revision."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from integrations.blueprints import NAME_FIELDS, Blueprint, compile_blueprint
from integrations.messages import Message, normalize_id
from integrations.models import Revision

STORED_ID_CHARS = (
    255  # size of an id column; an id this long may be truncated, and the body has the full text
)


@lru_cache(maxsize=256)
def compile_revision_by_id(revision_id: int) -> Blueprint:
    """Return the blueprint of a revision. Revisions never change, so one compilation serves."""
    return compile_blueprint(Revision.objects.get(pk=revision_id).blueprint)


@lru_cache(maxsize=256)
def compile_revision(revision: Revision) -> Blueprint:
    """Return the blueprint of a loaded revision; cached by id, because models compare by id."""
    return compile_blueprint(revision.blueprint)


# The columns of an event that `decode_stored_message` needs, in its order of arguments.
STORED_MESSAGE_COLUMNS = (
    "body__text", "type", "message_id", "name", "user_id", "anonymous_id", "timestamp",
    "received_at", "added_context", "source_id",
)  # fmt: skip


def decode_stored_message(
    text: str,
    type: str,  # noqa: A002  (the column's name)
    message_id: str,
    name: str,
    user_id: str,
    anonymous_id: str,
    timestamp: datetime,
    received_at: datetime,
    added_context: str = "",
    source_id: int = 0,
) -> Message:
    """Return the message of a stored event, given as its STORED_MESSAGE_COLUMNS."""
    body = msgspec.json.decode(text)
    if added_context:
        body["context"] = _merge_context(body.get("context"), msgspec.json.decode(added_context))
    return Message(
        type=type,
        message_id=message_id,
        name=_full_text(name, body, NAME_FIELDS.get(type, "name")),
        user_id=_full_text(user_id, body, "userId"),
        anonymous_id=_full_text(anonymous_id, body, "anonymousId"),
        timestamp=timestamp,
        received_at=received_at,
        source=source_id,
        body=body,
    )


def _merge_context(own: Any, added: dict[str, Any]) -> dict[str, Any]:
    return {**added, **own} if isinstance(own, dict) else added


def _full_text(column: str, body: Mapping[str, Any], key: str) -> str:
    return column if len(column) < STORED_ID_CHARS else normalize_id(body.get(key))
