"""Builds a curl command that repeats a request, with shell variables in place of secrets."""

import re
from collections.abc import Mapping
from shlex import quote

from integrations.encryption import MASK

OMITTED_HEADERS = frozenset({"content-length", "host", "connection", "accept-encoding"})


def build_curl_command(
    method: str, url: str, headers: Mapping[str, str], body: str, *, shell_variable: str = "SECRET"
) -> str:
    """Return a curl command. shell_variable: replaces each masked secret."""
    lines = [f"curl -X {method} {_shell_quote(url, shell_variable)}"]
    for name, value in headers.items():
        if name.lower() not in OMITTED_HEADERS:
            lines.append(f"-H {_shell_quote(f'{name}: {value}', shell_variable)}")
    if body:
        lines.append(f"--data-raw {_shell_quote(body, shell_variable)}")
    return " \\\n  ".join(lines)


def _shell_quote(text: str, shell_variable: str) -> str:
    """Return a text as one shell word, with the variable in place of each mask."""
    parts = [quote(part) if part else "" for part in text.split(MASK)]
    return f'"${shell_variable}"'.join(parts) or "''"


def secret_variable_name(vendor: str, keys: frozenset[str]) -> str:
    """Return the name of the shell variable for a vendor's secrets: HEAP_API_KEY."""
    key = next(iter(keys)) if len(keys) == 1 else "secret"
    return re.sub(r"\W+", "_", f"{vendor}_{key}").upper()
