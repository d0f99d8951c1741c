"""Records changes in the audit log: the actor, the object, the origin, and the old values.

The functions that change data record the change themselves, in the same transaction, so that the
log covers the API, the admin and commands.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from django.db.models import Model

from integrations.encryption import MASK, SecretsUnreadable, reveal
from integrations.models import ApiToken, AuditEntry, Installation
from integrations.request_context import current_caller

MAX_VALUE_CHARS = 2_000  # characters of one value that are stored
SECRET_COLUMNS = {"password", "digest", "secret", "session_hash"}
UNAUDITED_COLUMNS = {
    "created_at",
    "last_login",
    "last_used_at",
    "updated_at",
}  # columns that no user changes


def record(
    action: str,
    about: Model | str,
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
    *,
    secret: Collection[str] = (),
    by: Any = None,
) -> AuditEntry:
    """Write an entry to the audit log and return it.

    action    object type and past participle, such as installation.created or source.updated
    about     the row, or the name of an object that has no row
    old, new  values before and after, by field; only differing fields are stored
    secret    names of fields whose values are masked
    by        the user, if the request does not know the user yet (during a login)
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
    """Return {field: {"old", "new"}} for the fields that differ, with secrets masked."""
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
    """Return the values of a stored row by column, to compare before and after a change."""
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
    """Return the user-editable values of an installation, including its secrets in clear text.

    Pass secret_value_names() as `secret` to record(), which masks them.
    """
    names = ("name", "enabled", "lane_count", "give_up_days", "variant", "delivery_mode")
    return {
        **{name: getattr(installation, name) for name in names},
        **{f"config.{key}": value for key, value in installation.config.items()},
        **{f"config.{key}": value for key, value in _revealed_secrets(installation).items()},
    }


def secret_value_names(installation: Installation) -> set[str]:
    """Return the names of the secrets in installation_values()."""
    return {f"config.{key}" for key in installation.destination.secret_keys}


def _revealed_secrets(installation: Installation) -> dict[str, str]:
    try:
        return reveal(installation.sealed_secrets)
    except SecretsUnreadable:
        return {}
