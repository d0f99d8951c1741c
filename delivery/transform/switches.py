"""Reads a message's `integrations` object, with which the sender switches destinations off.

Consent tools and SDKs use it: `{"All": false, "Heap": true}`. Source:
https://segment.com/docs/connections/spec/common/#integrations (2026-11).
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from unicodedata import normalize

from integrations.catalog import catalog
from integrations.messages import Message
from integrations.models import Installation

SWITCHED_OFF = 'The sender switched it off in the message, under "integrations".'
ALL = "all"  # stands for each destination that is not named


class Switches(NamedTuple):
    """Which destinations may receive a message.

    others   whether destinations that are not named may
    by_name  by name, as comparable() writes it
    """

    others: bool
    by_name: Mapping[str, bool]

    def allow(self, names: Iterable[str]) -> bool:
        """Return whether the destination with these names may; the first name found decides."""
        return next((self.by_name[name] for name in names if name in self.by_name), self.others)


def read_switches(integrations: Any) -> Switches | None:
    """Return the switches of an `integrations` object; None if no destination is switched off.

    An object as a value holds options, and counts as true. Other values are ignored.
    """
    if not integrations or not isinstance(integrations, dict):
        return None
    by_name = {
        comparable(name): value is not False
        for name, value in integrations.items()
        if isinstance(value, bool | dict)
    }
    others = by_name.pop(ALL, True)
    return None if others and all(by_name.values()) else Switches(others, by_name)


def comparable(name: str) -> str:
    """Return a name without case, outer spaces, and ways to write one letter with accents."""
    name = name.strip()
    return name.lower() if name.isascii() else normalize("NFC", normalize("NFC", name).casefold())


@lru_cache(maxsize=1_000)
def switch_names(installation_name: str, destination_key: str) -> tuple[str, ...]:
    """Return the names that switch an installation, comparable, most specific first."""
    destination = catalog().get(destination_key)
    others = (destination.name, *destination.aliases) if destination else ()
    return tuple(comparable(name) for name in (installation_name, destination_key, *others))


def is_allowed(message: Message, installation: Installation) -> bool:
    """Return whether the sender of a message has not switched the installation off."""
    switches = read_switches(message.body.get("integrations"))
    return switches is None or switches.allow(
        switch_names(installation.name, installation.destination_key)
    )
