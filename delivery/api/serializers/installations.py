"""Serializers of installations."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from delivery.api.serializers.fields import DaysField, InstallationConfigField, SourceIdsField
from integrations.api.fields import StrictBooleanField, StrictCharField, StrictIntegerField
from integrations.api.serializers import CurrentRevisionSerializer


class HealthSerializer(serializers.Serializer):
    level = serializers.ChoiceField(["well", "busy", "waiting", "attention", "off", "new"])
    title = serializers.CharField()
    detail = serializers.CharField(help_text="What happened and what happens next; may be empty.")
    fix = serializers.CharField(help_text="What you should do, or empty.")


class InstallationWithHealthSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    destination = serializers.CharField(help_text="Its key in the catalog.")
    variant = serializers.CharField()
    config = InstallationConfigField()
    delivery_mode = serializers.CharField()
    enabled = serializers.BooleanField(help_text="false: deliveries wait in the queue.")
    lane_count = serializers.IntegerField()
    give_up_days = serializers.FloatField(allow_null=True, help_text="null: the setting applies.")
    sources = SourceIdsField(help_text='The sources whose events it receives: "all", or their ids.')
    health = HealthSerializer()
    queued = serializers.IntegerField(help_text="Counted up to about 10,000 per lane.")
    oldest_queued_at = serializers.DateTimeField(allow_null=True)
    last_accepted_at = serializers.DateTimeField(
        allow_null=True, help_text="When its vendor last accepted a request."
    )
    revision = CurrentRevisionSerializer(allow_null=True)
    created_at = serializers.DateTimeField()
    uninstalled_at = serializers.DateTimeField(allow_null=True)


@extend_schema_serializer(component_name="WholeInstallation")
class FullInstallationSerializer(InstallationWithHealthSerializer):
    blueprint = serializers.JSONField(help_text="null: it has none.")


class InstallationInputSerializer(serializers.Serializer):
    destination = StrictCharField(max_length=50, help_text="Its key in the catalog.")
    name = StrictCharField(
        max_length=100, required=False, help_text="The destination's name, if omitted."
    )
    variant = StrictCharField(max_length=50, required=False, help_text='"default", if omitted.')
    config = InstallationConfigField(required=False)
    sources = SourceIdsField(required=False)


class InstallationChangeSerializer(serializers.Serializer):
    name = StrictCharField(max_length=100, required=False)
    config = InstallationConfigField(
        required=False, help_text="The settings to change; a secret sent as *** stays."
    )
    enabled = StrictBooleanField(required=False)
    lane_count = StrictIntegerField(required=False, min_value=1, max_value=64)
    give_up_days = DaysField(required=False, allow_null=True, min_value=0.01, max_value=365)
    sources = SourceIdsField(required=False)


@extend_schema_serializer(component_name="Uninstalled")
class UninstallResultSerializer(serializers.Serializer):
    cancelled = serializers.IntegerField(help_text="The number of cancelled deliveries.")
    message = serializers.CharField()
