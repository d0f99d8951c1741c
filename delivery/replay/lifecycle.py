"""Starts, pauses, resumes and cancels a replay."""

from collections.abc import Sequence

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils import timezone

from delivery.models import Replay
from delivery.replay.job import State, enqueue_stalled_replays, step_replay
from delivery.replay.pace import ReplayWindow
from delivery.replay.selection import ReplaySelection, build_replay_range, selection_to_json
from integrations.access import audit
from integrations.models import Installation


class ReplayAlreadyRunning(Exception):
    """An identical replay is running."""


class InvalidReplayState(Exception):
    """The state of a replay does not allow the requested change."""


def start_replay(
    kind: str,
    installation: Installation,
    wanted: ReplaySelection,
    *,
    rate: float | None = None,
    by: AbstractBaseUser | None = None,
) -> Replay:
    """Start a replay of everything that exists now. Raises ReplayAlreadyRunning."""
    span = build_replay_range(kind, installation.pk, wanted)
    with transaction.atomic():
        Installation.objects.select_for_update().get(pk=installation.pk)  # one start at a time
        same = Replay.objects.filter(
            installation=installation, kind=kind, wanted=selection_to_json(wanted), finished_at=None
        )
        if found := same.first():
            raise ReplayAlreadyRunning(f"This replay is already running: {found}.")
        replay = Replay.objects.create(
            installation=installation, kind=kind, wanted=selection_to_json(wanted),
            rate=rate, created_by=by, first=span.first, cursor=span.first, end=span.end,
        )  # fmt: skip
        audit.record("replay.started", replay, new={**replay.wanted, "rate": rate})
        transaction.on_commit(lambda: enqueue_stalled_replays(timezone.now()))
    return replay


def pause_replay(replay: Replay) -> None:
    """Stop queueing. Deliveries already in its lane are still sent. Raises InvalidReplayState."""
    _change_state(replay, "paused", (State.RUNNING,), State.PAUSED)


def resume_replay(replay: Replay) -> None:
    """Continue at the cursor. Raises InvalidReplayState."""
    _change_state(replay, "resumed", (State.PAUSED,), State.RUNNING)
    transaction.on_commit(lambda: enqueue_stalled_replays(timezone.now()))


def cancel_replay(replay: Replay) -> None:
    """Stop queueing and take back deliveries that were not sent. Raises InvalidReplayState."""
    _change_state(replay, "cancelled", (State.RUNNING, State.PAUSED), State.CANCELLING)
    step_replay(replay.pk, ReplayWindow(), timezone.now())
    transaction.on_commit(lambda: enqueue_stalled_replays(timezone.now()))


def _change_state(replay: Replay, name: str, before: Sequence[str], after: str) -> None:
    with transaction.atomic():
        rows = Replay.objects.filter(pk=replay.pk, state__in=before)
        turned = rows.update(state=after, stepped_at=None)
        replay.refresh_from_db()
        if not turned:
            raise InvalidReplayState(f"The replay is {replay.get_state_display().lower()}.")
        audit.record(f"replay.{name}", replay)
