"""What people and programs do at a terminal. Exit codes: 0 done, 1 refused, 2 not understood."""

import json
import sys
import time
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from delivery.accounting import metrics
from delivery.log import query, search_language
from delivery.log.representation import listed
from delivery.log.tail import tail
from delivery.models import Replay
from delivery.replay import job
from delivery.replay.job import AlreadyRunning
from delivery.replay.selection import Wanted
from delivery.status.installations import clock, state_in_words, with_state
from integrations.catalog import catalog
from integrations.installations.install import InvalidInstallation, NameTaken, install
from integrations.models import Installation, Source
from integrations.request_context import Caller, calling
from integrations.sources import manage

LOOK = 1.0  # seconds between two looks of --follow
PIPED = 200  # columns, where nobody says how wide the terminal is
COLOURS = {
    "queued": "blue", "delivered": "green", "filtered": "dim", "failed": "red", "cancelled": "dim",
    "busy": "blue", "well": "green", "waiting": "yellow", "attention": "red", "off": "dim",
    "new": "dim",
}  # fmt: skip


class Command(BaseCommand):
    help = "Install, look after sources, and read the log. See docs/cli.md."

    def add_arguments(self, parser):
        commands = parser.add_subparsers(dest="command", required=True, metavar="command")
        for add in (add_install, add_installations, add_sources, add_deliveries, add_replay):
            add(commands)

    def handle(self, *args, command, act, **options):
        screen = Screen(self.stdout, as_json=options["json"])
        with calling(Caller(name=f"penstock {command}")):
            try:
                act(screen, options)
            except (InvalidInstallation, ValidationError) as error:
                raise CommandError(in_words(error)) from None
            except (NameTaken, Refused, AlreadyRunning) as error:
                raise CommandError(str(error)) from None
            except KeyboardInterrupt:
                sys.exit(130)


class Refused(Exception):
    """It cannot be done; the text says why, and what can."""


def in_words(error):
    """Return what is wrong with which field, a line each."""
    if isinstance(error, InvalidInstallation):
        return "\n".join(f"{name}: {problem}" for name, problem in error.fields.items())
    return "\n".join(f"{name}: {' '.join(said)}" for name, said in error.message_dict.items())


class Screen:
    """Where answers go: tables for people, JSON for programs, no colour where nobody looks."""

    def __init__(self, out, *, as_json):
        is_terminal = out.isatty()
        self.out, self.as_json = out, as_json
        self.console = Console(
            file=getattr(out, "_out", out), width=None if is_terminal else PIPED, highlight=False
        )

    def rows(self, rows, columns):
        """Print a list: `columns` are (title, function of a row) for people."""
        if self.as_json:
            return self.value(rows)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title, _ in columns:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*(cell(read(row)) for _, read in columns))
        return self.console.print(table)

    def line(self, row, columns):
        """Print one row of a list that goes on."""
        if self.as_json:
            self.value(row, indent=None)
        else:
            cells = [cell(read(row)) for _, read in columns]
            self.console.print(*cells, sep="  ", soft_wrap=True)

    def value(self, value, indent=2):
        self.out.write(json.dumps(value, cls=DjangoJSONEncoder, indent=indent))
        self.out.flush()

    def said(self, value, sentence):
        """Print a sentence, or for programs the value that it tells of."""
        self.value(value) if self.as_json else self.console.print(sentence, soft_wrap=True)


def cell(value):
    """Return a value as a cell. Text, so that nothing in the data is taken for markup."""
    value = "" if value is None else str(value)
    return Text(value, style=COLOURS.get(value.partition(" ")[0], ""))


def a_command(commands, name, help, act):  # noqa: A002  (argparse calls it that)
    parser = commands.add_parser(name, help=help, description=help)
    parser.add_argument("--json", action="store_true", help="For programs.")
    parser.set_defaults(act=act)
    return parser


# --- install -------------------------------------------------------------------------------------


def add_install(commands):
    parser = a_command(commands, "install", "Install a destination of the catalog.", do_install)
    parser.add_argument("destination", help=f"one of: {', '.join(catalog())}")
    parser.add_argument("--config", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--name", help="the destination's, when not given")
    parser.add_argument("--variant", default="default")


def do_install(screen, options):
    destination = catalog().get(options["destination"])
    if destination is None:
        raise Refused(f"No {options['destination']!r} in the catalog: {', '.join(catalog())}.")
    pairs = [each.partition("=") for each in options["config"]]
    if broken := [key for key, sign, _ in pairs if not sign]:
        raise Refused(f"--config {broken[0]}: write it as {broken[0]}=VALUE.")
    installation = install(
        destination,
        name=options["name"] or destination.name,
        variant=options["variant"],
        config={key: value for key, _, value in pairs},
    )
    told = {"id": installation.pk, "name": installation.name}
    screen.said(told, f"{installation.name} is installed, with the number {installation.pk}.")


# --- installations -------------------------------------------------------------------------------


def add_installations(commands):
    a_command(
        commands, "installations", "List what is installed, and how it is doing.", do_installations
    )


def do_installations(screen, options):
    installed = with_state(Installation.objects.installed().order_by("name"))
    queues = metrics.queues()
    rows = [installation_row(each, queues.get(each.pk, metrics.Queue())) for each in installed]
    names = ("id", "name", "destination", "state", "queued", "oldest", "detail")
    screen.rows(rows, [(name, lambda row, name=name: row[name]) for name in names])


def installation_row(installation, queue):
    now = timezone.now()
    words = state_in_words(installation, list(installation.lanes.all()), now)
    oldest = queue.oldest_queued_at
    return {
        "id": installation.pk,
        "name": installation.name,
        "destination": installation.destination_key,
        "state": f"{words.level} · {words.title}",
        "queued": queue.queued,
        "oldest": clock(oldest, now) if oldest else "",
        "detail": words.detail,
    }


# --- sources -------------------------------------------------------------------------------------


def add_sources(commands):
    parser = a_command(commands, "sources", "List sources; create one; rotate a key.", do_list)
    actions = parser.add_subparsers(metavar="action")
    a_command(actions, "list", "List sources and their write keys.", do_list)
    create = a_command(actions, "create", "Make a source.", do_create)
    create.add_argument("name")
    rotate = a_command(actions, "rotate", "Give a source a new write key.", do_rotate)
    rotate.add_argument("name")
    rotate.add_argument(
        "--overlap", type=float, default=24.0, metavar="HOURS", help="the old key's; 24 by default"
    )


def do_list(screen, options):
    rows = [
        {"id": each.pk, "name": each.name, "write_key": each.write_key}
        for each in Source.objects.in_use().order_by("name")
    ]
    screen.rows(
        rows, [(name, lambda row, name=name: row[name]) for name in ("id", "name", "write_key")]
    )


def do_create(screen, options):
    source = manage.create({"name": options["name"]})
    told = {"id": source.pk, "name": source.name, "write_key": source.write_key}
    screen.said(told, f"{source.name} has the write key {source.write_key}")


def do_rotate(screen, options):
    source = Source.objects.filter(name=options["name"]).first()
    if source is None:
        known = ", ".join(Source.objects.order_by("name").values_list("name", flat=True))
        raise Refused(f"There is no source {options['name']!r}; there are: {known}.")
    overlap = timedelta(hours=options["overlap"])
    key = manage.rotate_key(source, overlap=overlap, now=timezone.now())
    told = {"id": source.pk, "name": source.name, "write_key": key}
    screen.said(
        told,
        f"{source.name} has the write key {key}; the old one ends in {options['overlap']:g} h.",
    )


# --- deliveries ----------------------------------------------------------------------------------

DELIVERY = (
    ("received", lambda row: f"{row['event']['received_at']:%Y-%m-%d %H:%M:%S}"),
    ("state", lambda row: row["state"]),
    ("installation", lambda row: row["installation"]["name"]),
    ("event", lambda row: row["event"]["name"] or row["event"]["type"]),
    ("user", lambda row: row["event"]["user_id"] or row["event"]["anonymous_id"]),
    ("status", lambda row: row["last_status"]),
    ("delivery", lambda row: row["id"]),
    ("reason", lambda row: row["reason"] or row["error"]),
)


def add_deliveries(commands):
    parser = a_command(commands, "deliveries", "Read the log, or follow it.", do_deliveries)
    for name in ("installation", "state", "event", "user"):
        parser.add_argument(f"--{name}", action="append", default=[])
    parser.add_argument("--search", default="", help='as in the admin: "status:5xx since:2h"')
    parser.add_argument("--limit", type=int, default=50, choices=range(1, 1_001), metavar="N")
    parser.add_argument("--follow", action="store_true", help="Go on as they come; Ctrl-C ends it.")


def do_deliveries(screen, options):
    scope = scope_of(options)
    found = scope.page(limit=options["limit"]).rows[::-1]
    if not options["follow"]:
        screen.rows([listed(each, timezone.now()) for each in found], DELIVERY)
        return
    for rows in ([found], tail(scope, pause)):
        for some in rows:
            for each in some:
                screen.line(listed(each, timezone.now()), DELIVERY)


def scope_of(options):
    """Return the deliveries that the options mean. Raises Refused."""
    keys = ("installation", "state", "event", "user")
    given = [(key, value) for key in keys for value in options[key]]
    wanted = query.named(search_language.parse(options["search"], given))
    if wanted.problems:
        raise Refused("\n".join(wanted.problems))
    return query.scope(wanted, timezone.now())


def pause():
    time.sleep(LOOK)
    return True


# --- replay --------------------------------------------------------------------------------------


def add_replay(commands):
    parser = a_command(commands, "replay", "Deliver again, and watch how far it is.", do_replay)
    parser.add_argument("installation", help="its name or number")
    parser.add_argument("--backfill", action="store_true", help="events it has no delivery of")
    parser.add_argument("--state", action="append", default=[], help="failed, when not said")
    for name in ("event", "user", "since", "until"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--rate", type=float, metavar="N", help="deliveries a second, at most")
    parser.add_argument("--detach", action="store_true", help="Start it, and do not wait.")


def do_replay(screen, options):
    kind = Replay.Kind.BACKFILL if options["backfill"] else Replay.Kind.REPLAY
    replay = job.start(kind, installation_of(options), wanted_of(options), rate=options["rate"])
    if not options["detach"]:
        watch(screen, replay)
    replay.refresh_from_db()
    told = {"id": replay.pk, "state": replay.state, "queued": replay.queued, **replay.outcome}
    screen.said(
        told, f"{replay} is {replay.get_state_display().lower()}: {replay.queued:,} queued."
    )


def installation_of(options):
    named = query.named(search_language.parse("", [("installation", options["installation"])]))
    if named.problems:
        raise Refused("\n".join(named.problems))
    return Installation.objects.installed().get(name=named.values("installation")[0])


def wanted_of(options):
    keys = ("state", "event", "user", "since", "until")
    given = [(key, each) for key in keys for each in listed_of(options[key])]
    terms = search_language.parse("", given)
    if terms.problems:
        raise Refused("\n".join(terms.problems))
    now, of = timezone.now(), {term.key: term.value for term in terms.terms}
    times = {key: search_language.moment(of[key], now) for key in ("since", "until") if key in of}
    states = terms.values("state") or Wanted().states
    names = {"event": of.get("event", ""), "user_id": of.get("user", "")}
    return Wanted(states=tuple(states), **names, **times)


def listed_of(value):
    return value if isinstance(value, list) else [value] * bool(value)


def watch(screen, replay):
    """Wait until a replay is over. Ctrl-C ends the watching, not the replay."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[queued]:,} queued"), TimeElapsedColumn(),
    )  # fmt: skip
    quiet = screen.as_json or not screen.console.is_terminal
    with Progress(*columns, console=screen.console, disable=quiet) as progress:
        task = progress.add_task(str(replay), total=1.0, queued=0)
        while replay.is_open:
            progress.update(task, completed=replay.progress, queued=replay.queued)
            time.sleep(LOOK)
            replay.refresh_from_db()
