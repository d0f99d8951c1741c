"""What a person can do to deliveries and installations, from the admin and the API alike."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from delivery.actions.deliveries import cancel_queued
from delivery.lanes import wakeups
from delivery.models import Lane
from integrations.access import audit
from integrations.installations import change as installations_change
from integrations.installations import install, revisions
from integrations.models import Installation, Revision


def pause(installation: Installation) -> None:
    """Stop sending to an installation; what comes in waits in its queue."""
    with transaction.atomic():
        Installation.objects.installed().filter(pk=installation.pk).update(enabled=False)
        audit.record("installation.paused", installation)


def resume(installation: Installation) -> None:
    """Send to an installation again, at once, whatever held it up."""
    with transaction.atomic():
        Installation.objects.installed().filter(pk=installation.pk).update(enabled=True)
        audit.record("installation.resumed", installation)
        _go_on(installation)


def reconfigure(
    installation: Installation, *, name: str, config: Mapping[str, Any], **pace: Any
) -> None:
    """Change an installation and let its lanes try anew with what was changed.

    pace  whether and how fast it delivers: enabled, lane_count, give_up_days

    Raises InvalidInstallation with every wrong field at once, and NameTaken.
    """
    install.reconfigure(installation, name=name, config=config, **pace)
    _go_on(installation)


def save_revision(installation: Installation, blueprint: Any, **how: Any) -> Revision:
    """Save a blueprint, as `revising.save_revision`, and let the lanes go on with it."""
    revision = revisions.save_revision(installation, blueprint, **how)
    _go_on(installation)
    return revision


def roll_back(installation: Installation, number: int, *, by: Any) -> Revision:
    """Go back to an old revision, as `revising.roll_back`, and let the lanes go on with it."""
    revision = revisions.roll_back(installation, number, by=by)
    _go_on(installation)
    return revision


def change(installation: Installation, values: Mapping[str, Any]) -> None:
    """Change parts of an installation, as `changing.change`, and let its lanes try anew."""
    with transaction.atomic():
        installations_change.change(installation, values)
        _go_on(installation)


def uninstall(installation: Installation, now: datetime) -> int:
    """Take an installation away, and cancel what is queued for it; return how many that were.

    Its row, its log and its numbers stay. Should this be interrupted, the sweep goes on with it.
    """
    installations_change.mark_uninstalled(installation, now)
    return cancel_queued(installation.pk, "The installation was uninstalled.", now)


def _go_on(installation: Installation) -> None:
    rows = Lane.objects.filter(installation=installation)
    rows.resume()
    lane_ids = list(rows.values_list("pk", flat=True))
    transaction.on_commit(lambda: wakeups.wake(lane_ids))
