"""The state of a replay as text."""

from delivery.models import Replay
from delivery.status.status_text import StatusText
from integrations.humanize import format_count

REPLAY_STYLES = {
    Replay.State.RUNNING: ("busy", "sync"),
    Replay.State.PAUSED: ("off", "pause_circle"),
    Replay.State.CANCELLING: ("waiting", "schedule"),
    Replay.State.CANCELLED: ("off", "cancel"),
    Replay.State.DONE: ("well", "check_circle"),
}


def describe_replay(replay: Replay) -> StatusText:
    """Return the state of a replay, which must be loaded with its installation."""
    level, icon = REPLAY_STYLES[replay.state]
    return StatusText(level, icon, replay.get_state_display(), _replay_detail(replay))


def _replay_detail(replay: Replay) -> str:
    queued = format_count(replay.queued, "delivery", "deliveries")
    if replay.state == Replay.State.CANCELLED:
        return f"{queued} queued; {replay.taken_back:,} of them taken back before they were sent."
    if replay.state == Replay.State.DONE:
        outcome = ", ".join(f"{n:,} {state}" for state, n in sorted(replay.outcome.items()))
        return f"{queued} queued{f': {outcome}' if outcome else '; nothing matched'}."
    if not replay.installation.enabled:
        return f"{queued} queued; {replay.installation} is paused, so they wait."
    if replay.cursor >= replay.end:
        return f"{queued} queued; the last of them are being sent."
    return f"{queued} queued so far."
