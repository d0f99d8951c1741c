"""`manage.py penstock deliveries`: list and follow the log."""

import time

from django.utils import timezone

from delivery.log.representation import serialize_delivery
from delivery.log.search import language, query
from delivery.log.search import names as search_names
from delivery.log.tail import follow_deliveries
from delivery.management.cli.screen import CommandRefused, add_command

CLI_POLL_SECONDS = 1.0  # seconds between two polls of --follow

CLI_DELIVERY_COLUMNS = (
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
    parser = add_command(
        commands, "deliveries", "List deliveries, or follow the log.", do_deliveries
    )
    for name in ("installation", "state", "event", "user"):
        parser.add_argument(f"--{name}", action="append", default=[])
    parser.add_argument("--search", default="", help='as in the admin: "status:5xx since:2h"')
    parser.add_argument("--limit", type=int, default=50, choices=range(1, 1_001), metavar="N")
    parser.add_argument(
        "--follow", action="store_true", help="Print new deliveries as they arrive."
    )


def do_deliveries(screen, options):
    scope = query_from_options(options)
    found = scope.page(limit=options["limit"]).rows[::-1]
    if not options["follow"]:
        screen.rows(
            [serialize_delivery(each, timezone.now()) for each in found], CLI_DELIVERY_COLUMNS
        )
        return
    for rows in ([found], follow_deliveries(scope, wait_for_next_poll)):
        for some in rows:
            for each in some:
                screen.line(serialize_delivery(each, timezone.now()), CLI_DELIVERY_COLUMNS)


def query_from_options(options):
    """Return the query for the options. Raises CommandRefused."""
    keys = ("installation", "state", "event", "user")
    given = [(key, value) for key in keys for value in options[key]]
    wanted = search_names.resolve_names(language.parse_search(options["search"], given))
    if wanted.problems:
        raise CommandRefused("\n".join(wanted.problems))
    return query.compile_search(wanted, timezone.now())


def wait_for_next_poll():
    time.sleep(CLI_POLL_SECONDS)
    return True
