"""What the API takes and answers, for its schema and to check what is given."""

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
    username = StrictCharField(max_length=254, help_text="The user's name, or e-mail address.")
    password = StrictCharField(max_length=4096)


class RefreshInputSerializer(serializers.Serializer):
    refresh_token = StrictCharField(max_length=200)


class UserSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    username = serializers.CharField()
    email = serializers.CharField(help_text="May be empty.")
    name = serializers.CharField(help_text="May be empty.")
    role = serializers.ChoiceField(ROLE_CHOICES, allow_null=True)
    is_superuser = serializers.BooleanField(help_text="May do everything, whatever the role.")
    is_active = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    last_login_at = serializers.DateTimeField(allow_null=True)


class NewUserSerializer(UserSerializer):
    password = serializers.CharField(required=False, help_text="Only when none was given.")


class UserInputSerializer(serializers.Serializer):
    username = StrictCharField(max_length=150)
    email = StrictCharField(max_length=254, allow_blank=True, required=False)
    name = StrictCharField(max_length=150, allow_blank=True, required=False)
    role = StrictChoiceField(ROLE_CHOICES, allow_null=True, required=False)
    password = StrictCharField(
        max_length=4096, required=False, help_text="Generated and answered once when not given."
    )


class UserChangeSerializer(serializers.Serializer):
    username = StrictCharField(max_length=150, required=False)
    email = StrictCharField(max_length=254, allow_blank=True, required=False)
    name = StrictCharField(max_length=150, allow_blank=True, required=False)
    role = StrictChoiceField(ROLE_CHOICES, allow_null=True, required=False)
    password = StrictCharField(max_length=4096, required=False)
    is_active = StrictBooleanField(required=False)


class PairSerializer(serializers.Serializer):
    access_token = serializers.CharField()
    refresh_token = serializers.CharField(help_text="Counts once: refreshing gives a new one.")
    token_type = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds for which the access token is good.")
    refresh_expires_in = serializers.IntegerField(help_text="Seconds.")
    user = UserSerializer()


class MeSerializer(serializers.Serializer):
    user = UserSerializer()
    scopes = serializers.ListField(
        child=serializers.ChoiceField(SCOPE_CHOICES),
        help_text="What this token may be used for and its user may do.",
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
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To 5 minutes.")
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewTokenSerializer(TokenSerializer):
    token = serializers.CharField(help_text="Shown only here.")


class TokenInputSerializer(serializers.Serializer):
    name = StrictCharField(max_length=100)
    scopes = serializers.ListField(
        child=StrictChoiceField(SCOPE_CHOICES), min_length=1, max_length=20
    )
    expires_at = StrictDateTimeField(
        required=False, allow_null=True, help_text="Never, when not given."
    )
    user_id = StrictIntegerField(
        required=False, min_value=1, help_text="Whose; yours when not given."
    )


class ChangeSerializer(serializers.Serializer):
    old = serializers.JSONField()
    new = serializers.JSONField()


class AuditEntrySerializer(serializers.Serializer):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    action = serializers.CharField(help_text="installation.created, source.updated, auth.login, …")
    user_id = serializers.IntegerField(allow_null=True)
    actor = serializers.CharField(help_text="The user's name at the time, or empty.")
    token = serializers.CharField(help_text="The API token's name, or empty.")
    via = serializers.ChoiceField(["api", "admin", "command"])
    object_type = serializers.CharField()
    object_id = serializers.CharField()
    object_name = serializers.CharField()
    changes = serializers.DictField(
        child=ChangeSerializer(), help_text="What differs, by field; secrets as ***."
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
    """A third party whose calls become messages of a source; its secret is never shown."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    address = serializers.CharField(help_text="What the third party calls, after our host.")
    source = NamedSerializer(help_text="Its events come in as if this one had sent them.")
    source_type = serializers.ChoiceField(WEBHOOK_SOURCE_TYPE_CHOICES)
    is_signed = serializers.BooleanField(help_text="Whether its calls are checked by a secret.")
    signature_header = serializers.CharField()
    event_type_path = serializers.CharField(help_text="Empty: where it usually is.")
    mappings = serializers.JSONField(help_text="For each field of a message where its value is.")
    created_at = serializers.DateTimeField()


class WebhookSourceInputSerializer(serializers.Serializer):
    name = StrictCharField(max_length=100)
    source = StrictIntegerField(min_value=1, help_text="The id of the source it sends as.")
    source_type = StrictChoiceField(WEBHOOK_SOURCE_TYPE_CHOICES)
    secret = StrictCharField(
        max_length=1_000,
        required=False,
        help_text="What its calls are signed with; needed but for none. It is never shown.",
    )
    signature_header = StrictCharField(
        max_length=100, required=False, help_text="Of hmac: X-Signature."
    )
    event_type_path = StrictCharField(
        max_length=200,
        required=False,
        allow_blank=True,
        help_text="A JSONPath, header:NAME, or the event's name itself.",
    )
    mappings = serializers.DictField(
        required=False, help_text='{"userId": "$.customer.id"}: a place, or a list of places.'
    )


class WebhookSourceChangeSerializer(WebhookSourceInputSerializer):
    name = StrictCharField(max_length=100, required=False)
    source = StrictIntegerField(min_value=1, required=False)
    source_type = StrictChoiceField(WEBHOOK_SOURCE_TYPE_CHOICES, required=False)


# --- the catalog, and what is installed from it --------------------------------------------------


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
    default = serializers.CharField(help_text="What it is when it is not given.")
    options = OptionSerializer(many=True, required=False, help_text="Of a select.")


class VariantSerializer(serializers.Serializer):
    key = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    default_config = serializers.DictField(child=serializers.CharField())


class DestinationSerializer(serializers.Serializer):
    """A vendor of the catalog."""

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


class LogsSerializer(serializers.Serializer):
    api = serializers.CharField()
    admin = serializers.CharField()


class InstallationSerializer(serializers.Serializer):
    """A destination installed here; secrets as ***."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    destination = serializers.CharField(help_text="The vendor's key in the catalog.")
    variant = serializers.CharField()
    config = serializers.DictField(child=serializers.CharField(allow_blank=True))
    delivery_mode = serializers.CharField()
    enabled = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    revision = InstallationRevisionSerializer()
    logs = LogsSerializer(help_text="Where its deliveries are.")


class InstallInputSerializer(serializers.Serializer):
    name = StrictCharField(
        max_length=100, required=False, help_text="The vendor's, when not given."
    )
    variant = StrictCharField(max_length=50, required=False, help_text="default, when not given.")
    config = serializers.DictField(
        child=StrictCharField(max_length=10_000, allow_blank=True),
        required=False,
        help_text="Values of the vendor's config_fields, by key.",
    )
    delivery_mode = StrictChoiceField([("server_side", "Server-side")], required=False)
