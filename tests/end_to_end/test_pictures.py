"""The pictures of the docs: `make pictures` makes each of them, and a page shows it."""

import re
from pathlib import Path

from tests.pictures.table import PICTURES

ROOT = Path(__file__).resolve().parents[2]
SHOWN = re.compile(r"!\[[^]]+\]\((?:docs/)?images/([^)]+)\.png\)")


def test_the_docs_show_every_picture_of_the_table_and_no_other():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {name for page in pages for name in SHOWN.findall(page.read_text())}
    assert shown == set(PICTURES)
    assert {each.stem for each in (ROOT / "docs" / "images").iterdir()} == set(PICTURES)
