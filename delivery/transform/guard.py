"""Calling a destination's code: a bug in it ends what it was asked for, with words, and no more."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from integrations.destination import Destination, Limit
from integrations.encryption import SecretsUnreadable
from integrations.errors import DestinationError
from integrations.models import Installation

logger = logging.getLogger(__name__)


class DestinationCodeError(Exception):
    """A destination's code failed where no single message is to blame: on the settings, as a rule.

    It would fail again in every turn, without an attempt that anybody could see.
    """


class DestinationMissing(DestinationCodeError):
    """There is no code: the destination is not in this version's catalog."""


@contextmanager
def guarded_destination(destination: Destination) -> Iterator[None]:
    """Let a bug of a destination, or settings that it cannot work with, be an error in words.

    The words may repeat what the code was given: mask them. Raises Unworkable and Missing.
    """
    if destination.is_missing:
        raise DestinationMissing(destination.description)
    try:
        yield
    except (DestinationError, DestinationCodeError):
        raise
    except Exception as error:
        logger.exception("The code of the destination %s failed", destination.key)
        text = f"{destination.name}'s code here cannot work with this, or has a bug: {error!r}"
        raise DestinationCodeError(text) from error


def get_vendor_limits(installation: Installation) -> Sequence[Limit]:
    """Return a vendor's limits; none where its code or its secrets cannot be used, which the lane
    says."""
    try:
        config = installation.settings()
        with guarded_destination(installation.destination):
            return installation.destination.limits(config)
    except (SecretsUnreadable, DestinationCodeError):
        return ()
