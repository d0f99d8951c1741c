"""`manage.py penstock sources`: list and create sources, rotate write keys."""

from datetime import timedelta

from django.utils import timezone

from delivery.management.cli.screen import CommandRefused, add_command
from integrations.models import Source
from integrations.sources import manage


def add_sources(commands):
    parser = add_command(commands, "sources", "List and create sources, or rotate a key.", do_list)
    actions = parser.add_subparsers(metavar="action")
    add_command(actions, "list", "List sources and their write keys.", do_list)
    create = add_command(actions, "create", "Create a source.", do_create)
    create.add_argument("name")
    rotate = add_command(actions, "rotate", "Give a source a new write key.", do_rotate)
    rotate.add_argument("name")
    rotate.add_argument(
        "--overlap",
        type=float,
        default=24.0,
        metavar="HOURS",
        help="how long the old key stays valid (default: 24)",
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
    source = manage.create_source({"name": options["name"]})
    result = {"id": source.pk, "name": source.name, "write_key": source.write_key}
    screen.report(result, f"{source.name} has the write key {source.write_key}")


def do_rotate(screen, options):
    source = Source.objects.filter(name=options["name"]).first()
    if source is None:
        known = ", ".join(Source.objects.order_by("name").values_list("name", flat=True))
        raise CommandRefused(f"There is no source {options['name']!r}. Use one of: {known}.")
    overlap = timedelta(hours=options["overlap"])
    key = manage.rotate_write_key(source, overlap=overlap, now=timezone.now())
    result = {"id": source.pk, "name": source.name, "write_key": key}
    screen.report(
        result,
        f"{source.name} has the write key {key}; the old one expires in {options['overlap']:g} h.",
    )
