"""Deliveries as a file: line by line, so that a large one costs no more memory than a small one."""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import StreamingHttpResponse

from delivery.log.representation import listed
from delivery.log.search.query import Scope
from delivery.models import Delivery

MOST = 100_000  # rows of a file
AT_ONCE = 1_000  # rows read
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # https://owasp.org/www-community/attacks/CSV_Injection
FORMATS = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


def export(rows: Iterable[Delivery], form: str, now: datetime) -> Iterator[str]:
    """Yield the lines of a file of one of FORMATS; each row is what the API's list says of it."""
    lines = (listed(delivery, now) for delivery in rows)
    return as_csv(lines) if form == "csv" else as_ndjson(lines)


def answer(rows: Iterable[Delivery], form: str, now: datetime) -> StreamingHttpResponse:
    """Return a file of rows, to be written while it is read."""
    answer = StreamingHttpResponse(export(rows, form, now), content_type=FORMATS[form])
    answer["Content-Disposition"] = f'attachment; filename="deliveries.{form}"'
    return answer


def all_of(scope: Scope) -> Iterator[Delivery]:
    """Yield what a search means, newest first, up to MOST."""
    before, left = None, MOST
    while left > 0:
        page = scope.page(limit=min(AT_ONCE, left), before=before)
        yield from page.rows
        left -= len(page.rows)
        if not page.has_older:
            return
        before = page.looked_to or page.rows[-1].pk


def as_ndjson(lines: Iterable[dict[str, Any]]) -> Iterator[str]:
    for line in lines:
        yield json.dumps(line, cls=DjangoJSONEncoder, ensure_ascii=False) + "\n"


def as_csv(lines: Iterable[dict[str, Any]]) -> Iterator[str]:
    writer = csv.writer(Echo())
    yield writer.writerow(COLUMNS)
    for line in lines:
        yield writer.writerow([_cell(_at(line, path)) for path in COLUMNS])


class Echo:
    """What csv.writer writes to: its writerow() then returns the line."""

    def write(self, line: str) -> str:
        return line


COLUMNS = (
    "id", "state", "trigger", "installation.name", "event.id", "event.type", "event.name",
    "event.message_id", "event.user_id", "event.anonymous_id", "event.timestamp",
    "event.received_at", "queued_at", "settled_at", "attempt_count", "last_status",
    "last_duration_ms", "next_attempt_at", "gives_up_at", "error", "reason", "resolved_at",
    "resolved_by", "resolution",
)  # fmt: skip


def _at(line: dict[str, Any], path: str) -> Any:
    name, _, rest = path.partition(".")
    return _at(line[name], rest) if rest else line[name]


def _cell(value: Any) -> Any:
    """Return a value as a cell. A text that a spreadsheet would take for a formula gets a quote."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
