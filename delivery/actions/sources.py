"""Removes a source."""

from datetime import datetime

from django.db import transaction

from delivery.models import Event, Tally
from integrations.access import audit
from integrations.models import Source, WebhookSource
from integrations.sources import manage


def remove_source(source: Source, now: datetime) -> bool:
    """Delete a source that never sent anything, else archive it. Return whether it was deleted."""
    with transaction.atomic():
        used = (Event, Tally, WebhookSource)
        if any(model._default_manager.filter(source=source).exists() for model in used):
            manage.archive_source(source, now)
            return False
        audit.record("source.deleted", source, old=audit.column_values(source))
        source.delete()
        return True
