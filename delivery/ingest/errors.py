"""
Why a request is refused as a whole. One bad message of a batch is no reason.

    RequestRefused          base: a status, a code for programs, a text for people
    ├── Unreadable          400, 413   its bytes make no messages
    ├── NotAllowed          401, 403   who sends is unknown, or may not
    └── TooMuch             429        it may come again
"""


class RequestRejected(Exception):
    """Nothing of the request was stored; `code` is for programs.

    text   the start of what was sent, where that helps to find the sender's mistake
    """

    status = 400
    retry_after = 0  # seconds; 0: it would not help to come again

    def __init__(self, code: str, message: str, *, status: int | None = None, text: bytes = b""):
        super().__init__(message)
        self.code = code
        self.status = status or self.status
        self.text = text


class UnreadableRequest(RequestRejected):
    """The request as a whole cannot be read."""


class NotAllowed(RequestRejected):
    """The source is unknown, or this sender may not speak for it."""

    status = 401


class RateLimitExceeded(RequestRejected):
    """The source sends faster than it may. Its sender keeps the messages, so we do not."""

    status = 429

    def __init__(self, message: str, *, retry_after: int):
        super().__init__("rate_limited", message)
        self.retry_after = retry_after
