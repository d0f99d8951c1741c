"""The audit log: who changed what, from where, and what it was before.

The functions that change things record it themselves, in the transaction of the change, so that
API, admin and commands are all in it.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from django.db.models import Model

from integrations.encryption import MASK, SecretsUnreadable, reveal
from integrations.models import ApiToken, AuditEntry, Installation
from integrations.request_context import current_caller

MAX_VALUE_CHARS = 2_000  # characters of one value that are kept
SECRET_COLUMNS = {"password", "digest", "secret", "session_hash"}
UNAUDITED_COLUMNS = {
    "created_at",
    "last_login",
    "last_used_at",
    "updated_at",
}  # columns that no person changes


def record(
    action: str,
    about: Model | str,
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
    *,
    secret: Collection[str] = (),
    by: Any = None,
) -> AuditEntry:
    """Write down that something was done, and return the entry.

    action   what it is done to and how it ended: installation.created, source.updated
    about    the row, or the name of what has no row
    old, new what was and what is, by field; only what differs is kept
    secret   fields of which only that they changed may be kept
    by       the user, where the request cannot know it yet: who logs in
    """
    who = current_caller()
    user = by or who.user
    token = getattr(who.request, "auth", None)
    return AuditEntry.objects.create(
        action=action,
        user=user,
        actor=user.get_username() if user else who.name,
        token=token.name if isinstance(token, ApiToken) else "",
        via=who.via,
        object_type=action.partition(".")[0],
        object_id=str(about.pk) if isinstance(about, Model) else "",
        object_name=str(about)[:200],
        changes=changed_values(old or {}, new or {}, secret),
        ip_address=who.ip_address,
        user_agent=who.user_agent[:300],
        request_id=who.request_id,
    )


def changed_values(
    old: Mapping[str, Any], new: Mapping[str, Any], secret: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return {field: {"old", "new"}} of what differs; of secrets only that they do."""
    return {
        name: {
            "old": _audit_value(name, old.get(name), secret),
            "new": _audit_value(name, new.get(name), secret),
        }
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    }


def _audit_value(name: str, value: Any, secret: Collection[str]) -> Any:
    if value in (None, ""):
        return value
    if name in secret or name in SECRET_COLUMNS or name.startswith("sealed_"):
        return MASK
    if value is True or value is False or isinstance(value, int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict | list) and len(str(value)) <= MAX_VALUE_CHARS:
        return value
    return str(value)[:MAX_VALUE_CHARS]


def column_values(row: Model) -> dict[str, Any]:
    """Return what a stored row holds, by column, to compare before and after."""
    return {
        **{
            field.attname: getattr(row, field.attname)
            for field in row._meta.concrete_fields
            if not field.primary_key and field.name not in UNAUDITED_COLUMNS
        },
        **{
            field.name: sorted(str(each) for each in getattr(row, field.name).all())
            for field in row._meta.many_to_many
        },
    }


def installation_values(installation: Installation) -> dict[str, Any]:
    """Return what people set of an installation; its secrets are told as `secret` of record()."""
    names = ("name", "enabled", "lane_count", "give_up_days", "variant", "delivery_mode")
    return {
        **{name: getattr(installation, name) for name in names},
        **{f"config.{key}": value for key, value in installation.config.items()},
        **{f"config.{key}": value for key, value in _revealed_secrets(installation).items()},
    }


def secret_value_names(installation: Installation) -> set[str]:
    """Return by which names installation_values() has the secrets."""
    return {f"config.{key}" for key in installation.destination.secret_keys}


def _revealed_secrets(installation: Installation) -> dict[str, str]:
    try:
        return reveal(installation.sealed_secrets)
    except SecretsUnreadable:
        return {}
