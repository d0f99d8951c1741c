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
from integrations.encryption import SealedField, reveal, seal
from integrations.formats.json_values import find_unstorable
from integrations.webhook_fields import FIELD_PATHS

ORIGIN_PATTERN = re.compile(r"https?://(\*\.)?[^\s/*?#@]+")


def new_write_key() -> str:
    return f"wk_{secrets.token_urlsafe(24)}"


def check_origins(text: str) -> None:
    """Raise ValidationError if any word is not an origin."""
    wrong = [each for each in text.split() if not ORIGIN_PATTERN.fullmatch(each)]
    if wrong:
        raise ValidationError(
            f"{wrong[0]!r} is not an origin. Enter scheme and host without a path, such as "
            "https://shop.example, or https://*.shop.example for all its subdomains."
        )


def check_object(value: Any) -> None:
    if not isinstance(value, dict):
        raise ValidationError('Must be an object, such as {"app": {"name": "Shop"}}.')
    check_storable(value)


def check_storable(value: Any) -> None:
    """Raise ValidationError for JSON that a form accepts but a database cannot store."""
    for place, problem in find_unstorable(value):
        raise ValidationError(f"{place}: {problem}" if place else problem)


class SourceQuerySet(models.QuerySet["Source"]):
    def in_use(self) -> "SourceQuerySet":
        return self.filter(archived_at__isnull=True)


class Source(models.Model):
    """A sender of events, such as a site, an app or a backend."""

    name = models.CharField(max_length=100, unique=True)
    write_key = models.CharField(
        max_length=100,
        unique=True,
        default=new_write_key,
        help_text="The key with which SDKs send. It can only send, so it may be visible in "
        "browsers.",
    )
    allowed_origins = models.TextField(
        blank=True,
        validators=[check_origins],
        help_text="Sites whose pages may send, one per line, such as https://shop.example or "
        "https://*.shop.example. Empty: any site. Servers and apps are not restricted.",
    )
    default_context = models.JSONField(
        default=dict,
        blank=True,
        validators=[check_object],
        help_text="Default values for the context of every message, such as "
        '{"app": {"name": "Shop"}}.',
    )
    visitor_cookie = models.BooleanField(
        default=False,
        help_text="Give each browser a first-party cookie that scripts cannot read, kept for 400 "
        "days. It becomes the anonymous id of messages that have none.",
    )
    rate_limit = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Messages per second. Leave empty for the default, PENSTOCK_RATE_LIMIT. "
        "0: unlimited.",
    )
    sealed_signing_secret = SealedField(blank=True, editable=False)
    archived_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="From this time on, the source may not send. Its events stay.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = SourceQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def messages_per_second(self) -> int:
        """The source's own rate limit, or else the one of the settings; 0 means unlimited."""
        return settings.RATE_LIMIT if self.rate_limit is None else self.rate_limit

    @property
    def signing_secret(self) -> str:
        """The secret that signs its requests, or "" if there is none. Raises SecretsUnreadable."""
        return reveal(self.sealed_signing_secret).get("signing", "")

    def new_signing_secret(self) -> str:
        """Replace the signing secret and return it, to be shown once. Does not save the row."""
        secret = f"ss_{secrets.token_urlsafe(32)}"
        self.sealed_signing_secret = seal({"signing": secret})
        return secret

    def allows(self, origin: str) -> bool:
        """Return whether pages of this origin may send as this source."""
        listed = self.allowed_origins.lower().split()
        return not listed or any(_matches_origin(each, origin.lower()) for each in listed)


class WriteKeyQuerySet(models.QuerySet["WriteKey"]):
    def valid(self, now: datetime) -> "WriteKeyQuerySet":
        return self.filter(models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=now))


class WriteKey(models.Model):
    """A further write key of a source: an older one after rotation, or an additional one."""

    source = models.ForeignKey(Source, models.CASCADE, related_name="further_keys")
    key = models.CharField(max_length=100, unique=True, default=new_write_key)
    note = models.CharField(max_length=100, blank=True, help_text="Who uses it.")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, help_text="Empty: valid until revoked.")

    objects = WriteKeyQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.note or 'further key'} of {self.source}"


def new_webhook_key() -> str:
    return f"wh_{secrets.token_urlsafe(24)}"


def check_path(path: str) -> None:
    """Raise ValidationError if a location starts with $ and is not a valid JSONPath."""
    try:
        if path.startswith("$"):
            jsonpath.parse_jsonpath(path)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def check_mappings(mappings: Any) -> None:
    """Raise ValidationError unless the value is {field: location or list of locations}."""
    if not isinstance(mappings, dict):
        raise ValidationError('Must be an object, such as {"userId": "$.customer.id"}.')
    check_storable(mappings)
    for field, places in mappings.items():
        for place in places if isinstance(places, list) else [places]:
            if not isinstance(place, str):
                raise ValidationError(f"{field}: must be a path, or a list of paths.")
            check_path(place)


class WebhookSource(models.Model):
    """A URL that a third party calls; its calls become messages of a source."""

    class SourceType(models.TextChoices):
        STRIPE = "stripe", "Stripe"
        SHOPIFY = "shopify", "Shopify"
        HUBSPOT = "hubspot", "HubSpot"
        HMAC = "hmac", "Other, signed with HMAC-SHA256"
        NONE = "none", "Other, not signed"

    name = models.CharField(max_length=100, unique=True)
    key = models.CharField(max_length=100, unique=True, default=new_webhook_key, editable=False)
    source = models.ForeignKey(
        Source, models.PROTECT, help_text="Events are stored as if this source had sent them."
    )
    source_type = models.CharField(max_length=20, choices=SourceType)
    sealed_secret = SealedField(blank=True, editable=False)
    signature_header = models.CharField(
        max_length=100,
        default="X-Signature",
        help_text="For HMAC-SHA256 only: the header that contains the signature.",
    )
    event_type_path = models.CharField(
        max_length=200,
        blank=True,
        validators=[check_path],
        help_text="The location of the event name: a JSONPath such as $.type, header:NAME, or the "
        "name itself. Empty: the default location.",
    )
    mappings = models.JSONField(
        default=dict,
        blank=True,
        validators=[check_mappings],
        help_text="The location of each message field, or a list of locations of which the first "
        'present one counts: {"userId": "$.customer.id", "properties": "$"}. Other fields are read '
        "from their default locations.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Raise ValidationError if the calls are signed and there is no secret to verify them."""
        if self.source_type != self.SourceType.NONE and not self.sealed_secret:
            raise ValidationError({"secret": "Required, because it verifies who calls."})

    def field_paths(self) -> dict[str, str | list[str]]:
        """Return the location of each field of a message."""
        event = {"event": self.event_type_path} if self.event_type_path else {}
        mappings: dict[str, str | list[str]] = self.mappings
        return {**FIELD_PATHS[self.source_type], **event, **mappings}

    @property
    def secret(self) -> str:
        """The secret that signs its calls. Raises SecretsUnreadable."""
        return reveal(self.sealed_secret).get("secret", "")

    @secret.setter
    def secret(self, secret: str) -> None:
        self.sealed_secret = seal({"secret": secret})


def _matches_origin(listed: str, origin: str) -> bool:
    scheme, wildcard, domain = listed.partition("*")
    if not wildcard:
        return origin == listed
    return origin.startswith(scheme) and origin.endswith(domain)
