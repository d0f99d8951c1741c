"""The catalog: every destination package under `destinations/`."""

import json
from base64 import b64encode
from functools import cache
from importlib import import_module
from importlib.resources import files
from pkgutil import iter_modules
from typing import Any

from integrations import destinations
from integrations.destination import Destination

# An empty dashed frame, in the grey of disabled items.
PLACEHOLDER_LOGO = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E%3Crect"
    " x='3' y='3' width='18' height='18' rx='4' fill='none' stroke='%238a8f98'"
    " stroke-dasharray='3 2'/%3E%3C/svg%3E"
)


@cache
def catalog() -> dict[str, Destination]:
    """Return every destination by its key, sorted by name."""
    loaded = [
        import_module(f"{destinations.__name__}.{module.name}").DESTINATION
        for module in iter_modules(destinations.__path__)
    ]
    return {each.key: each for each in sorted(loaded, key=lambda each: each.name.lower())}


def get_destination(key: str) -> Destination:
    """Return a destination, or a placeholder for one that this version's catalog does not have.

    Installations of a placeholder can be read. Nothing is sent to them; their deliveries wait.
    """
    return catalog().get(key) or _missing_destination(key)


def _missing_destination(key: str) -> Destination:
    return Destination(
        key=key,
        name=key,
        description=f"The destination {key} is not in this version's catalog.",
        category="",
        status="missing",
        website="",
        config_fields=(),
        variants=(),
        kinds=(),
        endpoints={},
        items=_raise_missing,
        request=_raise_missing,
    )


def _raise_missing(*args: Any) -> Any:
    raise LookupError("This version's catalog does not have the destination.")


def choices() -> list[tuple[str, str]]:
    """Return (key, name) pairs. A callable, so that a new destination needs no migration."""
    return [(key, destination.name) for key, destination in catalog().items()]


def load_blueprint(destination: str, variant: str) -> dict[str, Any]:
    """Return the blueprint that a variant starts with."""
    data: dict[str, Any] = json.loads(
        _folder(destination).joinpath("blueprints", f"{variant}.json").read_text("utf-8")
    )
    return data


@cache
def logo_url(destination: str) -> str:
    """Return the logo as a `data:` address for an <img>."""
    if destination not in catalog():
        return PLACEHOLDER_LOGO
    svg = _folder(destination).joinpath("logo.svg").read_bytes()
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"


def _folder(destination: str) -> Any:
    return files(f"{destinations.__name__}.{destination}")
