"""`.env.example` lists and explains the settings that are read."""

import ast
import re
from pathlib import Path

from django.conf import settings

ROOT = Path(settings.BASE_DIR)
FIRST_START = {"PENSTOCK_ADMIN_PASSWORD", "PENSTOCK_WRITE_KEY", "PENSTOCK_API_TOKEN"}


def read_by_settings() -> dict[str, str | None]:
    """Return the default of each setting as written in .env, or None if it is required."""
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / "config/settings.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("env.")
        if node.args and isinstance(node.args[0], ast.Constant)
    ]
    return {call.args[0].value: default(call) for call in calls}


def default(call: ast.Call) -> str | None:
    for keyword in call.keywords:
        if keyword.arg == "default":
            value = ast.literal_eval(keyword.value)
            return ",".join(value) if isinstance(value, list) else str(value)
    return None


def example() -> dict[str, str | None]:
    """Return the default of each setting that .env.example comments out; None for the others."""
    found = re.findall(r"^(# )?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return {name: value if commented else None for commented, name, value in found}


def test_every_setting_is_in_the_example_with_its_default_and_no_other_is():
    first_start = dict.fromkeys(FIRST_START, "")

    assert example() == {**read_by_settings(), **first_start}


def test_every_setting_of_the_first_start_is_read_by_bootstrap():
    source = (ROOT / "delivery/management/commands/bootstrap.py").read_text()
    known = settings.ENVIRONMENT.secrets

    assert set(re.findall(r'credential\("([A-Z_]+)"', source)) == FIRST_START & known


def test_the_example_lists_the_settings_that_can_be_read_from_files():
    [listed] = re.findall(r"^# Files: (.*?)\.$", (ROOT / ".env.example").read_text(), re.M | re.S)

    assert set(re.findall(r"[A-Z_]+", listed)) == settings.ENVIRONMENT.secrets


def test_every_setting_in_the_example_is_explained():
    lines = (ROOT / ".env.example").read_text().splitlines()

    for above, line in zip(lines, lines[1:], strict=False):
        if re.match(r"(# )?[A-Z_]+=", line):
            assert re.match(r"# [^-]", above), line
