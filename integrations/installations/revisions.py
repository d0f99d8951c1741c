"""An installation's blueprint over time: save it as a new revision, and go back to an old one."""

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
    """Somebody else saved a revision since this one was opened."""

    def __init__(self, based_on: int, newest: Revision):
        super().__init__(
            f"Revision {newest.number} was saved meanwhile, by {newest.author}. What you have is "
            f"based on revision {based_on}: compare the two, then save again."
        )


def save_revision(
    installation: Installation,
    blueprint: Any,
    *,
    by: Any,
    summary: str = "",
    based_on: int | None = None,
) -> Revision:
    """Keep a blueprint as the installation's next revision, pin it, and return it.

    summary   what was changed and why; what was changed is found out where it is left empty
    based_on  the number of the revision that was edited, to refuse when it is not the newest

    Raises BlueprintError with all that is wrong with the blueprint, Outdated, and
    Installation.DoesNotExist when it was uninstalled.
    """
    if installation.destination.is_missing:
        text = f"{installation.destination.description} {MISSING_DESTINATION_FIX}"
        raise BlueprintError([Problem("", text)])
    compile_blueprint(blueprint, installation.destination.kinds)
    with transaction.atomic():
        # the lock: two who save at once get two numbers, and the later one sees the earlier
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
    """Save a revision again as the newest one, and return that: the history only ever grows.

    Raises Revision.DoesNotExist, and BlueprintError where this version knows it no more.
    """
    old = installation.revisions.get(number=number)
    return save_revision(
        installation, old.blueprint, by=by, summary=f"Rolled back to revision {number}."
    )


def _record_saved(installation: Installation, old: Revision | None, new: Revision) -> None:
    summary = new.change_summary
    before = {"number": old.number if old else None}
    audit.record("revision.created", new, before, {"number": new.number, "change_summary": summary})
    was = {"revision": old.number} if old else {}
    now = {"revision": new.number, "summary": summary}
    audit.record("installation.blueprint_saved", installation, was, now)


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SUMMARY_CHARS else f"{text[: MAX_SUMMARY_CHARS - 1]}…"
