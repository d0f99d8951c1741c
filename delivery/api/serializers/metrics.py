"""Serializers of metrics and of the state of the system."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from delivery.accounting.record import MetricStep

METRIC_STEPS = {step.label.lower(): step for step in MetricStep}


@extend_schema_serializer(component_name="Point")
class MetricPointSerializer(serializers.Serializer):
    at = serializers.DateTimeField(help_text="The start of the step.")
    accepted = serializers.IntegerField(
        help_text="Events; for an installation, those offered to it."
    )
    unwanted = serializers.IntegerField(
        help_text="Of these, those that the sender switched off or for which no trigger fired."
    )
    delivered = serializers.IntegerField()
    filtered = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    attempts = serializers.IntegerField(help_text="Requests to the vendor.")
    refused = serializers.IntegerField(help_text="Of these, those not accepted.")
    queued = serializers.IntegerField(help_text="The maximum of samples taken once a minute.")
    oldest_queued_s = serializers.FloatField(help_text="Seconds; the maximum of the samples.")
    p50_ms = serializers.FloatField(
        allow_null=True, help_text="From queued to delivered, to within 10 %."
    )
    p95_ms = serializers.FloatField(allow_null=True)
    p99_ms = serializers.FloatField(allow_null=True)


class QueueNowSerializer(serializers.Serializer):
    queued = serializers.IntegerField(help_text="Counted up to about 10,000 per lane.")
    oldest_queued_at = serializers.DateTimeField(allow_null=True)


class MetricsSerializer(serializers.Serializer):
    step = serializers.ChoiceField(list(METRIC_STEPS))
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    now = QueueNowSerializer(
        help_text="The queue of one installation, or of all; sources have none."
    )
    total = MetricPointSerializer(help_text="The counts of the whole range.")
    points = MetricPointSerializer(many=True, help_text="One for each step, including empty ones.")


class ClusterSerializer(serializers.Serializer):
    host = serializers.CharField()
    pid = serializers.CharField()
    at = serializers.DateTimeField(help_text="When its last heartbeat was.")
    is_alive = serializers.BooleanField()


class LanesSerializer(serializers.Serializer):
    total = serializers.IntegerField()
    at_work = serializers.IntegerField()
    waiting = serializers.IntegerField(help_text="Waiting for an unavailable vendor.")
    paused = serializers.IntegerField(help_text="Paused until a person fixes the installation.")


class BrokerSerializer(serializers.Serializer):
    name = serializers.CharField()
    queued = serializers.IntegerField(allow_null=True, help_text="Wake-ups; null: unknown.")
    trouble = serializers.CharField(help_text="Why it is not reachable, or empty.")


class DatabaseSerializer(serializers.Serializer):
    name = serializers.CharField()
    version = serializers.CharField()
    size = serializers.IntegerField(allow_null=True, help_text="In bytes; null: unknown.")


@extend_schema_serializer(component_name="Kept")
class RetentionSerializer(serializers.Serializer):
    what = serializers.CharField()
    days = serializers.FloatField()


class SystemSerializer(serializers.Serializer):
    is_well = serializers.BooleanField()
    trouble = serializers.CharField(help_text="The most serious problem with its fix, or empty.")
    clusters = ClusterSerializer(many=True)
    swept_at = serializers.DateTimeField(allow_null=True)
    lanes = LanesSerializer()
    queue = QueueNowSerializer()
    broker = BrokerSerializer()
    database = DatabaseSerializer()
    retention = RetentionSerializer(many=True)
    versions = serializers.DictField(child=serializers.CharField())
