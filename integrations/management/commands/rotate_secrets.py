"""`manage.py rotate_secrets`: seal all stored secrets with the first of PENSTOCK_SECRETS_KEYS."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from integrations.access.sealed_columns import Rotation, sealed_columns

MAX_ROWS_LISTED = 20  # of a column


class Command(BaseCommand):
    help = (
        "Seal every stored secret with the first key of PENSTOCK_SECRETS_KEYS, while Penstock "
        "runs. Afterwards the other keys can be removed. It can be interrupted and repeated. "
        "Exits with 1 if no key opens a value; such values stay as they are."
    )

    def handle(self, **options: Any) -> None:
        rotations = [Rotation(column) for column in sealed_columns()]
        for rotation in rotations:
            self.rotate(rotation)
        resealed = sum(each.resealed for each in rotations)
        unreadable = sum(len(each.unreadable) for each in rotations)
        self.stdout.write(f"Sealed {resealed:,} values with the first key.")
        if unreadable:
            raise CommandError(
                f"{unreadable:,} values cannot be opened by any of PENSTOCK_SECRETS_KEYS. Add the "
                "key that sealed them to the list and run this again, or enter them again."
            )

    def rotate(self, rotation: Rotation) -> None:
        total = rotation.column.rows().count()
        for _ in rotation.run():
            self.stdout.write(f"{rotation.column}: {rotation.seen:,} of {total:,}")
        for text in rotation.column.describe(rotation.unreadable[:MAX_ROWS_LISTED]):
            self.stderr.write(f"{rotation.column}: {text} cannot be opened.")
