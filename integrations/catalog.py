"""All destinations that can be installed, found by looking through `destinations/`."""

import json
from base64 import b64encode
from functools import cache
from importlib import import_module
from importlib.resources import files
from pkgutil import iter_modules
from typing import Any

from integrations import destinations
from integrations.destination import Destination


@cache
def catalog() -> dict[str, Destination]:
    """Return every destination by its key, in the order of their names."""
    found = [
        import_module(f"{destinations.__name__}.{module.name}").DESTINATION
        for module in iter_modules(destinations.__path__)
    ]
    return {each.key: each for each in sorted(found, key=lambda each: each.name.lower())}


def choices() -> list[tuple[str, str]]:
    """Return (key, name) pairs; as a callable it keeps new vendors out of the migrations."""
    return [(key, destination.name) for key, destination in catalog().items()]


def blueprint(destination: str, variant: str) -> dict[str, Any]:
    """Return the blueprint that a variant starts with."""
    data: dict[str, Any] = json.loads(
        _folder(destination).joinpath("blueprints", f"{variant}.json").read_text("utf-8")
    )
    return data


@cache
def logo(destination: str) -> str:
    """Return the logo as a `data:` address for an <img>."""
    svg = _folder(destination).joinpath("logo.svg").read_bytes()
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"


def _folder(destination: str) -> Any:
    return files(f"{destinations.__name__}.{destination}")
