"""The table of the audit log."""

from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone


class NeverChanged(TypeError):
    """Raised on an attempt to change or delete an entry of the audit log."""

    def __init__(self) -> None:
        super().__init__(
            "Audit log entries cannot be changed or deleted; only the purge removes old ones."
        )


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    def update(self, **fields: Any) -> int:
        raise NeverChanged

    def delete(self) -> Any:
        raise NeverChanged


class AuditEntry(models.Model):
    """One action in the audit log: the actor, the object, the origin, and old and new values."""

    at = models.DateTimeField(default=timezone.now)
    action = models.CharField(max_length=50, help_text="installation.created, auth.login, …")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_index=False
    )
    actor = models.CharField(max_length=150, blank=True, help_text="The user's name at the time.")
    token = models.CharField(max_length=100, blank=True, help_text="The API token's name.")
    via = models.CharField(max_length=10, help_text="api, admin or command")
    object_type = models.CharField(max_length=50)
    object_id = models.CharField(max_length=50, blank=True)
    object_name = models.CharField(max_length=200, blank=True)
    changes = models.JSONField(default=dict, help_text='{field: {"old", "new"}}')
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=300, blank=True)
    request_id = models.CharField(max_length=100, blank=True)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            # one for each filter, in the order of the list
            models.Index(fields=["object_type", "object_id", "id"], name="audit_object"),
            models.Index(fields=["action", "id"], name="audit_action"),
            models.Index(fields=["actor", "id"], name="audit_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_name}".strip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk:
            raise NeverChanged
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        raise NeverChanged
