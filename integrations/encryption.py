"""Secrets at rest: encrypted with the keys of the environment, decrypted only for use."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from django.conf import settings
from django.db import models

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

MASK = "***"


class SecretsUnreadable(Exception):
    """None of PENSTOCK_SECRETS_KEYS decrypts the stored secrets; a key was lost or replaced."""


class SealedField(models.TextField):  # type: ignore[type-arg]  # not subscriptable at run time
    """A column of sealed values; `manage.py rotate_secrets` finds it by its class."""

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs  # what it is to the database


def seal(secrets: Mapping[str, str]) -> str:
    """Return the secrets encrypted with the first key, as text for a column."""
    return _fernet().encrypt(json.dumps(dict(secrets)).encode()).decode()


def reveal(sealed: str) -> dict[str, str]:
    """Return the decrypted secrets, or {} for empty text. Raises SecretsUnreadable."""
    if not sealed:
        return {}
    from cryptography.fernet import InvalidToken

    try:
        secrets: dict[str, str] = json.loads(_fernet().decrypt(sealed.encode()))
    except InvalidToken:
        raise SecretsUnreadable(
            "None of PENSTOCK_SECRETS_KEYS can decrypt these secrets. Add the key that encrypted "
            "them back to the list, or enter the secrets again."
        ) from None
    return secrets


def reseal(sealed: str) -> str:
    """Return the value sealed with the first key, unchanged if it is. Raises SecretsUnreadable."""
    from cryptography.fernet import Fernet, InvalidToken

    try:
        Fernet(settings.SECRETS_KEYS[0]).decrypt(sealed.encode())
    except InvalidToken:
        return seal(reveal(sealed))
    return sealed


def mask_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every secret masked, in each of its spellings."""
    for secret in secrets:
        for spelling in _spellings(secret):
            text = text.replace(spelling, MASK)
    return text


def _spellings(secret: str) -> tuple[str, ...]:
    """Return how a secret may appear: as is, in JSON (escaped to ASCII or not), in a URL."""
    return (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
    )


def _fernet() -> "MultiFernet":
    # Imported here because the library takes 7 MB, and most web processes never decrypt a secret.
    from cryptography.fernet import Fernet, MultiFernet

    return MultiFernet([Fernet(key) for key in settings.SECRETS_KEYS])
