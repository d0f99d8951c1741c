"""
Why something was not delivered. The class decides what happens next; nobody parses messages.

    DestinationError            base; never raised itself
    ├── VendorUnavailable       nobody's fault: the lane waits and tries again from the same place
    │   └── VendorFailed        the same; but if it comes again and again, one message may be to
    │                           blame: it is looked for, and set aside with a retry time of its own
    ├── CredentialsRejected     the lane pauses until a person has mended the installation
    └── MessageRejected         this request will never pass as it is: split it, then fail the
        │                       messages that stand alone
        └── TooLarge            the same, because of its size
"""


class DestinationError(Exception):
    """Base class of all that can keep a message from its destination."""


class VendorUnavailable(DestinationError):
    """The vendor could not take the request now: timeout, network, redirect, 408, 425, 429, 5xx."""

    def __init__(self, message: str, *, retry_after: float | None = None):
        super().__init__(message)
        self.retry_after = retry_after  # seconds, when the vendor asked for a pause


class VendorFailed(VendorUnavailable):
    """The vendor broke down over the request (500 and its kin, but 502, 503, 504)."""


class CredentialsRejected(DestinationError):
    """The vendor refuses who we say we are (401, 403)."""


class MessageRejected(DestinationError):
    """The vendor, or our code for it, refuses what the request says (other 4xx)."""


class TooLarge(MessageRejected):
    """The vendor refuses the request for its size (413)."""
