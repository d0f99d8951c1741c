import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection, transaction
from django.utils import timezone

from delivery.accounting.ledger import Ledger, build_ledger
from delivery.accounting.reconciliation import (
    Discrepancy,
    EventNameLine,
    HourlyLedgerLine,
    first_unpurged_hour,
    ledger_by_event_name,
    ledger_by_hour,
    list_discrepancies,
)

LEDGER_COLUMNS = (
    "installation", "in_scope", "unwanted", "queued", "delivered", "filtered", "failed",
    "cancelled", "difference",
)  # fmt: skip
LEDGER_STATES = ("queued", "delivered", "filtered", "failed", "cancelled")
BREAKDOWN_COLUMNS = {
    "hour": ("hour", *LEDGER_COLUMNS),
    "event": ("installation", "event", *LEDGER_STATES),
}


class Command(BaseCommand):
    help = (
        "Prove that no event is lost: for each installation, events in scope = not wanted + "
        "queued + delivered + filtered + failed + cancelled. Exit 1 if the ledger does not close "
        "or has a hole."
    )

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="Print JSON.")
        parser.add_argument(
            "--by",
            choices=BREAKDOWN_COLUMNS,
            help="Also break it down by the hour that events were received in, or by event name.",
        )
        parser.add_argument(
            "--holes",
            action="store_true",
            help="Also find events without a delivery, deliveries without an event, and attempts "
            "that claim more than they carried. Reads the whole log.",
        )

    def handle(self, *args, json: bool, by: str | None, holes: bool, **options):
        with consistent_snapshot():
            book = build_ledger()
            parts = ledger_breakdown(by)
            found = find_discrepancies() if holes else None
        write = ledger_json if json else ledger_text
        self.stdout.write(write(book, by, parts, found))
        if not book.closes or found:
            raise SystemExit(1)


@contextmanager
def consistent_snapshot():
    """Read the database as of one moment, while events are stored and delivered."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def ledger_breakdown(by: str | None) -> list[HourlyLedgerLine] | list[EventNameLine]:
    if by == "hour":
        return ledger_by_hour(first_unpurged_hour(timezone.now()))
    return ledger_by_event_name() if by == "event" else []


def find_discrepancies() -> list[Discrepancy]:
    return list_discrepancies(timezone.now())


def ledger_json(
    book: Ledger, by: str | None, parts: Sequence[Any], found: Sequence[Discrepancy] | None
) -> str:
    result = book.as_dict()
    if by:
        result[f"by_{by}"] = [breakdown_row(each) for each in parts]
    if found is not None:
        result["holes"] = [asdict(each) for each in found]
    return json.dumps(result, indent=2)


def ledger_text(
    book: Ledger, by: str | None, parts: Sequence[Any], found: Sequence[Discrepancy] | None
) -> str:
    blocks = [text_table(LEDGER_COLUMNS, book.as_dict()["installations"])]
    if by:
        blocks += [
            "",
            text_table(BREAKDOWN_COLUMNS[by], [breakdown_row(each) for each in parts]),
            "",
        ]
    blocks.append(f"Events: {book.stored} stored, {book.accepted} accepted.")
    blocks.append("The ledger closes." if book.closes else "THE LEDGER DOES NOT CLOSE.")
    if found is not None:
        blocks += [f"HOLE, {each.kind}: {each.text}" for each in found] or ["No holes."]
    elif not book.closes:
        blocks.append("To find the difference: manage.py ledger --holes --by hour")
    return "\n".join(blocks)


def breakdown_row(part: HourlyLedgerLine | EventNameLine) -> dict[str, Any]:
    difference = {"difference": part.difference} if isinstance(part, HourlyLedgerLine) else {}
    return {**asdict(part), **difference}


def text_table(columns: Sequence[str], lines: Sequence[dict[str, Any]]) -> str:
    rows = [tuple(columns), *(tuple(str(line[name]) for name in columns) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(each, widths, strict=True))
        for each in rows
    )
