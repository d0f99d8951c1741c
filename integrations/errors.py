"""Why a message was not delivered. The class of the error decides what the worker does next.

DestinationError            base class; never raised itself
├── VendorUnavailable       a temporary failure: the lane waits, then retries from the same place
│   └── VendorFailed        the same; but if it recurs, one message may cause it. The worker
│                           finds that message and sets it aside with a retry time of its own
├── CredentialsRejected     the lane pauses until someone fixes the installation
└── MessageRejected         this request will never be accepted as it is: it is halved until
    │                       each rejected message stands alone, and those messages fail
    └── TooLarge            the same, because of its size
"""


class DestinationError(Exception):
    """Base class of the reasons why a message is not delivered."""


class VendorUnavailable(DestinationError):
    """The vendor cannot accept the request now: timeout, network, redirect, 408, 425, 429, 5xx."""

    def __init__(self, message: str, *, retry_after: float | None = None):
        super().__init__(message)
        self.retry_after = retry_after  # seconds, if the vendor asked for a pause


class VendorFailed(VendorUnavailable):
    """The vendor failed on the request (500 and other 5xx, except 502, 503 and 504)."""


class CredentialsRejected(DestinationError):
    """The vendor rejects the credentials (401, 403)."""


class MessageRejected(DestinationError):
    """The vendor, or the destination's code, rejects the content of the request (other 4xx)."""


class TooLarge(MessageRejected):
    """The vendor rejects the request because of its size (413)."""
