"""`manage.py penstock replay`: start a replay or backfill, and show its progress."""

import time

from django.utils import timezone
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from delivery.log.search import language
from delivery.management.cli.deliveries import CLI_POLL_SECONDS
from delivery.management.cli.installations import installation_from_options
from delivery.management.cli.screen import CommandRefused, add_command
from delivery.models import Replay
from delivery.replay import lifecycle
from delivery.replay.selection import ReplaySelection


def add_replay(commands):
    parser = add_command(commands, "replay", "Deliver again, and show the progress.", do_replay)
    parser.add_argument("installation", help="its name or id")
    parser.add_argument(
        "--backfill", action="store_true", help="deliver past events without a delivery"
    )
    parser.add_argument("--state", action="append", default=[], help="default: failed")
    for name in ("event", "user", "since", "until"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--rate", type=float, metavar="N", help="at most N deliveries per second")
    parser.add_argument("--detach", action="store_true", help="Start it without waiting.")


def do_replay(screen, options):
    kind = Replay.Kind.BACKFILL if options["backfill"] else Replay.Kind.REPLAY
    replay = lifecycle.start_replay(
        kind,
        installation_from_options(options),
        selection_from_options(options),
        rate=options["rate"],
    )
    if not options["detach"]:
        show_replay_progress(screen, replay)
    replay.refresh_from_db()
    result = {"id": replay.pk, "state": replay.state, "queued": replay.queued, **replay.outcome}
    screen.report(
        result, f"{replay} is {replay.get_state_display().lower()}: {replay.queued:,} queued."
    )


def selection_from_options(options):
    keys = ("state", "event", "user", "since", "until")
    given = [(key, each) for key in keys for each in as_list(options[key])]
    terms = language.parse_search("", given)
    if terms.problems:
        raise CommandRefused("\n".join(terms.problems))
    now, of = timezone.now(), {term.key: term.value for term in terms.terms}
    times = {key: language.parse_time(of[key], now) for key in ("since", "until") if key in of}
    states = terms.values("state") or ReplaySelection().states
    names = {"event": of.get("event", ""), "user_id": of.get("user", "")}
    return ReplaySelection(states=tuple(states), **names, **times)


def as_list(value):
    return value if isinstance(value, list) else [value] * bool(value)


def show_replay_progress(screen, replay):
    """Show the progress of a replay until it ends. Ctrl-C does not end the replay."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[queued]:,} queued"), TimeElapsedColumn(),
    )  # fmt: skip
    quiet = screen.as_json or not screen.console.is_terminal
    with Progress(*columns, console=screen.console, disable=quiet) as progress:
        task = progress.add_task(str(replay), total=1.0, queued=0)
        while replay.is_open:
            progress.update(task, completed=replay.progress, queued=replay.queued)
            time.sleep(CLI_POLL_SECONDS)
            replay.refresh_from_db()
