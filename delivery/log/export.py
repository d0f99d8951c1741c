"""Exports deliveries as a file, streamed line by line so that memory use is constant."""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import StreamingHttpResponse

from delivery.log.representation import serialize_delivery
from delivery.log.search.query import LogQuery
from delivery.models import Delivery
from integrations.access import audit

EXPORT_MAX_ROWS = 100_000  # rows per file
EXPORT_CHUNK_ROWS = 1_000  # rows per query
FORMULA_PREFIXES = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
)  # https://owasp.org/www-community/attacks/CSV_Injection
BYTE_ORDER_MARK = "\ufeff"  # without it, Excel does not read a CSV file as UTF-8
EXPORT_FORMATS = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


def export_lines(rows: Iterable[Delivery], form: str, now: datetime) -> Iterator[str]:
    """Yield the lines of a file in one of EXPORT_FORMATS, with rows as in the API's list."""
    lines = (serialize_delivery(delivery, now) for delivery in rows)
    return csv_lines(lines) if form == "csv" else ndjson_lines(lines)


def export_response(
    rows: Iterable[Delivery], form: str, now: datetime, *, about: str
) -> StreamingHttpResponse:
    """Return a streamed file of rows, and record the export in the audit log.

    about  which rows: the search, as it was typed
    """
    audit.record("delivery.exported", about or "all deliveries", {}, {"format": form})
    answer = StreamingHttpResponse(export_lines(rows, form, now), content_type=EXPORT_FORMATS[form])
    answer["Content-Disposition"] = f'attachment; filename="deliveries.{form}"'
    return answer


def iter_matching_deliveries(query: LogQuery) -> Iterator[Delivery]:
    """Yield the matches of a search, newest first, up to EXPORT_MAX_ROWS."""
    before, left = None, EXPORT_MAX_ROWS
    while left > 0:
        page = query.page(limit=min(EXPORT_CHUNK_ROWS, left), before=before)
        yield from page.rows
        left -= len(page.rows)
        if not page.has_older:
            return
        before = page.scanned_to or page.rows[-1].pk


def ndjson_lines(lines: Iterable[dict[str, Any]]) -> Iterator[str]:
    for line in lines:
        yield json.dumps(line, cls=DjangoJSONEncoder, ensure_ascii=False) + "\n"


def csv_lines(lines: Iterable[dict[str, Any]]) -> Iterator[str]:
    writer = csv.writer(Echo())
    yield BYTE_ORDER_MARK + writer.writerow(CSV_COLUMNS)
    for line in lines:
        yield writer.writerow([_cell(_value_at_path(line, path)) for path in CSV_COLUMNS])


class Echo:
    """A file for csv.writer that makes writerow() return the line."""

    def write(self, line: str) -> str:
        return line


CSV_COLUMNS = (
    "id", "state", "trigger", "installation.name", "event.id", "event.type", "event.name",
    "event.message_id", "event.user_id", "event.anonymous_id", "event.timestamp",
    "event.received_at", "queued_at", "settled_at", "attempt_count", "last_status",
    "last_duration_ms", "next_attempt_at", "gives_up_at", "error", "reason", "resolved_at",
    "resolved_by", "resolution",
)  # fmt: skip


def _value_at_path(line: dict[str, Any], path: str) -> Any:
    name, _, rest = path.partition(".")
    return _value_at_path(line[name], rest) if rest else line[name]


def _cell(value: Any) -> Any:
    """Return a value as a cell. Quote text that a spreadsheet would read as a formula."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_PREFIXES) else value
