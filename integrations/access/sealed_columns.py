"""The columns of sealed values: find what no key opens, and seal all with the first key."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import models, transaction

from integrations.encryption import SealedField, SecretsUnreadable, reseal, reveal

RESEAL_BATCH_SIZE = 100  # rows of one transaction


@dataclass(frozen=True, slots=True)
class SealedColumn:
    model: type[models.Model]
    name: str

    def __str__(self) -> str:
        return f"{self.model._meta.label}.{self.name}"

    def rows(self) -> models.QuerySet[Any]:
        """Return the rows with a value."""
        return self.model._base_manager.exclude(**{self.name: ""}).order_by("pk")

    def batches(self) -> Iterator[list[tuple[Any, str]]]:
        """Return the keys and values of all rows, including rows that are added in between."""
        rows = self.rows().values_list("pk", self.name)
        batch = list(rows[:RESEAL_BATCH_SIZE])
        while batch:
            yield batch
            batch = list(rows.filter(pk__gt=batch[-1][0])[:RESEAL_BATCH_SIZE])

    def describe(self, keys: list[Any]) -> list[str]:
        """Return a text for each row, such as "installation Heap"."""
        found = self.rows().filter(pk__in=keys)
        return [f"{self.model._meta.verbose_name} {each}" for each in found]


def sealed_columns() -> list[SealedColumn]:
    return [
        SealedColumn(model, column.name)
        for model in apps.get_models()
        for column in model._meta.local_fields
        if isinstance(column, SealedField)
    ]


def find_unreadable() -> list[str]:
    """Return a text for each row with a value that no key opens."""
    return [
        text
        for column in sealed_columns()
        for batch in column.batches()
        if (keys := [key for key, sealed in batch if not _can_open(sealed)])
        for text in column.describe(keys)
    ]


def _can_open(sealed: str) -> bool:
    try:
        reveal(sealed)
    except SecretsUnreadable:
        return False
    return True


@dataclass(slots=True)
class Rotation:
    """Seals the values of a column with the first key, while others read and change them.

    A value is replaced only if it is still the one that was read. Values under the first key are
    left alone, so that a rotation that was interrupted goes on where it ended.
    """

    column: SealedColumn
    seen: int = 0
    resealed: int = 0
    unreadable: list[Any] = field(default_factory=list)  # keys of rows

    def run(self) -> Iterator[None]:
        """Reseal all values; yield after each batch."""
        overtaken = True
        while overtaken:
            overtaken = False
            self.seen, self.unreadable = 0, []
            for batch in self.column.batches():
                overtaken |= self._reseal_batch(batch)
                yield

    def _reseal_batch(self, batch: list[tuple[Any, str]]) -> bool:
        """Return whether somebody else changed one of the values first."""
        replaced = []
        for key, sealed in batch:
            try:
                new = reseal(sealed)
            except SecretsUnreadable:
                self.unreadable.append(key)
                continue
            if new != sealed:
                replaced.append((key, sealed, new))
        name = self.column.name
        with transaction.atomic():
            written = sum(
                self.column.rows().filter(pk=key, **{name: old}).update(**{name: new})
                for key, old, new in replaced
            )
        self.seen += len(batch)
        self.resealed += written
        return written < len(replaced)
