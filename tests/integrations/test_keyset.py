"""Lookups of ids by time, with gaps in the ids and pauses in the times."""

import random
from datetime import timedelta

import pytest
from django.utils import timezone

from integrations.keyset import end_id, first_id
from integrations.models import AuditEntry

pytestmark = pytest.mark.django_db

START = timezone.now() - timedelta(days=40)


def fill(times):
    """Store a row for each (id, seconds after START)."""
    rows = [AuditEntry(pk=pk, at=START + timedelta(seconds=at), changes={}) for pk, at in times]
    AuditEntry.objects.bulk_create(rows, batch_size=1_000)


def found(seconds):
    """Return the id of the first row at or after a moment, or None."""
    first = first_id(AuditEntry, "at", START + timedelta(seconds=seconds))
    return AuditEntry.objects.filter(pk__gte=first).values_list("pk", flat=True).first()


def shapes():
    dice = random.Random(1)
    yield "evenly", [(n, n) for n in range(1, 2_001)]
    yield "with gaps", [(n * dice.randint(1, 50) + n * 50, n) for n in range(1, 2_001)]
    yield "nothing, then much", [(1, 0), *((n, 1_000_000 + n) for n in range(2, 2_001))]
    yield "much, then nothing", [*((n, n) for n in range(1, 2_000)), (9_000_000, 3_000_000)]
    yield "all at once", [(n, 5) for n in range(1, 2_001)]
    yield "a few", [(7, 1), (9, 2), (700, 3)]


@pytest.mark.parametrize("times", [pytest.param(t, id=name) for name, t in shapes()])
def test_the_first_row_at_or_after_a_moment_is_found(times):
    rows = sorted(dict(times).items())
    rows = [(pk, at) for (pk, _), at in zip(rows, sorted(at for _, at in rows), strict=True)]
    fill(rows)
    moments = [rows[n * (len(rows) - 1) // 40][1] for n in range(41)]
    for moment in {*moments, rows[0][1] - 1, rows[-1][1] + 1, *(m + 0.5 for m in moments)}:
        assert found(moment) == next((pk for pk, at in rows if at >= moment), None), moment


def test_nothing_is_found_in_nothing():
    assert first_id(AuditEntry, "at", START) == end_id(AuditEntry, "at", START) == 0
