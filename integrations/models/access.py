"""Tables of API tokens, logins and idempotent calls."""

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from integrations.encryption import SealedField
from integrations.roles import SCOPES

LAST_USED_RESOLUTION = timedelta(minutes=5)  # the precision of ApiToken.last_used_at


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def find(self, token: str) -> "ApiToken | None":
        """Return the token with this text, usable or not, or None."""
        return self.filter(digest=digest(token)).select_related("user").first()

    def find_usable(self, token: str, now: datetime) -> "ApiToken | None":
        """Return the usable token with this text, or None."""
        row = self.find(token)
        return row if row and not row.unusable_reason(now) else None


def known_scopes(scopes: Any) -> None:
    """Raise ValidationError unless the value is a list of known scopes."""
    if not isinstance(scopes, list) or not scopes or not set(map(str, scopes)) <= set(SCOPES):
        raise ValidationError(f"Must be a list with one or more of: {', '.join(SCOPES)}.")


class ApiToken(models.Model):
    """A program's key to the management API. Its text is shown once; only a digest is stored."""

    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    scopes = models.JSONField(
        default=list,
        validators=[known_scopes],
        help_text="What the token may be used for, within the permissions of its user.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        verbose_name = "API token"

    def __str__(self) -> str:
        return self.name

    def unusable_reason(self, now: datetime) -> str:
        """Return why the token can no longer be used, with advice, or ""."""
        if self.revoked_at is not None:
            return "The token was revoked. Use another one."
        if self.expires_at is not None and self.expires_at <= now:
            return "The token has expired. Use another one."
        if not self.user.is_active:
            return "The token's user is no longer active."
        return ""

    def record_use(self, now: datetime) -> None:
        """Record that the token was used, at most once per LAST_USED_RESOLUTION."""
        if self.last_used_at is None or now - self.last_used_at > LAST_USED_RESOLUTION:
            ApiToken.objects.filter(pk=self.pk).update(last_used_at=now)


def new_token(prefix: str = "pst") -> str:
    """Return the text of a new token: 256 random bits, for which a plain SHA-256 is enough."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


class Login(models.Model):
    """A login to the management API: a family of tokens, each pair refreshed from the last."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    created_at = models.DateTimeField(default=timezone.now)
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=300, blank=True)
    session_hash = models.CharField(
        max_length=128,
        help_text="The hash that Django keeps in sessions; a new password ends the login.",
    )
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"login of {self.user_id}"


class LoginToken(models.Model):
    """One token of a login; only its digest is stored."""

    class Kind(models.TextChoices):
        ACCESS = "access"
        REFRESH = "refresh"

    login = models.ForeignKey(Login, models.CASCADE, related_name="tokens")
    kind = models.CharField(max_length=10, choices=Kind)
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(
        null=True, help_text="When a refresh token was used; it can be used only once."
    )

    def __str__(self) -> str:
        return f"{self.kind} token of login {self.login_id}"


class IdempotentCall(models.Model):
    """A POST call with an Idempotency-Key, and its response."""

    caller = models.CharField(max_length=50, help_text="The token that made the call.")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of URL and body.")
    at = models.DateTimeField(default=timezone.now, db_index=True)
    status = models.PositiveSmallIntegerField(
        null=True, help_text="Empty: the call is still running."
    )
    sealed_answer = SealedField(
        blank=True, help_text="Encrypted, because it may contain a new secret."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["caller", "key"], name="one_call_of_each_key"),
        ]

    def __str__(self) -> str:
        return self.key
