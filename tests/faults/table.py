"""Writes the table of docs/reliability.md: `python -m tests.faults.table`.

Each run of the suite appends lines to var/faults.jsonl. For each row and database, the table shows
one line: a full form takes precedence over a short one, then more rounds, then the newer line.
"""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "var" / "faults.jsonl"
BEGIN, END = "<!-- table -->\n", "<!-- /table -->\n"

COLUMNS = (
    "#", "fault", "on", "rounds", "accepted", "delivered", "pending", "failed", "lost", "doubled",
    "sent again", "recovery s", "verdict", "commit",
)  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"

Line = dict[str, Any]


def format_line(each: Line) -> str:
    figures = [
        f"{each[name]:,}"
        for name in ("accepted", "delivered", "pending", "failed", "lost", "doubled", "again")
    ]
    cells = [
        each["number"], each["name"], each["database"], format_rounds(each), *figures,
        format_recovery(each["recovery"]), each["verdict"], f"`{each['commit']}`",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def format_rounds(each: Line) -> str:
    """Return the number of rounds, followed by the full number if not all were run."""
    more = f" of {each['full']}" if each["full"] > each["rounds"] else ""
    return f"{each['rounds']}{more}"


def format_recovery(seconds: list[float]) -> str:
    """Return the median and the worst."""
    return f"{median(seconds):.1f} / {max(seconds):.1f}" if seconds else "–"


def best_lines(lines: list[Line]) -> list[Line]:
    """Return the line to show for each row and database, in the order of the row numbers."""
    best: dict[tuple[str, str], Line] = {}
    for each in lines:  # oldest first
        key = each["number"], each["database"]
        if key not in best or line_rank(each) >= line_rank(best[key]):
            best[key] = each
    return sorted(best.values(), key=line_sort_key)


def line_rank(each: Line) -> tuple[bool, int]:
    """Return the rank of a line: the full form comes first, then the number of rounds."""
    return each["form"] == "full", each["rounds"]


def line_sort_key(each: Line) -> tuple[int, str, str]:
    number = each["number"]
    return int(number.rstrip("ab")), number, each["database"]


def format_table(lines: list[Line]) -> str:
    """Return the table, followed by the notes of the rows."""
    notes = [f"* **{each['number']}**, {each['database']}: {each['note']}" for each in lines]
    shown = [note for note, each in zip(notes, lines, strict=True) if each["note"]]
    places = sorted({f"{each['date']}, {each['machine']}" for each in lines})
    table = [HEAD, *map(format_line, lines), "", f"Run on {'; '.join(places)}.", "", *shown]
    return "\n".join(table) + "\n"


def main() -> None:
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{format_table(best_lines(lines))}\n{END}{after}")
    sys.stdout.write(f"{len(lines)} results; the table is in {PAGE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
