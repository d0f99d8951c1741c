"""Terminal output of `manage.py penstock`: tables, JSON and errors."""

import json

from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console
from rich.table import Table
from rich.text import Text

from integrations.installations.install import InvalidInstallation

PIPED_COLUMNS = 200  # columns, if the width of the terminal is unknown

CELL_STYLES = {
    "queued": "blue", "delivered": "green", "filtered": "dim", "failed": "red", "cancelled": "dim",
    "busy": "blue", "well": "green", "waiting": "yellow", "attention": "red", "off": "dim",
    "new": "dim",
}  # fmt: skip


class CommandRefused(Exception):
    """The command cannot be done. The text says why, and what to do instead."""


def describe_validation_error(error):
    """Return one line per invalid field: its name and the problem."""
    if isinstance(error, InvalidInstallation):
        return "\n".join(f"{name}: {problem}" for name, problem in error.fields.items())
    return "\n".join(f"{name}: {' '.join(said)}" for name, said in error.message_dict.items())


class TerminalScreen:
    """Prints results: tables for people, JSON for programs, colour only on a terminal."""

    def __init__(self, out, *, as_json):
        is_terminal = out.isatty()
        self.out, self.as_json = out, as_json
        self.console = Console(
            file=getattr(out, "_out", out),
            width=None if is_terminal else PIPED_COLUMNS,
            highlight=False,
        )

    def rows(self, rows, columns):
        """Print a list. `columns` are the (title, function of a row) of its table."""
        if self.as_json:
            return self.value(rows)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title, _ in columns:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*(cell(read(row)) for _, read in columns))
        return self.console.print(table)

    def line(self, row, columns):
        """Print one row of an endless list."""
        if self.as_json:
            self.value(row, indent=None)
        else:
            cells = [cell(read(row)) for _, read in columns]
            self.console.print(*cells, sep="  ", soft_wrap=True)

    def value(self, value, indent=2):
        self.out.write(json.dumps(value, cls=DjangoJSONEncoder, indent=indent))
        self.out.flush()

    def report(self, value, sentence):
        """Print a sentence, or with --json the value that it describes."""
        self.value(value) if self.as_json else self.console.print(sentence, soft_wrap=True)


def cell(value):
    """Return a value as a cell. It is a Text, so that data is never parsed as markup."""
    value = "" if value is None else str(value)
    return Text(value, style=CELL_STYLES.get(value.partition(" ")[0], ""))


def add_command(commands, name, help, act):  # noqa: A002  (argparse calls it that)
    parser = commands.add_parser(name, help=help, description=help)
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    parser.set_defaults(act=act)
    return parser
