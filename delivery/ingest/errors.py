"""
Errors that reject a whole request. A bad message rejects only itself, not its batch.

    RequestRejected         base: a status, a code for programs, a text for people
    ├── UnreadableRequest   400, 413   the body cannot be parsed into messages
    ├── NotAllowed          401, 403   the sender is unknown or not allowed; 409: a replay
    └── RateLimitExceeded   429        the sender may retry
"""


class RequestRejected(Exception):
    """Nothing of the request was stored; `code` is for programs.

    text   the start of the body, when it helps to find the sender's mistake
    """

    status = 400
    retry_after = 0  # seconds; 0: retrying would not help

    def __init__(self, code: str, message: str, *, status: int | None = None, text: bytes = b""):
        super().__init__(message)
        self.code = code
        self.status = status or self.status
        self.text = text


class UnreadableRequest(RequestRejected):
    """The request as a whole cannot be read."""


class NotAllowed(RequestRejected):
    """The source is unknown, or the sender is not allowed to send for it."""

    status = 401


class RateLimitExceeded(RequestRejected):
    """The source is over its rate limit. The sender keeps the messages, so they are not stored."""

    status = 429

    def __init__(self, message: str, *, retry_after: int):
        super().__init__("rate_limited", message)
        self.retry_after = retry_after
