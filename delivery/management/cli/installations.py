"""`manage.py penstock install` and `installations`: install a destination, list installations."""

from django.utils import timezone

from delivery.accounting import queues as accounting_queues
from delivery.log.search import language
from delivery.log.search import names as search_names
from delivery.management.cli.screen import CommandRefused, add_command
from delivery.status.installations import describe_installation, with_state
from integrations.catalog import catalog
from integrations.humanize import format_time
from integrations.installations.install import install
from integrations.models import Installation


def add_install(commands):
    parser = add_command(commands, "install", "Install a destination of the catalog.", do_install)
    parser.add_argument("destination", help=f"one of: {', '.join(catalog())}")
    parser.add_argument("--config", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--name", help="default: the destination's name")
    parser.add_argument("--variant", default="default")


def do_install(screen, options):
    destination = catalog().get(options["destination"])
    if destination is None:
        raise CommandRefused(
            f"There is no {options['destination']!r} in the catalog. Use one of: "
            f"{', '.join(catalog())}."
        )
    pairs = [each.partition("=") for each in options["config"]]
    if broken := [key for key, sign, _ in pairs if not sign]:
        raise CommandRefused(f"--config {broken[0]}: use {broken[0]}=VALUE.")
    installation = install(
        destination,
        name=options["name"] or destination.name,
        variant=options["variant"],
        config={key: value for key, _, value in pairs},
    )
    result = {"id": installation.pk, "name": installation.name}
    screen.report(result, f"{installation.name} is installed with the id {installation.pk}.")


def add_installations(commands):
    add_command(
        commands, "installations", "List the installations and their states.", do_installations
    )


def do_installations(screen, options):
    installed = with_state(Installation.objects.installed().order_by("name"))
    queues = accounting_queues.read_queues()
    rows = [
        installation_row(each, queues.get(each.pk, accounting_queues.QueueSize()))
        for each in installed
    ]
    names = ("id", "name", "destination", "state", "queued", "oldest", "detail")
    screen.rows(rows, [(name, lambda row, name=name: row[name]) for name in names])


def installation_row(installation, queue):
    now = timezone.now()
    words = describe_installation(installation, list(installation.lanes.all()), now)
    oldest = queue.oldest_queued_at
    return {
        "id": installation.pk,
        "name": installation.name,
        "destination": installation.destination_key,
        "state": f"{words.level} · {words.title}",
        "queued": queue.queued,
        "oldest": format_time(oldest, now) if oldest else "",
        "detail": words.detail,
    }


def installation_from_options(options):
    named = search_names.resolve_names(
        language.parse_search("", [("installation", options["installation"])])
    )
    if named.problems:
        raise CommandRefused("\n".join(named.problems))
    return Installation.objects.installed().get(name=named.values("installation")[0])
