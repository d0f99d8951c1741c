"""Install a destination: validate the values, save them, and create the first revision."""

import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from integrations import catalog
from integrations.access import audit
from integrations.destination import ConfigField, Destination
from integrations.encryption import SecretsUnreadable, reveal
from integrations.installations.observers import notify_changed
from integrations.models import Installation, Revision

MISSING_DESTINATION_FIX = (
    "To change this installation, upgrade to a version of Penstock that includes "
    "its destination. Otherwise uninstall it."
)
MIN_SECRET_CHARS = 6  # characters; masking shorter secrets would make logs unreadable


class InvalidInstallation(Exception):
    """The values are not valid; `fields` maps each wrong field to its fix."""

    def __init__(self, fields: Mapping[str, str]):
        super().__init__("Check the fields named.")
        self.fields = dict(fields)


class NameTaken(Exception):
    """Another installation has this name."""


def install(
    destination: Destination,
    *,
    name: str,
    variant: str = "default",
    config: Mapping[str, Any],
    delivery_mode: str = Installation.DeliveryMode.SERVER_SIDE,
    by: Any = None,
) -> Installation:
    """Create an installation with its first revision and return it.

    Raises InvalidInstallation with all wrong fields at once, and NameTaken.
    """
    values = _validate(destination, name, variant, config, delivery_mode)
    installation = Installation(
        name=name.strip(),
        destination_key=destination.key,
        variant=variant,
        delivery_mode=delivery_mode,
    )
    installation.set_config(values)
    blueprint = catalog.load_blueprint(destination.key, variant)
    try:
        with transaction.atomic():
            installation.save()
            first = Revision.objects.create(
                installation=installation,
                number=1,
                blueprint=blueprint,
                change_summary=f"Installed with the variant {variant!r}.",
                created_by=by,
            )
            installation.revision = first
            installation.save(update_fields=["revision"])
            _record("created", installation, {})
    except IntegrityError:
        if not Installation.objects.filter(name=name.strip()).exists():
            raise
        raise NameTaken(f"An installation named {name.strip()!r} already exists.") from None
    return installation


def reconfigure(
    installation: Installation, *, name: str, config: Mapping[str, Any], **delivery_fields: Any
) -> None:
    """Change an installation; an empty secret stays unchanged.

    delivery_fields  delivery settings: enabled, lane_count, give_up_days

    Raises InvalidInstallation with all wrong fields at once, and NameTaken.
    """
    stored, old = _kept_secrets(installation), audit.installation_values(installation)
    merged = {key: value or stored.get(key, value) for key, value in config.items()}
    destination, mode = installation.destination, installation.delivery_mode
    installation.set_config(_validate(destination, name, installation.variant, merged, mode))
    installation.name = name.strip()
    for field, value in delivery_fields.items():
        setattr(installation, field, value)
    others = Installation.objects.exclude(pk=installation.pk)
    try:
        with transaction.atomic():
            installation.save(update_fields=["name", "config", "sealed_secrets", *delivery_fields])
            _record("updated", installation, old)
            notify_changed(installation)
    except IntegrityError:
        if not others.filter(name=installation.name).exists():
            raise
        raise NameTaken(f"An installation named {installation.name!r} already exists.") from None


def _record(verb: str, installation: Installation, old: Mapping[str, Any]) -> None:
    secret = audit.secret_value_names(installation)
    new = audit.installation_values(installation)
    audit.record(f"installation.{verb}", installation, old, new, secret=secret)


def find_problems(
    destination: Destination,
    *,
    name: str,
    variant: str,
    config: Mapping[str, Any],
    installed: Installation | None = None,
) -> dict[str, str]:
    """Return the errors that installing or saving these values would raise, by field."""
    stored = _kept_secrets(installed) if installed else {}
    merged = {key: value or stored.get(key, value) for key, value in config.items()}
    mode = Installation.DeliveryMode.SERVER_SIDE
    problems: dict[str, str] = {}
    try:
        _validate(destination, name, variant, merged, mode)
    except InvalidInstallation as error:
        problems = error.fields
    others = Installation.objects.exclude(pk=installed.pk if installed else None)
    if "name" not in problems and others.filter(name=name.strip()).exists():
        problems["name"] = f"An installation named {name.strip()!r} already exists."
    return problems


def build_unsaved_installation(
    destination: Destination, *, name: str, variant: str, config: Mapping[str, Any]
) -> Installation:
    """Return an unsaved installation, to test before installing. Raises InvalidInstallation."""
    mode = Installation.DeliveryMode.SERVER_SIDE
    values = _validate(destination, name, variant, config, mode)
    installation = Installation(name=name, destination_key=destination.key, variant=variant)
    installation.set_config(values)
    return installation


def starting_value(field: ConfigField, variant_config: Mapping[str, str]) -> str:
    """Return the initial value of a field."""
    if field.key == "region" and is_sandbox_offered(field):
        return "sandbox"
    return variant_config.get(field.key, field.default)


def offered_options(field: ConfigField) -> list[tuple[str, str]]:
    """Return the (value, label) pairs of a select, with the sandbox only if one runs."""
    return [
        (option.value, option.label)
        for option in field.options
        if option.value != "sandbox" or settings.SANDBOX_URL
    ]


def is_sandbox_offered(field: ConfigField) -> bool:
    return "sandbox" in dict(offered_options(field))


def _kept_secrets(installation: Installation) -> dict[str, str]:
    try:
        return reveal(installation.sealed_secrets)
    except SecretsUnreadable:  # the user has to enter the secrets again
        return {}


def _validate(
    destination: Destination, name: Any, variant: Any, config: Any, delivery_mode: Any
) -> dict[str, str]:
    """Return the config values to store. Raises InvalidInstallation."""
    if destination.is_missing:
        raise InvalidInstallation(
            {"destination": f"{destination.description} {MISSING_DESTINATION_FIX}"}
        )
    wrong: dict[str, str] = {}
    if not isinstance(name, str):
        wrong["name"] = "Must be a string."
    elif not name.strip():
        wrong["name"] = "Give the installation a name."
    elif len(name.strip()) > 100:
        wrong["name"] = "At most 100 characters."
    known = [each.key for each in destination.variants]
    if variant not in known:
        wrong["variant"] = f"Must be one of: {', '.join(known)}."
    if delivery_mode not in Installation.DeliveryMode.values:
        wrong["delivery_mode"] = f"Must be one of: {', '.join(Installation.DeliveryMode.values)}."
    if not isinstance(config, Mapping):
        raise InvalidInstallation({**wrong, "config": "Must be an object with settings."})
    start = destination.variant(variant).config if variant in known else {}
    values, bad = _validate_config(destination, config, start)
    if wrong or bad:
        raise InvalidInstallation({**wrong, **bad})
    return values


def _validate_config(
    destination: Destination, config: Mapping[str, Any], start: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    fields = {field.key: field for field in destination.config_fields}
    wrong = {
        f"config.{key}": f"Not a setting of {destination.name}. Its settings: {', '.join(fields)}."
        for key in config
        if key not in fields
    }
    values = {}
    for key, field in fields.items():
        value = config.get(key, starting_value(field, start))
        problem = _field_problem(field, value)
        if problem:
            wrong[f"config.{key}"] = problem
        else:
            values[key] = value.strip()
    return values, wrong


def _field_problem(field: ConfigField, value: Any) -> str:
    """Return what is wrong with the value of a field, with advice, or ""."""
    if not isinstance(value, str):
        return "Must be a string."
    value = value.strip()
    if not value:
        return f"{field.label} is required. {field.help_text}".strip() if field.required else ""
    if field.type == "secret" and len(value) < MIN_SECRET_CHARS:
        return f"{field.label} is too short. A secret has at least {MIN_SECRET_CHARS} characters."
    if field.type == "select" and value not in dict(offered_options(field)):
        return f"Must be one of: {', '.join(key for key, _ in offered_options(field))}."
    if field.pattern and not re.fullmatch(field.pattern, value):
        return field.pattern_help or f"{field.label} has the wrong format."
    return ""
