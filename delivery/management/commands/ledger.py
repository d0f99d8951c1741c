import json

from django.core.management.base import BaseCommand
from django.db import connection, transaction

from delivery.ledger import Ledger, ledger

COLUMNS = (
    "installation", "in_scope", "unwanted", "queued", "delivered", "filtered", "failed",
    "cancelled", "difference",
)  # fmt: skip


class Command(BaseCommand):
    help = (
        "Prove that no event is lost: for each installation, events in scope = not wanted + "
        "queued + delivered + filtered + failed + cancelled. Exit 1 when it does not close."
    )

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="Print it for programs.")

    def handle(self, *args, json: bool, **options):
        book = read()
        self.stdout.write(as_json(book) if json else as_table(book))
        if not book.closes:
            raise SystemExit(1)


def read() -> Ledger:
    """Return the ledger as of one moment, whatever is stored and delivered meanwhile."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return ledger()


def as_json(book: Ledger) -> str:
    return json.dumps(book.as_dict(), indent=2)


def as_table(book: Ledger) -> str:
    lines = book.as_dict()["installations"]
    rows = [COLUMNS, *(tuple(str(line[name]) for name in COLUMNS) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    verdict = "The ledger closes." if book.closes else "THE LEDGER DOES NOT CLOSE."
    return "\n".join([*table, f"Events: {book.stored} stored, {book.accepted} accepted.", verdict])
