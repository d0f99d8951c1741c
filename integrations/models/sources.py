"""Tables of sources, their write keys and webhook sources."""

import re
import secrets
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from integrations import jsonpath
from integrations.encryption import reveal, seal
from integrations.webhook_fields import FIELD_PATHS

ORIGIN_PATTERN = re.compile(r"https?://(\*\.)?[^\s/*?#@]+")


def new_write_key() -> str:
    return f"wk_{secrets.token_urlsafe(24)}"


def check_origins(text: str) -> None:
    """Raise ValidationError when any word is no origin."""
    wrong = [each for each in text.split() if not ORIGIN_PATTERN.fullmatch(each)]
    if wrong:
        raise ValidationError(
            f"{wrong[0]!r} is no origin. Write scheme and host, without a path: "
            "https://shop.example, or https://*.shop.example for all below it."
        )


def check_object(value: Any) -> None:
    if not isinstance(value, dict):
        raise ValidationError('Must be an object: {"app": {"name": "Shop"}}.')


class SourceQuerySet(models.QuerySet["Source"]):
    def in_use(self) -> "SourceQuerySet":
        return self.filter(archived_at__isnull=True)


class Source(models.Model):
    """Something that sends us events: a site, an app, a backend."""

    name = models.CharField(max_length=100, unique=True)
    write_key = models.CharField(
        max_length=100,
        unique=True,
        default=new_write_key,
        help_text="What SDKs are configured with. It can only send; browsers show it to anyone.",
    )
    allowed_origins = models.TextField(
        blank=True,
        validators=[check_origins],
        help_text="Sites whose pages may send, one a line: https://shop.example or "
        "https://*.shop.example. Empty: any site. Servers and apps are not asked.",
    )
    default_context = models.JSONField(
        default=dict,
        blank=True,
        validators=[check_object],
        help_text='Lies under the context of every message: {"app": {"name": "Shop"}}.',
    )
    visitor_cookie = models.BooleanField(
        default=False,
        help_text="Give each browser a first-party cookie that scripts cannot read, kept for 400 "
        "days. It is the anonymous id of messages that have none.",
    )
    rate_limit = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Messages a second. Empty: as the setting says; 0: any number.",
    )
    sealed_signing_secret = models.TextField(blank=True, editable=False)
    archived_at = models.DateTimeField(
        null=True, editable=False, help_text="Since then it may not send; its events stay."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = SourceQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def messages_per_second(self) -> int:
        """How many it may send: its own limit, or else the one of the settings; 0: any number."""
        return settings.RATE_LIMIT if self.rate_limit is None else self.rate_limit

    @property
    def signing_secret(self) -> str:
        """What its requests are signed with, or "" when they are not. Raises SecretsUnreadable."""
        return reveal(self.sealed_signing_secret).get("signing", "")

    def new_signing_secret(self) -> str:
        """Replace the secret and return it, to be shown once. Not saved."""
        secret = f"ss_{secrets.token_urlsafe(32)}"
        self.sealed_signing_secret = seal({"signing": secret})
        return secret

    def allows(self, origin: str) -> bool:
        """Return whether pages of that origin may send as this source."""
        listed = self.allowed_origins.lower().split()
        return not listed or any(_matches_origin(each, origin.lower()) for each in listed)


class WriteKeyQuerySet(models.QuerySet["WriteKey"]):
    def valid(self, now: datetime) -> "WriteKeyQuerySet":
        return self.filter(models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=now))


class WriteKey(models.Model):
    """A further write key of a source, beside the one it shows: an older one, or one more."""

    source = models.ForeignKey(Source, models.CASCADE, related_name="further_keys")
    key = models.CharField(max_length=100, unique=True, default=new_write_key)
    note = models.CharField(max_length=100, blank=True, help_text="Who uses it.")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, help_text="Empty: it is valid until revoked.")

    objects = WriteKeyQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.note or 'further key'} of {self.source}"


def new_webhook_key() -> str:
    return f"wh_{secrets.token_urlsafe(24)}"


def check_path(path: str) -> None:
    """Raise ValidationError when a place starts with $ and is no path."""
    try:
        if path.startswith("$"):
            jsonpath.parse_jsonpath(path)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def check_mappings(mappings: Any) -> None:
    """Raise ValidationError when it is not {field: place or list of places}."""
    if not isinstance(mappings, dict):
        raise ValidationError('Must be an object: {"userId": "$.customer.id"}.')
    for field, places in mappings.items():
        for place in places if isinstance(places, list) else [places]:
            if not isinstance(place, str):
                raise ValidationError(f"{field}: must be a path, or a list of paths.")
            check_path(place)


class WebhookSource(models.Model):
    """A third party whose calls become messages of a source."""

    class SourceType(models.TextChoices):
        STRIPE = "stripe", "Stripe"
        SHOPIFY = "shopify", "Shopify"
        HUBSPOT = "hubspot", "HubSpot"
        HMAC = "hmac", "Other, signed with HMAC-SHA256"
        NONE = "none", "Other, not signed"

    name = models.CharField(max_length=100, unique=True)
    key = models.CharField(max_length=100, unique=True, default=new_webhook_key, editable=False)
    source = models.ForeignKey(
        Source, models.PROTECT, help_text="The events are stored as if it had sent them."
    )
    source_type = models.CharField(max_length=20, choices=SourceType)
    sealed_secret = models.TextField(blank=True, editable=False)
    signature_header = models.CharField(
        max_length=100, default="X-Signature", help_text="Of HMAC-SHA256: where the signature is."
    )
    event_type_path = models.CharField(
        max_length=200,
        blank=True,
        validators=[check_path],
        help_text="Where the name of the event is: a JSONPath such as $.type, header:NAME, or the "
        "name itself. Empty: where it usually is.",
    )
    mappings = models.JSONField(
        default=dict,
        blank=True,
        validators=[check_mappings],
        help_text="For each field of the message where its value is, or a list of which the first "
        'that is there counts: {"userId": "$.customer.id", "properties": "$"}. What is not named '
        "is looked for where it usually is.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Raise ValidationError when there is nothing to check the calls with."""
        if self.source_type != self.SourceType.NONE and not self.sealed_secret:
            raise ValidationError({"secret": "Without it nobody can tell who calls."})

    def field_paths(self) -> dict[str, str | list[str]]:
        """Return for each field of a message where its value is."""
        event = {"event": self.event_type_path} if self.event_type_path else {}
        mappings: dict[str, str | list[str]] = self.mappings
        return {**FIELD_PATHS[self.source_type], **event, **mappings}

    @property
    def secret(self) -> str:
        """What its calls are signed with. Raises SecretsUnreadable."""
        return reveal(self.sealed_secret).get("secret", "")

    @secret.setter
    def secret(self, secret: str) -> None:
        self.sealed_secret = seal({"secret": secret})


def _matches_origin(listed: str, origin: str) -> bool:
    scheme, wildcard, domain = listed.partition("*")
    if not wildcard:
        return origin == listed
    return origin.startswith(scheme) and origin.endswith(domain)
