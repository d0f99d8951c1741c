"""Secrets at rest: sealed with the keys of the environment, opened only to be used."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from django.conf import settings

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

MASK = "***"


class SecretsUnreadable(Exception):
    """None of PENSTOCK_SECRETS_KEYS opens what is stored: a key was lost or replaced."""


def seal(secrets: Mapping[str, str]) -> str:
    """Return the secrets encrypted with the first key, as text for a column."""
    return _fernet().encrypt(json.dumps(dict(secrets)).encode()).decode()


def reveal(sealed: str) -> dict[str, str]:
    """Return what was sealed; nothing sealed is an empty dict. Raises SecretsUnreadable."""
    if not sealed:
        return {}
    from cryptography.fernet import InvalidToken

    try:
        opened: dict[str, str] = json.loads(_fernet().decrypt(sealed.encode()))
    except InvalidToken:
        raise SecretsUnreadable(
            "None of PENSTOCK_SECRETS_KEYS opens these secrets; put the key they were sealed "
            "with back into the list, or enter the secrets again."
        ) from None
    return opened


def mask_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return the text without any of the secrets, however they are spelled."""
    for secret in secrets:
        for shown in _spellings(secret):
            text = text.replace(shown, MASK)
    return text


def _spellings(secret: str) -> tuple[str, ...]:
    """Return how a secret may stand in a text: as it is, in JSON of two habits, in an address."""
    return (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
    )


def _fernet() -> "MultiFernet":
    # here, for the library takes 7 MB, and most web processes never open a secret
    from cryptography.fernet import Fernet, MultiFernet

    return MultiFernet([Fernet(key) for key in settings.SECRETS_KEYS])
