"""Reads settings exactly as they were written, or refuses them by name."""

import math
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urlsplit

import environ  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured

TRUE = {"1", "true", "yes", "on", "y", "ok"}
FALSE = {"0", "false", "no", "off", "n"}


class Environment(environ.Env):  # type: ignore[misc]  # it has no types
    """django-environ without its interpretations.

    It would read `$ecret` as the variable `ecret`, `1e3` as 13, `ture` as False and `a, b` as a
    list with " b", all without an error.
    """

    def choice(self, var: str, choices: Collection[str], default: str) -> str:
        value: str = self.get_value(var, default=default)
        if value not in choices:
            raise ImproperlyConfigured(f"{var} is {value!r}. Use one of {', '.join(choices)}.")
        return value

    def url_text(self, var: str, schemes: Collection[str], default: str) -> str:
        """Return a URL as it was written. Errors do not show it, because of its password."""
        value: str = self.get_value(var, default=default)
        starts = tuple(f"{each}://" for each in schemes)
        try:
            is_url = value.startswith(starts) and urlsplit(value).port != 0
        except ValueError:
            is_url = False
        if value and not is_url:
            raise ImproperlyConfigured(
                f"{var} is not a URL that begins with {', '.join(starts)}. "
                "In a password, write @ as %40, / as %2F and # as %23. See .env.example."
            )
        return value

    def get_value(
        self, var: str, cast: Any = str, default: Any = environ.Env.NOTSET, **_: Any
    ) -> Any:
        """Return the value of a variable; an empty one that is not a text is the default."""
        text = self.ENVIRON.get(var)
        if text is None or (text.strip() == "" and cast is not str):
            if default is not self.NOTSET:
                return default
            raise ImproperlyConfigured(f"Set {var} in .env or the environment; see .env.example.")
        read, expected = READERS[cast]
        try:
            return read(text)
        except ValueError:
            message = f"{var} is {text!r}, which is not {expected}. See .env.example."
            raise ImproperlyConfigured(message) from None


def _read_bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in TRUE | FALSE:
        raise ValueError(text)
    return word in TRUE


def _read_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _read_list(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


READERS: dict[type, tuple[Callable[[str], Any], str]] = {
    str: (str, "a text"),
    int: (int, "a whole number"),
    float: (_read_float, "a number"),
    bool: (_read_bool, "True or False"),
    list: (_read_list, "a list"),
}
