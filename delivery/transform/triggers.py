"""Decides whether a blueprint wants a message. An error counts as wanting it.

The message is then queued, and its delivery fails with a reason that shows in the log. Counting an
error as "not wanted" would lose messages silently.
"""

import logging
from collections.abc import Callable

from delivery.transform.stored_messages import compile_revision_by_id
from integrations.blueprints import Blueprint, BlueprintError, MessageView

logger = logging.getLogger(__name__)


def blueprint_or_none(revision_id: int) -> Blueprint | None:
    """Return the blueprint of a revision; None when it cannot be compiled, which is logged."""
    try:
        return compile_revision_by_id(revision_id)
    except BlueprintError:
        logger.exception("Revision %s cannot be compiled", revision_id)
        return None


def wants_message(
    blueprint: Blueprint | None, read_view: Callable[[], MessageView], message_id: str
) -> bool:
    """Return whether a blueprint wants a message; True when it raises."""
    if blueprint is None:
        return True
    try:
        return blueprint.wants(read_view())
    except (LookupError, TypeError, ValueError, RecursionError):
        ids = {"message_id": message_id}
        logger.exception("A trigger failed on message %s", message_id, extra=ids)
        return True
