"""Create and change sources, and their write keys."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from integrations.access import audit
from integrations.models import Source, WriteKey, new_write_key

MAX_KEY_OVERLAP = timedelta(days=90)


def create_source(values: Mapping[str, Any]) -> Source:
    """Create a source with a new write key. Raises ValidationError by field."""
    source = Source()
    _save_source(source, values, "created", {})
    return source


def change_source(source: Source, values: Mapping[str, Any]) -> None:
    """Change the given values of a source. Raises ValidationError by field."""
    _save_source(source, values, "updated", audit.column_values(source))


def _save_source(
    source: Source, values: Mapping[str, Any], verb: str, old: Mapping[str, Any]
) -> None:
    for name, value in values.items():
        setattr(source, name, value)
    source.name = source.name.strip()
    source.full_clean()
    with transaction.atomic():
        source.save()
        audit.record(f"source.{verb}", source, old, audit.column_values(source))


# --- keys ----------------------------------------------------------------------------------------


def add_write_key(
    source: Source, *, note: str = "", expires_at: datetime | None = None
) -> WriteKey:
    """Add a write key to a source and return it."""
    with transaction.atomic():
        key = WriteKey.objects.create(source=source, note=note, expires_at=expires_at)
        audit.record("source.key_added", source, new={"note": note, "expires_at": expires_at})
    return key


def rotate_write_key(source: Source, *, overlap: timedelta, now: datetime) -> str:
    """Replace the primary write key of a source and return the new key.

    overlap  how long the old key stays valid. With 0 it ends at once, except for the seconds for
             which web processes cache keys

    Raises ValidationError if the overlap is negative or too long.
    """
    if not timedelta(0) <= overlap <= MAX_KEY_OVERLAP:
        raise ValidationError({"overlap_hours": f"Must be from 0 to {MAX_KEY_OVERLAP.days * 24}."})
    with transaction.atomic():
        row = Source.objects.select_for_update().get(pk=source.pk)
        old, source.write_key = row.write_key, new_write_key()
        source.save(update_fields=["write_key"])
        if overlap:
            end = now + overlap
            WriteKey.objects.create(source=source, key=old, note="rotated", expires_at=end)
        audit.record("source.key_rotated", source, new={"overlap": str(overlap)})
    return source.write_key


def revoke_write_key(key: WriteKey) -> None:
    """Revoke a further write key. Requests with it are refused from now on."""
    with transaction.atomic():
        audit.record("source.key_revoked", key.source, old={"note": key.note})
        key.delete()


def replace_signing_secret(source: Source) -> str:
    """Set a new signing secret for a source, replacing any old one, and return it."""
    with transaction.atomic():
        secret = source.new_signing_secret()
        source.save(update_fields=["sealed_signing_secret"])
        audit.record("source.signing_secret_made", source)
    return secret


# --- archive -------------------------------------------------------------------------------------


def archive_source(source: Source, now: datetime) -> None:
    """Archive a source: it may no longer send. Its events stay, and its name stays taken."""
    with transaction.atomic():
        Source.objects.filter(pk=source.pk, archived_at=None).update(archived_at=now)
        audit.record("source.archived", source)


def restore_source(source: Source) -> None:
    """Restore an archived source, which may then send again with the same keys."""
    with transaction.atomic():
        Source.objects.filter(pk=source.pk).update(archived_at=None)
        audit.record("source.brought_back", source)
