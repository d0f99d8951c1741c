"""Serializers of events and attempts."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from delivery.api.serializers.deliveries import (
    DELIVERY_STATE_CHOICES,
    TAKEN_AT_HELP,
    WORKER_HELP,
    hidden_reason_field,
)
from integrations.api.serializers import NamedSerializer


class EventSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    source = NamedSerializer()
    type = serializers.CharField()
    name = serializers.CharField()
    message_id = serializers.CharField()
    user_id = serializers.CharField()
    anonymous_id = serializers.CharField()
    timestamp = serializers.DateTimeField(help_text="When it happened, according to the source.")
    received_at = serializers.DateTimeField()


class DeliveryOfEventSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    installation = NamedSerializer()
    state = serializers.ChoiceField(DELIVERY_STATE_CHOICES)
    settled_at = serializers.DateTimeField(allow_null=True)
    attempt_count = serializers.IntegerField()
    error = serializers.CharField()
    reason = serializers.CharField()
    summary = serializers.CharField(help_text="Its state and the reason, in words.")


class AbsenceSerializer(serializers.Serializer):
    installation = NamedSerializer()
    reason = serializers.CharField(help_text="Why it has no delivery of the event.")


class EventWithDeliveriesSerializer(EventSerializer):
    hidden = hidden_reason_field()
    body = serializers.JSONField(
        allow_null=True, help_text="As it was sent; null: hidden, or no longer kept."
    )
    added_context = serializers.JSONField(allow_null=True)
    notes = serializers.ListField(child=serializers.CharField())
    deliveries = DeliveryOfEventSerializer(many=True)
    absences = AbsenceSerializer(many=True)


@extend_schema_serializer(component_name="Exchange")
class AttemptSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    installation = NamedSerializer()
    started_at = serializers.DateTimeField()
    duration_ms = serializers.IntegerField()
    method = serializers.CharField()
    url = serializers.CharField()
    status = serializers.IntegerField(allow_null=True, help_text="null: no response.")
    outcome = serializers.CharField(help_text="accepted, or the class of the error.")
    error = serializers.CharField()
    items = serializers.IntegerField()
    is_test = serializers.BooleanField(
        help_text="Whether it was a test, which carries no delivery and is not counted."
    )
    taken_at = serializers.DateTimeField(allow_null=True, help_text=TAKEN_AT_HELP)
    worker = serializers.CharField(help_text=WORKER_HELP)


class MessageSerializer(serializers.Serializer):
    headers = serializers.JSONField()
    body = serializers.JSONField(help_text="As JSON if valid, otherwise as text.")


@extend_schema_serializer(component_name="WholeExchange")
class FullAttemptSerializer(AttemptSerializer):
    hidden = hidden_reason_field()
    request = MessageSerializer(allow_null=True, help_text="null: hidden, or no longer kept.")
    response = MessageSerializer(allow_null=True)
    delivery_ids = serializers.ListField(
        child=serializers.IntegerField(), help_text="The first 1,000 deliveries that it carried."
    )
