"""Reads settings exactly as they were written, and collects those that cannot be read."""

import math
import re
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ  # type: ignore[import-untyped]

TRUE = {"1", "true", "yes", "on", "y", "ok"}
FALSE = {"0", "false", "no", "off", "n"}
# Kubernetes and Docker set these for a service named "penstock".
SERVICE_VARIABLE = re.compile(
    r"PENSTOCK_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP)(_\w+)?)?)"
)


class Environment(environ.Env):  # type: ignore[misc]  # it has no types
    """django-environ without its interpretations.

    It would read `$ecret` as the variable `ecret`, `1e3` as 13, `ture` as False and `a, b` as a
    list with " b", all without an error.

    A setting that cannot be read gets a placeholder, so that all such settings are found at once.
    Nothing starts with placeholders: delivery.checks refuses them.

    problems   what is wrong with each setting that cannot be read
    variables  every name that is read
    secrets    the names that can be read from a file, which `<name>_FILE` names
    """

    def __init__(self) -> None:
        super().__init__()
        self.problems: dict[str, str] = {}
        self.variables: set[str] = set()
        self.secrets: set[str] = set()

    def secret(self, var: str, cast: Any = str, default: Any = environ.Env.NOTSET) -> Any:
        """Return the value of a variable, or of the file that `<var>_FILE` names."""
        self.secrets.add(var)
        return self.get_value(var, cast, default)

    def choice(self, var: str, choices: Collection[str], default: str) -> str:
        value: str = self.get_value(var, default=default)
        if value not in choices:
            self.problems[var] = f"{var} is {value!r}. Use one of {', '.join(choices)}."
            return default
        return value

    def url_text(self, var: str, schemes: Collection[str], default: str) -> str:
        """Return a secret URL as it was written. Problems do not show it."""
        value: str = self.secret(var, default=default)
        starts = tuple(f"{each}://" for each in schemes)
        try:
            is_url = value.startswith(starts) and urlsplit(value).port != 0
        except ValueError:
            is_url = False
        if value and not is_url:
            self.problems[var] = (
                f"{var} is not a URL that begins with {', '.join(starts)}. "
                "In a password, write @ as %40, / as %2F and # as %23."
            )
            return default
        return value

    def get_value(
        self, var: str, cast: Any = str, default: Any = environ.Env.NOTSET, **_: Any
    ) -> Any:
        """Return the value of a variable; an empty one that is not a text is the default."""
        self.variables.add(var)
        is_required = default is self.NOTSET
        read, expected, placeholder = READERS[cast]
        try:
            text = self._find_text(var)
            if text is None or (text.strip() == "" and (cast is not str or is_required)):
                if not is_required:
                    return default
                raise UnreadableSetting(f"{var} is required and not set.")
            return read(text)
        except UnreadableSetting as error:
            self.problems[var] = str(error)
        except ValueError:
            self.problems[var] = f"{var} is {text!r}, which is not {expected}."
        return placeholder() if is_required else default

    def _find_text(self, var: str) -> str | None:
        text: str | None = self.ENVIRON.get(var)
        path = self.ENVIRON.get(f"{var}_FILE", "").strip() if var in self.secrets else ""
        if not path:
            return text
        if text:
            raise UnreadableSetting(f"{var} and {var}_FILE are both set. Remove one of them.")
        return _read_file(f"{var}_FILE", path)

    def unknown_variables(self) -> list[str]:
        """Return the variables that look like settings of Penstock and are none."""
        known = self.variables | {f"{name}_FILE" for name in self.secrets}
        found = {name for name in self.ENVIRON if name.startswith("PENSTOCK_")} - known
        return sorted(name for name in found if not SERVICE_VARIABLE.fullmatch(name))


class UnreadableSetting(Exception):
    """The value of a setting cannot be obtained."""


def _read_file(var: str, path: str) -> str:
    try:
        text = Path(path).read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise UnreadableSetting(f"{var}: {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UnreadableSetting(f"{var}: {path} is not a text in UTF-8.") from None
    if not text.strip():
        raise UnreadableSetting(f"{var}: {path} is empty.")
    return text


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


# How to read a text, what it must be, and a placeholder. Django does not import without a key.
READERS: dict[type, tuple[Callable[[str], Any], str, Callable[[], Any]]] = {
    str: (str, "a text", secrets.token_hex),
    int: (int, "a whole number", int),
    float: (_read_float, "a number", float),
    bool: (_read_bool, "True or False", bool),
    list: (_read_list, "a list", list),
}
