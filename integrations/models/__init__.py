"""What can send to us, what is installed, and who may manage it."""

import json
import re
import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from integrations import jsonpath
from integrations.catalog import choices, found
from integrations.destination import Config, Destination
from integrations.encryption import MASK, SecretsUnreadable, reveal, seal
from integrations.roles import SCOPES
from integrations.webhook_fields import USUAL

ORIGIN = re.compile(r"https?://(\*\.)?[^\s/*?#@]+")
LAST_USED_STEP = timedelta(minutes=5)  # how exact ApiToken.last_used_at is


def new_write_key() -> str:
    return f"wk_{secrets.token_urlsafe(24)}"


def check_origins(text: str) -> None:
    """Raise ValidationError when any word is no origin."""
    wrong = [each for each in text.split() if not ORIGIN.fullmatch(each)]
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
    def signing_secret(self) -> str:
        """What its requests are signed with, or "" when they are not. Raises SecretsUnreadable."""
        return reveal(self.sealed_signing_secret).get("signing", "")

    def new_signing_secret(self) -> str:
        """Replace the secret and return it, to be shown once. Not saved."""
        secret = f"ss_{secrets.token_urlsafe(32)}"
        self.sealed_signing_secret = seal({"signing": secret})
        return secret

    def allows(self, origin: str) -> bool:
        """Say whether pages of that origin may send as this source."""
        listed = self.allowed_origins.lower().split()
        return not listed or any(_covers(each, origin.lower()) for each in listed)


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
            jsonpath.compiled(path)
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

    def places(self) -> dict[str, str | list[str]]:
        """Return for each field of a message where its value is."""
        event = {"event": self.event_type_path} if self.event_type_path else {}
        return {**USUAL[self.source_type], **event, **self.mappings}

    @property
    def secret(self) -> str:
        """What its calls are signed with. Raises SecretsUnreadable."""
        return reveal(self.sealed_secret).get("secret", "")

    @secret.setter
    def secret(self, secret: str) -> None:
        self.sealed_secret = seal({"secret": secret})


def _covers(listed: str, origin: str) -> bool:
    scheme, wildcard, domain = listed.partition("*")
    if not wildcard:
        return origin == listed
    return origin.startswith(scheme) and origin.endswith(domain)


class InstallationQuerySet(models.QuerySet["Installation"]):
    def installed(self) -> "InstallationQuerySet":
        """Those that were not uninstalled."""
        return self.filter(uninstalled_at__isnull=True)


class Installation(models.Model):
    """A destination installed here. Uninstalled, it stays for its log's sake."""

    class DeliveryMode(models.TextChoices):
        SERVER_SIDE = "server_side", "Server-side"

    name = models.CharField(max_length=100, unique=True)
    destination_key = models.CharField("destination", max_length=50, choices=choices)
    variant = models.CharField(max_length=50)
    config = models.JSONField(default=dict)
    sealed_secrets = models.TextField(blank=True, editable=False)
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
        help_text="How many requests may be under way at once. Each user stays in one lane, so "
        "each user's events stay in order.",
    )
    give_up_days = models.FloatField(
        "give up after",
        null=True,
        blank=True,
        validators=[MinValueValidator(0.01), MaxValueValidator(365)],
        help_text="Days for which a delivery is tried again. Empty: PENSTOCK_GIVE_UP_DAYS.",
    )
    revision = models.ForeignKey(
        "Revision", models.PROTECT, null=True, editable=False, related_name="+"
    )
    all_sources = models.BooleanField(
        default=True, help_text="Off: it gets events of the sources listed only."
    )
    sources = models.ManyToManyField(Source, blank=True, related_name="installations")
    uninstalled_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = InstallationQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def destination(self) -> Destination:
        return found(self.destination_key)

    def settings(self) -> Config:
        """Return all that the destination's functions need. Raises SecretsUnreadable."""
        return {
            **self.config,
            **reveal(self.sealed_secrets),
            "sandbox_url": settings.SANDBOX_URL,
        }

    def masked_config(self) -> dict[str, str]:
        """Return config as anyone may see it: secrets as a mask when there is one."""
        try:
            stored = set(reveal(self.sealed_secrets))
        except SecretsUnreadable:  # there are some; which, nobody can tell
            stored = self.destination.secret_keys
        return {**self.config, **dict.fromkeys(stored, MASK)}

    def keep(self, values: dict[str, str]) -> None:
        """Take checked config values: secrets are sealed, the rest stays readable. Not saved."""
        secret = self.destination.secret_keys
        self.config = {key: value for key, value in values.items() if key not in secret}
        self.sealed_secrets = seal({k: v for k, v in values.items() if k in secret and v})


class JsonText(models.TextField):
    """JSON whose objects keep the order of their keys; PostgreSQL's jsonb would sort them."""

    def from_db_value(self, value: str | None, *given: Any) -> Any:
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> str:
        return json.dumps(value)

    def value_to_string(self, obj: models.Model) -> str:
        return self.get_prep_value(self.value_from_object(obj))


class Revision(models.Model):
    """An installation's blueprint as it was at one time: numbered, never changed."""

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
            raise TypeError("A revision is never changed; save a new one.")
        super().save(*args, **kwargs)

    @property
    def author(self) -> str:
        return str(self.created_by) if self.created_by else "Penstock"


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def known(self, token: str) -> "ApiToken | None":
        """Return the token that this text is or was, or None."""
        return self.filter(digest=digest(token)).select_related("user").first()

    def valid(self, token: str, now: datetime) -> "ApiToken | None":
        """Return the usable token that this text is, or None."""
        found = self.known(token)
        return found if found and not found.ended(now) else None


def known_scopes(scopes: Any) -> None:
    """Raise ValidationError when it is no list of scopes that there are."""
    if not isinstance(scopes, list) or not scopes or not set(map(str, scopes)) <= set(SCOPES):
        raise ValidationError(f"Must be a list of some of: {', '.join(SCOPES)}.")


class ApiToken(models.Model):
    """A program's key to the management API. Only its digest is kept: it is shown once."""

    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    scopes = models.JSONField(
        default=list,
        validators=[known_scopes],
        help_text="What it may be used for, within what its user may do.",
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

    def ended(self, now: datetime) -> str:
        """Return why it cannot be used any more, as advice, or ""."""
        if self.revoked_at is not None:
            return "The token was revoked. Use another one."
        if self.expires_at is not None and self.expires_at <= now:
            return "The token has expired. Use another one."
        if not self.user.is_active:
            return "The token's user is not active any more."
        return ""

    def note_use(self, now: datetime) -> None:
        """Write down that it was used, at most once in LAST_USED_STEP."""
        if self.last_used_at is None or now - self.last_used_at > LAST_USED_STEP:
            ApiToken.objects.filter(pk=self.pk).update(last_used_at=now)


def new_token(prefix: str = "pst") -> str:
    """Return a token's text: 256 random bits, so that one plain SHA-256 of it is enough."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


class Login(models.Model):
    """Someone's stay in the management API: a family of tokens, each refreshed from the last."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    created_at = models.DateTimeField(default=timezone.now)
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=300, blank=True)
    session_hash = models.CharField(
        max_length=128, help_text="As Django keeps it in sessions: a new password ends them."
    )
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"login of {self.user_id}"


class LoginToken(models.Model):
    """One token of a login; only its digest is kept."""

    class Kind(models.TextChoices):
        ACCESS = "access"
        REFRESH = "refresh"

    login = models.ForeignKey(Login, models.CASCADE, related_name="tokens")
    kind = models.CharField(max_length=10, choices=Kind)
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True, help_text="Of a refresh token: it counts once.")

    def __str__(self) -> str:
        return f"{self.kind} token of login {self.login_id}"


class NeverChanged(TypeError):
    """An entry of the audit log was to be changed or deleted."""

    def __init__(self) -> None:
        super().__init__("The audit log is only added to; entries leave it by age alone.")


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    def update(self, **fields: Any) -> int:
        raise NeverChanged

    def delete(self) -> Any:
        raise NeverChanged


class AuditEntry(models.Model):
    """That somebody did something: who, what, from where, and what it was before."""

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
            # each filter's rows in the order of the list
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


class IdempotentCall(models.Model):
    """A POST that named itself with Idempotency-Key, and how it was answered."""

    caller = models.CharField(max_length=50, help_text="The token that it came with.")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of address and body.")
    at = models.DateTimeField(default=timezone.now, db_index=True)
    status = models.PositiveSmallIntegerField(null=True, help_text="Empty: under way.")
    sealed_answer = models.TextField(blank=True, help_text="Sealed: it may hold a new secret.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["caller", "key"], name="one_call_of_each_key"),
        ]

    def __str__(self) -> str:
        return self.key
