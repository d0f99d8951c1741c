"""Failed deliveries that a person dealt with elsewhere: marked with who, when and what was done.

They stay failed, and the ledger stays as it is; they only leave what needs a person.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from delivery.models import Delivery, Resolution
from integrations.access import audit

NOTE_MAX_LENGTH = 500  # characters of a note


class InvalidNote(ValueError):
    """The text says what is wrong with a note."""


def resolve_deliveries(
    rows: QuerySet[Delivery], note: str, now: datetime, *, search: str = ""
) -> int:
    """Mark those that are failed and not resolved yet; return how many. Raises InvalidNote.

    rows    no more than fit into one transaction
    search  what was asked for, where they were not named one by one
    """
    note, failed = clean_note(note), rows.filter(state=Delivery.State.FAILED)
    with transaction.atomic():
        locked = failed.order_by("pk").select_for_update(of=("self",))  # none is queued meanwhile
        found = list(locked.exclude(Delivery.is_resolved()))
        if not found:
            return 0
        about = found[0] if len(found) == 1 else f"{len(found):,} deliveries"
        new = {"count": len(found), "note": note, "search": search}
        entry = audit.record("delivery.resolved", about, new=new)
        _save_resolutions([each.pk for each in found], note, entry.actor, now)
    return len(found)


def clean_note(note: str) -> str:
    """Return a note as it is kept. Raises InvalidNote."""
    note = note.strip()
    if not note:
        raise InvalidNote("Say what was done instead, for whoever reads it later.")
    if len(note) > NOTE_MAX_LENGTH:
        raise InvalidNote(f"At most {NOTE_MAX_LENGTH} characters.")
    return note


def _save_resolutions(ids: Sequence[int], note: str, by: str, now: datetime) -> None:
    rows = [Resolution(delivery_id=pk, note=note, by=by[:150], at=now) for pk in ids]
    Resolution.objects.bulk_create(
        rows,
        update_conflicts=True,  # of an earlier failure
        unique_fields=["delivery"],
        update_fields=["note", "by", "at"],
    )
