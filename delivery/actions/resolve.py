"""Marks failed deliveries as resolved, with who dealt with them, when and how.

A resolved delivery stays failed and the ledger is unchanged. It only stops counting as a problem
that needs attention.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from delivery.models import Delivery, Resolution
from integrations.access import audit

NOTE_MAX_LENGTH = 500  # characters of a note


class InvalidNote(ValueError):
    """A note is empty or too long; the message names the problem."""


def resolve_deliveries(
    rows: QuerySet[Delivery], note: str, now: datetime, *, search: str = ""
) -> int:
    """Resolve the failed deliveries that are not resolved yet; return how many.

    rows    no more than fit into one transaction
    search  the search that selected them, if they were not selected one by one

    Raises InvalidNote.
    """
    note, failed = clean_note(note), rows.filter(state=Delivery.State.FAILED)
    with transaction.atomic():
        locked = failed.order_by("pk").select_for_update(of=("self",))  # so none is requeued
        found = list(locked.exclude(Delivery.is_resolved()))
        if not found:
            return 0
        about = found[0] if len(found) == 1 else f"{len(found):,} deliveries"
        new = {"count": len(found), "note": note, "search": search}
        entry = audit.record("delivery.resolved", about, new=new)
        _save_resolutions([each.pk for each in found], note, entry.actor, now)
    return len(found)


def clean_note(note: str) -> str:
    """Return a note as it is stored. Raises InvalidNote."""
    note = note.strip()
    if not note:
        raise InvalidNote("Describe what was done instead.")
    if len(note) > NOTE_MAX_LENGTH:
        raise InvalidNote(f"Use at most {NOTE_MAX_LENGTH} characters.")
    return note


def _save_resolutions(ids: Sequence[int], note: str, by: str, now: datetime) -> None:
    rows = [Resolution(delivery_id=pk, note=note, by=by[:150], at=now) for pk in ids]
    Resolution.objects.bulk_create(
        rows,
        update_conflicts=True,  # replaces the resolution of an earlier failure
        unique_fields=["delivery"],
        update_fields=["note", "by", "at"],
    )
