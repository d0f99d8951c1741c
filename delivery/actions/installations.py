"""Pauses, resumes and uninstalls an installation."""

from datetime import datetime

from django.db import transaction

from delivery.actions.deliveries import cancel_queued
from delivery.lanes import wakeups
from delivery.models import Lane
from integrations.access import audit
from integrations.installations.change import mark_uninstalled
from integrations.models import Installation


def pause_installation(installation: Installation) -> None:
    """Stop sending to an installation. New deliveries wait in its queue."""
    with transaction.atomic():
        Installation.objects.installed().filter(pk=installation.pk).update(enabled=False)
        audit.record("installation.paused", installation)


def resume_installation(installation: Installation) -> None:
    """Resume an installation and let its lanes send at once, even those that wait for a retry."""
    with transaction.atomic():
        Installation.objects.installed().filter(pk=installation.pk).update(enabled=True)
        audit.record("installation.resumed", installation)
        resume_lanes(installation)


def uninstall(installation: Installation, now: datetime) -> int:
    """Uninstall an installation and cancel its queued deliveries; return how many.

    Its row, log and metrics are kept. If this is interrupted, the sweep cancels the rest.
    """
    mark_uninstalled(installation, now)
    return cancel_queued(installation.pk, "The installation was uninstalled.", now)


def resume_lanes(installation: Installation) -> None:
    """Let the lanes of an installation send at once, because the installation has changed."""
    rows = Lane.objects.filter(installation=installation)
    rows.resume()
    lane_ids = list(rows.values_list("pk", flat=True))
    transaction.on_commit(lambda: wakeups.wake_lanes(lane_ids))
