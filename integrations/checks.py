"""System checks: settings that must be valid before anything starts, each with its fix."""

import sqlite3
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register("settings")
def secrets_keys_are_usable(**kwargs: Any) -> list[CheckMessage]:
    hint = (
        "Generate one with: python -c 'from cryptography.fernet import Fernet as F; "
        "print(F.generate_key().decode())'"
    )
    if "PENSTOCK_SECRETS_KEYS" in settings.ENVIRONMENT.problems:
        return []
    if not settings.SECRETS_KEYS:
        return [Error("PENSTOCK_SECRETS_KEYS is empty.", hint=hint, id="penstock.E001")]
    from cryptography.fernet import Fernet  # see encryption.py

    try:
        [Fernet(key) for key in settings.SECRETS_KEYS]
    except ValueError:
        message = "PENSTOCK_SECRETS_KEYS contains a value that is not a Fernet key."
        return [Error(message, hint=hint, id="penstock.E002")]
    return []


OLDEST_SQLITE = (3, 35)  # the first version with RETURNING, which delivery/bulk.py needs


@register("settings")
def sqlite_is_new_enough(**kwargs: Any) -> list[CheckMessage]:
    engine = settings.DATABASES["default"]["ENGINE"]
    if engine != "django.db.backends.sqlite3" or sqlite3.sqlite_version_info >= OLDEST_SQLITE:
        return []
    message = f"Python has SQLite {sqlite3.sqlite_version}; Penstock needs 3.35 or newer."
    hint = "Use a Python with a newer SQLite, or set DATABASE_URL to a PostgreSQL database."
    return [Error(message, hint=hint, id="penstock.E003")]
