"""Save an installation's blueprint as a new revision, and roll back to an old one."""

from typing import Any

from django.db import transaction

from integrations.access import audit
from integrations.blueprints import BlueprintError, Problem, compile_blueprint
from integrations.blueprints.diff import describe_changes
from integrations.installations.install import MISSING_DESTINATION_FIX
from integrations.installations.observers import notify_changed
from integrations.models import Installation, Revision

MAX_SUMMARY_CHARS = 200  # characters of a change summary


class OutdatedRevision(Exception):
    """Another revision was saved after this one was opened for editing."""

    def __init__(self, based_on: int, newest: Revision):
        super().__init__(
            f"Revision {newest.number} was saved by {newest.author} after you started to edit "
            f"revision {based_on}. Compare the two, then save again."
        )


def save_revision(
    installation: Installation,
    blueprint: Any,
    *,
    by: Any,
    summary: str = "",
    based_on: int | None = None,
) -> Revision:
    """Save a blueprint as the installation's next revision, make it current, and return it.

    summary   what was changed and why; if empty, it is generated from the changes
    based_on  the number of the edited revision, or None to skip the check that it is the newest

    Raises BlueprintError with all problems of the blueprint, OutdatedRevision if `based_on` is not
    the newest revision, and Installation.DoesNotExist if it was uninstalled.
    """
    if installation.destination.is_missing:
        text = f"{installation.destination.description} {MISSING_DESTINATION_FIX}"
        raise BlueprintError([Problem("", text)])
    compile_blueprint(blueprint, installation.destination.kinds)
    with transaction.atomic():
        # Locked, so that concurrent saves get different numbers and the later sees the earlier.
        rows = Installation.objects.installed().select_for_update(of=("self",))
        pinned = rows.get(pk=installation.pk)
        newest = pinned.revisions.order_by("number").last()
        if newest and based_on not in (None, newest.number):
            raise OutdatedRevision(based_on, newest)
        before = pinned.revision.blueprint if pinned.revision else {}
        summary = summary.strip() or " ".join(describe_changes(before, blueprint))
        revision = pinned.revisions.create(
            number=newest.number + 1 if newest else 1,
            blueprint=blueprint,
            change_summary=_shorten(summary),
            created_by=by,
        )
        Installation.objects.filter(pk=pinned.pk).update(revision=revision)
        _record_saved(pinned, newest, revision)
        notify_changed(pinned)
    installation.revision = revision
    return revision


def roll_back(installation: Installation, number: int, *, by: Any) -> Revision:
    """Save an old revision again as the newest one, and return that. History is never deleted.

    Raises Revision.DoesNotExist, and BlueprintError if the blueprint is no longer valid.
    """
    old = installation.revisions.get(number=number)
    return save_revision(
        installation, old.blueprint, by=by, summary=f"Rolled back to revision {number}."
    )


def _record_saved(installation: Installation, old: Revision | None, new: Revision) -> None:
    summary = new.change_summary
    before = {"number": old.number if old else None}
    audit.record("revision.created", new, before, {"number": new.number, "change_summary": summary})
    old_values = {"revision": old.number} if old else {}
    new_values = {"revision": new.number, "summary": summary}
    audit.record("installation.blueprint_saved", installation, old_values, new_values)


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SUMMARY_CHARS else f"{text[: MAX_SUMMARY_CHARS - 1]}…"
