"""The JSONPath subset that names one place: the singular queries of RFC 9535, §2.3.5.1.

`$`, `.name`, `['name']`, `["name"]`, `[0]` and, from the end, `[-1]`. No wildcards and no filters,
because a field of a message is one value.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

STEP_PATTERN = re.compile(
    r"\.(?P<name>[^\W\d][\w-]*)|\['(?P<single>[^'\\]+)'\]|\[\"(?P<double>[^\"\\]+)\"\]"
    r"|\[(?P<index>-?\d{1,9})\]"
)
NOT_FOUND = object()  # the result for a path that leads nowhere


@lru_cache(maxsize=1_000)
def parse_jsonpath(path: str) -> tuple[str | int, ...]:
    """Return the steps of a path. Raises ValueError, naming the text that cannot be parsed."""
    if not path.startswith("$"):
        raise ValueError(f"{path!r} must begin with $.")
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        step = STEP_PATTERN.match(path, at)
        if not step:
            raise ValueError(f"{path!r} cannot be parsed from {path[at:]!r} on.")
        index = step["index"]
        name = step["name"] or step["single"] or step["double"]
        steps.append(int(index) if index else name)
        at = step.end()
    return tuple(steps)


def find_value(path: str, document: Any) -> Any:
    """Return the value at a path, or NOT_FOUND. Raises ValueError if the path is not valid."""
    for step in parse_jsonpath(path):
        document = _step(document, step)
    return document


def _step(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step, NOT_FOUND) if isinstance(value, dict) else NOT_FOUND
    if (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and -len(value) <= step < len(value)
    ):
        return value[step]
    return NOT_FOUND
