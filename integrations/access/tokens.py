"""Create and revoke API tokens."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils import timezone

from integrations.access import audit
from integrations.access.users import outranks
from integrations.models import ApiToken, digest, new_token


def create_token(
    user: Any, *, name: str, scopes: Sequence[str], expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """Create a token and return it with its text, which is not stored.

    Raises ValidationError if `expires_at` is in the past.
    """
    text = new_token()
    if expires_at is not None and expires_at <= timezone.now():
        raise ValidationError({"expires_at": "This time is in the past."})
    with transaction.atomic():
        token = ApiToken.objects.create(
            user=user, name=name, scopes=list(scopes), expires_at=expires_at, digest=digest(text)
        )
        audit.record("token.created", token, {}, audit.column_values(token))
    return token, text


def get_token_owner(user_id: int, *, by: User) -> User:
    """Return the user that a new token may belong to. Raises ValidationError, PermissionDenied."""
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        raise ValidationError({"user_id": f"There is no active user {user_id}."})
    if outranks(user, by):
        raise PermissionDenied("This user may do more than you, so you cannot create their tokens.")
    return user


def revoke_token(token: ApiToken, *, by: Any) -> None:
    """Revoke a token. One that is already revoked stays unchanged. Raises PermissionDenied."""
    if outranks(token.user, by):
        raise PermissionDenied("Its user may do more than you, so you cannot revoke the token.")
    with transaction.atomic():
        live = ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True)
        if live.update(revoked_at=timezone.now()):
            audit.record("token.revoked", token)
