"""Start, pause, resume and cancel a replay."""

from collections.abc import Sequence

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils import timezone

from delivery.models import Replay
from delivery.replay.job import State, ring, step
from delivery.replay.pace import Window
from delivery.replay.selection import Wanted, as_json, range_of
from integrations.access import audit
from integrations.models import Installation


class AlreadyRunning(Exception):
    """The very same replay is under way."""


class NotPossible(Exception):
    """A replay that is over cannot be paused, resumed or cancelled."""


def start(
    kind: str,
    installation: Installation,
    wanted: Wanted,
    *,
    rate: float | None = None,
    by: AbstractBaseUser | None = None,
) -> Replay:
    """Start a replay of what there is now. Raises AlreadyRunning when it runs already."""
    span = range_of(kind, installation.pk, wanted)
    with transaction.atomic():
        Installation.objects.select_for_update().get(pk=installation.pk)  # one start at a time
        same = Replay.objects.filter(
            installation=installation, kind=kind, wanted=as_json(wanted), finished_at=None
        )
        if found := same.first():
            raise AlreadyRunning(f"It is under way already: {found}.")
        replay = Replay.objects.create(
            installation=installation, kind=kind, wanted=as_json(wanted), rate=rate, created_by=by,
            first=span.first, cursor=span.first, end=span.end,
        )  # fmt: skip
        audit.record("replay.started", replay, new={**replay.wanted, "rate": rate})
        transaction.on_commit(lambda: ring(timezone.now()))
    return replay


def pause(replay: Replay) -> None:
    """Queue no more; what is in its lane is still sent. Raises NotPossible."""
    _turn(replay, "paused", (State.RUNNING,), State.PAUSED)


def resume(replay: Replay) -> None:
    """Go on where it was paused. Raises NotPossible."""
    _turn(replay, "resumed", (State.PAUSED,), State.RUNNING)
    transaction.on_commit(lambda: ring(timezone.now()))


def cancel(replay: Replay) -> None:
    """Queue no more and take back what nobody has sent yet. Raises NotPossible."""
    _turn(replay, "cancelled", (State.RUNNING, State.PAUSED), State.CANCELLING)
    step(replay.pk, Window(), timezone.now())
    transaction.on_commit(lambda: ring(timezone.now()))


def _turn(replay: Replay, name: str, before: Sequence[str], after: str) -> None:
    with transaction.atomic():
        rows = Replay.objects.filter(pk=replay.pk, state__in=before)
        turned = rows.update(state=after, stepped_at=None)
        replay.refresh_from_db()
        if not turned:
            raise NotPossible(f"It is {replay.get_state_display().lower()}.")
        audit.record(f"replay.{name}", replay)
