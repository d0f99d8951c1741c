"""Serializers of events and attempts."""

from rest_framework import serializers

from delivery.api.serializers.deliveries import STATES, TAKEN, WORKER, hidden
from integrations.api.serializers import Named


class Event(serializers.Serializer):
    id = serializers.IntegerField()
    source = Named()
    type = serializers.CharField()
    name = serializers.CharField()
    message_id = serializers.CharField()
    user_id = serializers.CharField()
    anonymous_id = serializers.CharField()
    timestamp = serializers.DateTimeField(help_text="When it happened, by the source's account.")
    received_at = serializers.DateTimeField()


class DeliveryOfEvent(serializers.Serializer):
    id = serializers.IntegerField()
    installation = Named()
    state = serializers.ChoiceField(STATES)
    settled_at = serializers.DateTimeField(allow_null=True)
    attempt_count = serializers.IntegerField()
    error = serializers.CharField()
    reason = serializers.CharField()
    summary = serializers.CharField(help_text="In words: where it is, and why it is there.")


class Absence(serializers.Serializer):
    installation = Named()
    reason = serializers.CharField(help_text="Why it has no delivery of the event.")


class EventWithDeliveries(Event):
    hidden = hidden()
    body = serializers.JSONField(
        allow_null=True, help_text="As it was sent; null: hidden, or not kept any more."
    )
    added_context = serializers.JSONField(allow_null=True)
    notes = serializers.ListField(child=serializers.CharField())
    deliveries = DeliveryOfEvent(many=True)
    absences = Absence(many=True)


class Exchange(serializers.Serializer):
    id = serializers.IntegerField()
    installation = Named()
    started_at = serializers.DateTimeField()
    duration_ms = serializers.IntegerField()
    method = serializers.CharField()
    url = serializers.CharField()
    status = serializers.IntegerField(allow_null=True, help_text="null: no answer came.")
    outcome = serializers.CharField(help_text="accepted, or the class of the error")
    error = serializers.CharField()
    items = serializers.IntegerField()
    is_test = serializers.BooleanField(
        help_text="Somebody tried the installation: it carried no delivery, and nothing counts it."
    )
    taken_at = serializers.DateTimeField(allow_null=True, help_text=TAKEN)
    worker = serializers.CharField(help_text=WORKER)


class Message(serializers.Serializer):
    headers = serializers.JSONField()
    body = serializers.JSONField(help_text="JSON as what it says, any other as its text.")


class WholeExchange(Exchange):
    hidden = hidden()
    request = Message(allow_null=True, help_text="null: hidden, or not kept any more.")
    response = Message(allow_null=True)
    delivery_ids = serializers.ListField(
        child=serializers.IntegerField(), help_text="The first 1,000 that it carried."
    )
