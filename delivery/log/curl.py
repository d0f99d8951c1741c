"""A request that was made, as a command to make it again; secrets are left to the shell."""

import re
from collections.abc import Mapping
from shlex import quote

from integrations.encryption import MASK

LEFT_OUT = frozenset({"content-length", "host", "connection", "accept-encoding"})


def as_curl(
    method: str, url: str, headers: Mapping[str, str], body: str, *, stand_in: str = "SECRET"
) -> str:
    """Return a curl command. stand_in: the shell variable that stands where a secret was masked."""
    lines = [f"curl -X {method} {_quoted(url, stand_in)}"]
    for name, value in headers.items():
        if name.lower() not in LEFT_OUT:
            lines.append(f"-H {_quoted(f'{name}: {value}', stand_in)}")
    if body:
        lines.append(f"--data-raw {_quoted(body, stand_in)}")
    return " \\\n  ".join(lines)


def _quoted(text: str, stand_in: str) -> str:
    """Return a text as one word of a shell, with the variable for each mask."""
    parts = [quote(part) if part else "" for part in text.split(MASK)]
    return f'"${stand_in}"'.join(parts) or "''"


def variable(vendor: str, keys: frozenset[str]) -> str:
    """Return the name of the shell variable for a vendor's secrets: HEAP_API_KEY."""
    key = next(iter(keys)) if len(keys) == 1 else "secret"
    return re.sub(r"\W+", "_", f"{vendor}_{key}").upper()
