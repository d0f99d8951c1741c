"""Serializers of sources and their write keys."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from integrations.api.fields import (
    StrictBooleanField,
    StrictCharField,
    StrictDateTimeField,
    StrictIntegerField,
)


class FurtherKeySerializer(serializers.Serializer):
    id = serializers.IntegerField()
    key = serializers.CharField()
    note = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)


class SourceSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    write_key = serializers.CharField(
        help_text="It can only send, so it may be public, as in browsers."
    )
    further_keys = FurtherKeySerializer(
        many=True, help_text="Other valid keys: earlier ones, and added ones."
    )
    allowed_origins = serializers.ListField(child=serializers.CharField())
    default_context = serializers.JSONField()
    visitor_cookie = serializers.BooleanField()
    rate_limit = serializers.IntegerField(allow_null=True, help_text="Messages per second.")
    is_signed = serializers.BooleanField(help_text="Whether it has a signing secret.")
    created_at = serializers.DateTimeField()
    archived_at = serializers.DateTimeField(allow_null=True)


class OriginsField(serializers.ListField):
    """A list of origins, which is stored with one origin per line."""

    child = StrictCharField(max_length=300)
    default_error_messages = {"not_a_list": 'Must be a list: ["https://shop.example"].'}

    def to_internal_value(self, data):
        return "\n".join(super().to_internal_value(data))


class SourceInputSerializer(serializers.Serializer):
    name = StrictCharField(max_length=100)
    allowed_origins = OriginsField(
        required=False, max_length=1_000, help_text="Sites whose pages may send; empty: any."
    )
    default_context = serializers.DictField(
        required=False,
        help_text="Added to the context of every message, whose own values take precedence.",
    )
    visitor_cookie = StrictBooleanField(required=False)
    rate_limit = StrictIntegerField(required=False, allow_null=True, max_value=2_147_483_647)


class SourceChangeSerializer(SourceInputSerializer):
    name = StrictCharField(max_length=100, required=False)
    archived = StrictBooleanField(required=False, help_text="false restores an archived source.")


class KeyInputSerializer(serializers.Serializer):
    note = StrictCharField(
        max_length=100, required=False, allow_blank=True, help_text="Who uses it."
    )
    expires_at = StrictDateTimeField(
        required=False, allow_null=True, help_text="If omitted, the key never expires."
    )


class RotateInputSerializer(serializers.Serializer):
    overlap_hours = StrictIntegerField(
        required=False,
        max_value=2_160,
        help_text="Hours for which the old key stays valid; 24, if omitted.",
    )


class SigningSecretSerializer(serializers.Serializer):
    signing_secret = serializers.CharField(help_text="Returned only in this response.")


@extend_schema_serializer(component_name="Removed")
class SourceRemovalSerializer(serializers.Serializer):
    deleted = serializers.BooleanField(help_text="false: it has events, so it was archived.")
