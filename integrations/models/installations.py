"""Tables of installations and their blueprint revisions."""

import json
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from integrations.catalog import choices, get_destination
from integrations.destination import Config, Destination
from integrations.encryption import MASK, SealedField, SecretsUnreadable, reveal, seal
from integrations.models.sources import Source


class InstallationQuerySet(models.QuerySet["Installation"]):
    def installed(self) -> "InstallationQuerySet":
        """Return the installations that have not been uninstalled."""
        return self.filter(uninstalled_at__isnull=True)


class Installation(models.Model):
    """A destination installed here. The row stays after uninstalling, for the sake of its log."""

    class DeliveryMode(models.TextChoices):
        SERVER_SIDE = "server_side", "Server-side"

    name = models.CharField(max_length=100, unique=True)
    destination_key = models.CharField("destination", max_length=50, choices=choices)
    variant = models.CharField(max_length=50)
    config = models.JSONField(default=dict)
    sealed_secrets = SealedField(blank=True, editable=False)
    delivery_mode = models.CharField(
        max_length=20, choices=DeliveryMode, default=DeliveryMode.SERVER_SIDE
    )
    enabled = models.BooleanField(
        default=True, help_text="Off: deliveries wait in the queue and nothing is sent."
    )
    lane_count = models.PositiveSmallIntegerField(
        "lanes",
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(64)],
        help_text="How many requests may be in flight at once. Each user stays in one lane, so "
        "each user's events stay in order.",
    )
    give_up_days = models.FloatField(
        "give up after",
        null=True,
        blank=True,
        validators=[MinValueValidator(0.01), MaxValueValidator(365)],
        help_text="Days for which a delivery is retried. Leave empty for the default, "
        "PENSTOCK_GIVE_UP_DAYS.",
    )
    revision = models.ForeignKey(
        "Revision", models.PROTECT, null=True, editable=False, related_name="+"
    )
    all_sources = models.BooleanField(
        default=True, help_text="Off: it receives events of the listed sources only."
    )
    sources = models.ManyToManyField(Source, blank=True, related_name="installations")
    uninstalled_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = InstallationQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def destination(self) -> Destination:
        return get_destination(self.destination_key)

    def settings(self) -> Config:
        """Return config, secrets and `sandbox_url` for the destination's functions.

        Raises SecretsUnreadable.
        """
        return {
            **self.config,
            **reveal(self.sealed_secrets),
            "sandbox_url": settings.SANDBOX_URL,
        }

    def masked_config(self) -> dict[str, str]:
        """Return the config that may be shown, with a mask for each stored secret."""
        try:
            stored = frozenset(reveal(self.sealed_secrets))
        except SecretsUnreadable:  # some secrets are stored, but which is unknown
            stored = self.destination.secret_keys
        return {**self.config, **dict.fromkeys(stored, MASK)}

    def set_config(self, values: dict[str, str]) -> None:
        """Set validated config values, with the secrets encrypted. Does not save the row."""
        secret = self.destination.secret_keys
        self.config = {key: value for key, value in values.items() if key not in secret}
        self.sealed_secrets = seal({k: v for k, v in values.items() if k in secret and v})


class JsonText(models.TextField):  # type: ignore[type-arg]  # not subscriptable at run time
    """JSON as text, which keeps the order of keys; PostgreSQL's jsonb would sort them."""

    def from_db_value(self, value: str | None, *args: Any) -> Any:
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> str:
        return json.dumps(value)

    def value_to_string(self, obj: models.Model) -> str:
        return self.get_prep_value(self.value_from_object(obj))


class Revision(models.Model):
    """A numbered version of an installation's blueprint. Revisions are never changed."""

    installation = models.ForeignKey(Installation, models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    blueprint = JsonText()
    change_summary = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "number"], name="one_revision_of_each_number"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.installation} r{self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk:
            raise TypeError("A revision cannot be changed. Save a new one.")
        super().save(*args, **kwargs)

    @property
    def author(self) -> str:
        return str(self.created_by) if self.created_by else "Penstock"
