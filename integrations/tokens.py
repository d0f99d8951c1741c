"""API tokens: made, shown once, and revoked."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from integrations import audit
from integrations.models import ApiToken, digest, new_token


def create(
    user: Any, *, name: str, scopes: Sequence[str], expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """Make a token of checked values; return it and its text, which is kept nowhere."""
    text = new_token()
    with transaction.atomic():
        token = ApiToken.objects.create(
            user=user, name=name, scopes=list(scopes), expires_at=expires_at, digest=digest(text)
        )
        audit.record("token.created", token, {}, audit.columns(token))
    return token, text


def revoke(token: ApiToken) -> None:
    """Refuse a token from now on; one that is revoked stays as it is."""
    with transaction.atomic():
        live = ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True)
        if live.update(revoked_at=timezone.now()):
            audit.record("token.revoked", token)
