"""Serializers of installations."""

from rest_framework import serializers

from delivery.api.serializers.fields import Age, Config, Feeders
from integrations.api.fields import Flag, Number, Text
from integrations.api.serializers import CurrentRevision


class Health(serializers.Serializer):
    level = serializers.ChoiceField(["well", "busy", "waiting", "attention", "off", "new"])
    title = serializers.CharField()
    detail = serializers.CharField(help_text="What happened and what happens next; may be empty.")
    fix = serializers.CharField(help_text="What a person should do, or empty.")


class InstallationWithHealth(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    destination = serializers.CharField(help_text="Its key in the catalog.")
    variant = serializers.CharField()
    config = Config()
    delivery_mode = serializers.CharField()
    enabled = serializers.BooleanField(help_text="false: deliveries wait in the queue.")
    lane_count = serializers.IntegerField()
    give_up_days = serializers.FloatField(allow_null=True, help_text="null: as the setting says.")
    sources = Feeders(help_text='Which sources feed it: "all", or their ids.')
    health = Health()
    queued = serializers.IntegerField(help_text="Counted up to about 10,000 a lane.")
    oldest_queued_at = serializers.DateTimeField(allow_null=True)
    last_accepted_at = serializers.DateTimeField(
        allow_null=True, help_text="When its vendor last accepted a request."
    )
    revision = CurrentRevision(allow_null=True)
    created_at = serializers.DateTimeField()
    uninstalled_at = serializers.DateTimeField(allow_null=True)


class WholeInstallation(InstallationWithHealth):
    blueprint = serializers.JSONField(help_text="null: it has none.")


class InstallationInput(serializers.Serializer):
    destination = Text(max_length=50, help_text="Its key in the catalog.")
    name = Text(max_length=100, required=False, help_text="The destination's, when not given.")
    variant = Text(max_length=50, required=False, help_text='"default", when not given.')
    config = Config(required=False)
    sources = Feeders(required=False)


class InstallationChange(serializers.Serializer):
    name = Text(max_length=100, required=False)
    config = Config(
        required=False, help_text="The settings to change; a secret given as *** stays."
    )
    enabled = Flag(required=False)
    lane_count = Number(required=False, min_value=1, max_value=64)
    give_up_days = Age(required=False, allow_null=True, min_value=0.01, max_value=365)
    sources = Feeders(required=False)


class Uninstalled(serializers.Serializer):
    cancelled = serializers.IntegerField(help_text="Deliveries that were queued.")
    message = serializers.CharField()
