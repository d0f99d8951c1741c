"""Serializers of the management API: they describe its schema and validate requests."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from integrations.api.fields import (
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
    StrictDateTimeField,
    StrictIntegerField,
)
from integrations.models import WebhookSource as WebhookSourceRow
from integrations.roles import ROLES, SCOPES

ROLE_CHOICES = [(each.name, each.description) for each in ROLES.values()]
SCOPE_CHOICES = [(each.name, each.description) for each in SCOPES.values()]


class LoginInputSerializer(serializers.Serializer):
    username = StrictCharField(max_length=254, help_text="The user's name or email address.")
    password = StrictCharField(max_length=4096)


class RefreshInputSerializer(serializers.Serializer):
    refresh_token = StrictCharField(max_length=200)


class UserSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    username = serializers.CharField()
    email = serializers.CharField(help_text="May be empty.")
    name = serializers.CharField(help_text="May be empty.")
    role = serializers.ChoiceField(ROLE_CHOICES, allow_null=True)
    is_superuser = serializers.BooleanField(help_text="Has every permission, whatever the role.")
    is_active = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    last_login_at = serializers.DateTimeField(allow_null=True)


class NewUserSerializer(UserSerializer):
    password = serializers.CharField(required=False, help_text="Only if the request gave none.")


class UserInputSerializer(serializers.Serializer):
    username = StrictCharField(max_length=150)
    email = StrictCharField(max_length=254, allow_blank=True, required=False)
    name = StrictCharField(max_length=150, allow_blank=True, required=False)
    role = StrictChoiceField(ROLE_CHOICES, allow_null=True, required=False)
    password = StrictCharField(
        max_length=4096, required=False, help_text="Generated if omitted, and returned once."
    )


class UserChangeSerializer(serializers.Serializer):
    username = StrictCharField(max_length=150, required=False)
    email = StrictCharField(max_length=254, allow_blank=True, required=False)
    name = StrictCharField(max_length=150, allow_blank=True, required=False)
    role = StrictChoiceField(ROLE_CHOICES, allow_null=True, required=False)
    password = StrictCharField(max_length=4096, required=False)
    current_password = StrictCharField(
        max_length=4096, required=False, help_text="Required to change your own password."
    )
    is_active = StrictBooleanField(required=False)


@extend_schema_serializer(component_name="Pair")
class TokenPairSerializer(serializers.Serializer):
    access_token = serializers.CharField()
    refresh_token = serializers.CharField(help_text="Valid once; each refresh returns a new one.")
    token_type = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds for which the access token is valid.")
    refresh_expires_in = serializers.IntegerField(
        help_text="Seconds for which the refresh token is valid."
    )
    user = UserSerializer()


class MeSerializer(serializers.Serializer):
    user = UserSerializer()
    scopes = serializers.ListField(
        child=serializers.ChoiceField(SCOPE_CHOICES),
        help_text="The scopes that the token has and its user's role allows.",
    )
    token = serializers.CharField(help_text="The API token's name, or 'login'.")
    expires_at = serializers.DateTimeField(allow_null=True)


class TokenSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    user_id = serializers.IntegerField()
    username = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(SCOPE_CHOICES))
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="Accurate to 5 minutes.")
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewTokenSerializer(TokenSerializer):
    token = serializers.CharField(help_text="Returned only in this response.")


class TokenInputSerializer(serializers.Serializer):
    name = StrictCharField(max_length=100)
    scopes = serializers.ListField(
        child=StrictChoiceField(SCOPE_CHOICES), min_length=1, max_length=20
    )
    expires_at = StrictDateTimeField(
        required=False, allow_null=True, help_text="If omitted, the token never expires."
    )
    user_id = StrictIntegerField(
        required=False, min_value=1, help_text="The user of the token; you, if omitted."
    )


@extend_schema_serializer(component_name="Change")
class AuditChangeSerializer(serializers.Serializer):
    old = serializers.JSONField()
    new = serializers.JSONField()


class AuditEntrySerializer(serializers.Serializer):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    action = serializers.CharField(
        help_text="Such as installation.created, source.updated or auth.login."
    )
    user_id = serializers.IntegerField(allow_null=True)
    actor = serializers.CharField(help_text="The user's name at the time, or empty.")
    token = serializers.CharField(help_text="The API token's name, or empty.")
    via = serializers.ChoiceField(["api", "admin", "command"])
    object_type = serializers.CharField()
    object_id = serializers.CharField()
    object_name = serializers.CharField()
    changes = serializers.DictField(
        child=AuditChangeSerializer(),
        help_text="Old and new values by field, with secrets masked as ***.",
    )
    ip_address = serializers.CharField(allow_null=True)
    user_agent = serializers.CharField()
    request_id = serializers.CharField()


# --- webhook sources -----------------------------------------------------------------------------

WEBHOOK_SOURCE_TYPE_CHOICES = WebhookSourceRow.SourceType.choices


class NamedSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()


class WebhookSourceSerializer(serializers.Serializer):
    """A URL for a third party to call; its calls become messages of a source.

    Its secret is never shown.
    """

    id = serializers.IntegerField()
    name = serializers.CharField()
    address = serializers.CharField(
        help_text="The path and query of the URL that the third party calls."
    )
    source = NamedSerializer(help_text="The source whose messages its calls become.")
    source_type = serializers.ChoiceField(WEBHOOK_SOURCE_TYPE_CHOICES)
    is_signed = serializers.BooleanField(help_text="Whether a secret verifies its calls.")
    signature_header = serializers.CharField()
    event_type_path = serializers.CharField(help_text="Empty: the usual path of its type.")
    mappings = serializers.JSONField(help_text="The path to the value of each message field.")
    created_at = serializers.DateTimeField()


class WebhookSourceInputSerializer(serializers.Serializer):
    name = StrictCharField(max_length=100)
    source = StrictIntegerField(
        min_value=1, help_text="The id of the source whose messages its calls become."
    )
    source_type = StrictChoiceField(WEBHOOK_SOURCE_TYPE_CHOICES)
    secret = StrictCharField(
        max_length=1_000,
        required=False,
        help_text="The secret that signs its calls; required unless the type is none. Never shown.",
    )
    signature_header = StrictCharField(
        max_length=100, required=False, help_text="Only for hmac; X-Signature, if omitted."
    )
    event_type_path = StrictCharField(
        max_length=200,
        required=False,
        allow_blank=True,
        help_text="A JSONPath, header:NAME, or the event name itself.",
    )
    mappings = serializers.DictField(
        required=False,
        help_text='Such as {"userId": "$.customer.id"}; in a list, the first value present counts.',
    )


class WebhookSourceChangeSerializer(WebhookSourceInputSerializer):
    name = StrictCharField(max_length=100, required=False)
    source = StrictIntegerField(min_value=1, required=False)
    source_type = StrictChoiceField(WEBHOOK_SOURCE_TYPE_CHOICES, required=False)


# --- the catalog, and installations of its destinations ------------------------------------------


class OptionSerializer(serializers.Serializer):
    value = serializers.CharField()
    label = serializers.CharField()


class ConfigFieldSerializer(serializers.Serializer):
    key = serializers.CharField()
    label = serializers.CharField()
    type = serializers.ChoiceField(["string", "secret", "select"])
    required = serializers.BooleanField()
    placeholder = serializers.CharField()
    help_text = serializers.CharField()
    default = serializers.CharField(help_text="The value if omitted.")
    options = OptionSerializer(many=True, required=False, help_text="Only for a select.")


class VariantSerializer(serializers.Serializer):
    key = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    default_config = serializers.DictField(child=serializers.CharField())


class DestinationSerializer(serializers.Serializer):
    """A destination in the catalog."""

    key = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    category = serializers.CharField()
    status = serializers.CharField()
    website = serializers.CharField()
    config_fields = ConfigFieldSerializer(many=True)
    variants = VariantSerializer(many=True)


class CatalogSerializer(serializers.Serializer):
    data = DestinationSerializer(many=True)


class CurrentRevisionSerializer(serializers.Serializer):
    number = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    change_summary = serializers.CharField()


class InstallationRevisionSerializer(CurrentRevisionSerializer):
    blueprint = serializers.JSONField()


@extend_schema_serializer(component_name="Logs")
class LogLinksSerializer(serializers.Serializer):
    api = serializers.CharField()
    admin = serializers.CharField()


class InstallationSerializer(serializers.Serializer):
    """A destination installed here; secrets are masked as ***."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    destination = serializers.CharField(help_text="The destination's key in the catalog.")
    variant = serializers.CharField()
    config = serializers.DictField(child=serializers.CharField(allow_blank=True))
    delivery_mode = serializers.CharField()
    enabled = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    revision = InstallationRevisionSerializer()
    logs = LogLinksSerializer(help_text="The URLs of its deliveries.")


class InstallInputSerializer(serializers.Serializer):
    name = StrictCharField(
        max_length=100, required=False, help_text="The destination's name, if omitted."
    )
    variant = StrictCharField(max_length=50, required=False, help_text="default, if omitted.")
    config = serializers.DictField(
        child=StrictCharField(max_length=10_000, allow_blank=True),
        required=False,
        help_text="The values of the destination's config_fields, by key.",
    )
    delivery_mode = StrictChoiceField([("server_side", "Server-side")], required=False)
