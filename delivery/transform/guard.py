"""Guards calls into a destination's code, so that a bug there becomes a readable error."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from integrations.destination import Destination, Limit
from integrations.encryption import SecretsUnreadable
from integrations.errors import DestinationError
from integrations.models import Installation

logger = logging.getLogger(__name__)


class DestinationCodeError(Exception):
    """A destination's code failed, and not because of a single message; usually on the settings.

    It would fail again on every batch, without an attempt that shows in the log.
    """


class DestinationMissing(DestinationCodeError):
    """The destination is not in this version's catalog."""


@contextmanager
def guarded_destination(destination: Destination) -> Iterator[None]:
    """Turn a bug of a destination, or settings it cannot use, into DestinationCodeError.

    The error's text may contain the code's input, so mask secrets in it. Raises DestinationMissing
    when the catalog lacks the destination.
    """
    if destination.is_missing:
        raise DestinationMissing(destination.description)
    try:
        yield
    except (DestinationError, DestinationCodeError):
        raise
    except Exception as error:
        logger.exception("The code of the destination %s failed", destination.key)
        text = f"{destination.name}'s code here cannot use its settings, or has a bug: {error!r}"
        raise DestinationCodeError(text) from error


def get_vendor_limits(installation: Installation) -> Sequence[Limit]:
    """Return a vendor's limits; none if its code or secrets are unusable, as its lane reports."""
    try:
        config = installation.settings()
        with guarded_destination(installation.destination):
            return installation.destination.limits(config)
    except (SecretsUnreadable, DestinationCodeError):
        return ()
