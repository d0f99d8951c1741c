import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection, transaction
from django.utils import timezone

from delivery.accounting.ledger import Ledger, ledger
from delivery.accounting.reconciliation import (
    Hole,
    Hour,
    Named,
    by_event,
    by_hour,
    holes,
    whole_since,
)

COLUMNS = (
    "installation", "in_scope", "unwanted", "queued", "delivered", "filtered", "failed",
    "cancelled", "difference",
)  # fmt: skip
STATES = ("queued", "delivered", "filtered", "failed", "cancelled")
PARTS = {"hour": ("hour", *COLUMNS), "event": ("installation", "event", *STATES)}


class Command(BaseCommand):
    help = (
        "Prove that no event is lost: for each installation, events in scope = not wanted + "
        "queued + delivered + filtered + failed + cancelled. Exit 1 when it does not close, or "
        "when there is a hole."
    )

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="Print it for programs.")
        parser.add_argument(
            "--by",
            choices=PARTS,
            help="In parts: by the hour in which events were received, or by their names.",
        )
        parser.add_argument(
            "--holes",
            action="store_true",
            help="Look for events without a delivery, deliveries without an event and attempts "
            "that claim more than they carried. Reads the whole log.",
        )

    def handle(self, *args, json: bool, by: str | None, holes: bool, **options):
        with one_state():
            book = ledger()
            parts = parts_of(by)
            found = holes_found() if holes else None
        write = as_json if json else as_table
        self.stdout.write(write(book, by, parts, found))
        if not book.closes or found:
            raise SystemExit(1)


@contextmanager
def one_state():
    """See the database as of one moment, whatever is stored and delivered meanwhile."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def parts_of(by: str | None) -> list[Hour] | list[Named]:
    if by == "hour":
        return by_hour(whole_since(timezone.now()))
    return by_event() if by == "event" else []


def holes_found() -> list[Hole]:
    return holes(timezone.now())


def as_json(
    book: Ledger, by: str | None, parts: Sequence[Any], found: Sequence[Hole] | None
) -> str:
    told = book.as_dict()
    if by:
        told[f"by_{by}"] = [row(each) for each in parts]
    if found is not None:
        told["holes"] = [asdict(each) for each in found]
    return json.dumps(told, indent=2)


def as_table(
    book: Ledger, by: str | None, parts: Sequence[Any], found: Sequence[Hole] | None
) -> str:
    blocks = [table(COLUMNS, book.as_dict()["installations"])]
    if by:
        blocks += ["", table(PARTS[by], [row(each) for each in parts]), ""]
    blocks.append(f"Events: {book.stored} stored, {book.accepted} accepted.")
    blocks.append("The ledger closes." if book.closes else "THE LEDGER DOES NOT CLOSE.")
    if found is not None:
        blocks += [f"HOLE, {each.kind}: {each.text}" for each in found] or ["No holes."]
    elif not book.closes:
        blocks.append("Where: manage.py ledger --holes --by hour")
    return "\n".join(blocks)


def row(part: Hour | Named) -> dict[str, Any]:
    difference = {"difference": part.difference} if isinstance(part, Hour) else {}
    return {**asdict(part), **difference}


def table(columns: Sequence[str], lines: Sequence[dict[str, Any]]) -> str:
    rows = [tuple(columns), *(tuple(str(line[name]) for name in columns) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(each, widths, strict=True))
        for each in rows
    )
