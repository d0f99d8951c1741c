"""Change parts of an installation, as the API does; other values stay unchanged."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from integrations.access import audit
from integrations.encryption import MASK
from integrations.installations.install import InvalidInstallation, reconfigure
from integrations.models import Installation, Source

DELIVERY_FIELDS = ("enabled", "lane_count", "give_up_days")
ALL_SOURCES = "all"


def change_installation(installation: Installation, values: Mapping[str, Any]) -> None:
    """Change the given values of an installation and leave the others unchanged.

    values  name, enabled, lane_count, give_up_days, config (only the settings to change; a secret
            with the value "***" stays unchanged), sources ("all", or a list of ids)

    Raises InvalidInstallation with every wrong field at once, and NameTaken.
    """
    config = {**installation.config, **values.get("config", {})}
    for key in installation.destination.secret_keys:
        config[key] = "" if config.get(key, MASK) == MASK else config[key]  # empty: unchanged
    with transaction.atomic():
        reconfigure(
            installation,
            name=values.get("name", installation.name),
            config=config,
            **{name: values[name] for name in DELIVERY_FIELDS if name in values},
        )
        if "sources" in values:
            set_sources(installation, values["sources"])


def set_sources(installation: Installation, sources: str | list[int]) -> None:
    """Set the sources whose events an installation receives: ALL_SOURCES, or their ids.

    Applies to events received from now on. Raises InvalidInstallation.
    """
    ids = [] if sources == ALL_SOURCES else list(sources)
    unknown = set(ids) - set(
        Source.objects.in_use().filter(pk__in=ids).values_list("pk", flat=True)
    )
    if unknown:
        there = ", ".join(map(str, sorted(unknown)))
        raise InvalidInstallation({"sources": f"There is no source {there}."})
    with transaction.atomic():
        old = source_ids(installation)
        Installation.objects.filter(pk=installation.pk).update(all_sources=sources == ALL_SOURCES)
        installation.all_sources = sources == ALL_SOURCES
        installation.sources.set(ids)
        new = source_ids(installation)
        audit.record("installation.updated", installation, {"sources": old}, {"sources": new})


def source_ids(installation: Installation) -> str | list[int]:
    """Return ALL_SOURCES, or the ids of the sources whose events an installation receives."""
    return (
        ALL_SOURCES
        if installation.all_sources
        else sorted(s.pk for s in installation.sources.all())
    )


def mark_uninstalled(installation: Installation, now: datetime) -> None:
    """Stop new events for an installation, delete its secrets, and free its name.

    The row and the log stay. The caller has to cancel queued deliveries.
    """
    with transaction.atomic():
        row = Installation.objects.select_for_update().installed().get(pk=installation.pk)
        audit.record("installation.uninstalled", row)
        row.name = f"{row.name[:60]} (uninstalled {now:%Y-%m-%d %H:%M:%S}, {row.pk})"
        row.enabled, row.sealed_secrets, row.uninstalled_at = False, "", now
        row.save(update_fields=["name", "enabled", "sealed_secrets", "uninstalled_at"])
