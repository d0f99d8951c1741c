"""Deletes expired rows: tokens of logins, and responses stored for idempotency keys."""

from datetime import datetime, timedelta

from integrations.models import IdempotentCall, Login, LoginToken

EXPIRY_BATCH_ROWS = 2_000  # rows deleted at once
IDEMPOTENT_ANSWER_TTL = timedelta(hours=24)


def delete_expired(now: datetime) -> None:
    """Delete expired tokens and stored responses, and logins that have no token left."""
    old = LoginToken.objects.filter(expires_at__lt=now).order_by("expires_at")
    LoginToken.objects.filter(
        pk__in=list(old.values_list("pk", flat=True)[:EXPIRY_BATCH_ROWS])
    ).delete()
    Login.objects.filter(tokens=None, created_at__lt=now - timedelta(hours=1)).delete()
    IdempotentCall.objects.filter(at__lt=now - IDEMPOTENT_ANSWER_TTL).delete()
