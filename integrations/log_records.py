"""The ids in log records, and log records as JSON.

The ids are those of the request, of the block that handles a lane, or of one call's `extra`.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from integrations.request_context import current_caller

_ids: ContextVar[Mapping[str, int]] = ContextVar("log_ids", default={})  # noqa: B039  (never changed)

# Nothing else goes out. Django attaches requests to its records, whose URLs may contain keys.
JSON_FIELDS = (
    "timestamp", "level", "logger", "message", "request_id", "message_id", "event_id",
    "delivery_id", "attempt_id", "lane_id", "exc_info", "stack_info",
)  # fmt: skip


@contextmanager
def log_ids(**ids: int) -> Iterator[None]:
    """Add ids, such as `lane_id`, to every log record of the block."""
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


class IdsFilter(logging.Filter):
    """Adds the id of the request, or "-", and the other known ids. No record is filtered out."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Django logs a failed request after the middleware has returned.
        request = getattr(record, "request", None)
        record.request_id = current_caller().request_id or getattr(request, "request_id", "-")
        for name, value in _ids.get().items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


class NoTracebackFilter(logging.Filter):
    """Drops the traceback of a request that is refused, such as one with a wrong Host.

    Anyone can send many of them, and the message says everything. No record is filtered out.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        is_refused = record.name == "django.request" and record.levelno < logging.ERROR
        if is_refused or record.name.startswith("django.security."):
            record.exc_info = None
        return True


class JsonLines(JsonFormatter):
    """Formats a record as one line of JSON, without ids that it does not have."""

    def __init__(self) -> None:
        super().__init__(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp=True,
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        none = (None, "", "-")
        return {name: log_data[name] for name in JSON_FIELDS if log_data.get(name) not in none}
