"""What the log answers, for the schema of the API."""

from rest_framework import serializers

from delivery.models import Delivery as DeliveryRow

STATES = DeliveryRow.State.choices


class Named(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()


class DeliveryEvent(serializers.Serializer):
    id = serializers.IntegerField()
    type = serializers.CharField()
    name = serializers.CharField()
    message_id = serializers.CharField()
    user_id = serializers.CharField()
    anonymous_id = serializers.CharField()
    timestamp = serializers.DateTimeField()
    received_at = serializers.DateTimeField()


class Delivery(serializers.Serializer):
    """One event on its way to one installation."""

    id = serializers.IntegerField()
    state = serializers.ChoiceField(STATES)
    installation = Named()
    event = DeliveryEvent()
    queued_at = serializers.DateTimeField()
    settled_at = serializers.DateTimeField(allow_null=True)
    attempt_count = serializers.IntegerField()
    last_status = serializers.IntegerField(allow_null=True, help_text="HTTP, of the last attempt.")
    last_duration_ms = serializers.IntegerField(allow_null=True)
    error = serializers.CharField(help_text="Its class, or empty.")
    reason = serializers.CharField(help_text="In words, or empty.")


class WholeEvent(DeliveryEvent):
    source = serializers.CharField()
    body = serializers.JSONField(help_text="As it was received; empty when it is kept no more.")
    added_context = serializers.JSONField()
    notes = serializers.ListField(child=serializers.CharField())


class Payload(serializers.Serializer):
    kind = serializers.CharField()
    fields = serializers.JSONField()


class Request(serializers.Serializer):
    method = serializers.CharField()
    url = serializers.CharField()
    headers = serializers.JSONField(required=False)
    body = serializers.JSONField(required=False, help_text="This delivery's part of it.")


class Answer(serializers.Serializer):
    status = serializers.IntegerField()
    headers = serializers.JSONField()
    body = serializers.JSONField()


class SentAttempt(serializers.Serializer):
    id = serializers.IntegerField()
    started_at = serializers.DateTimeField()
    duration_ms = serializers.IntegerField()
    status = serializers.IntegerField(allow_null=True, help_text="Null: no answer came.")
    outcome = serializers.CharField(help_text="accepted, or the class of the error.")
    error = serializers.CharField()
    position = serializers.IntegerField(help_text="Its place among what the request carried.")
    items = serializers.IntegerField(help_text="How much the request carried.")
    request = Request()
    response = Answer(allow_null=True)


class WholeDelivery(Delivery):
    """All there is to tell about a delivery."""

    event = WholeEvent()
    summary = serializers.CharField()
    cause = serializers.CharField(allow_null=True)
    fix = serializers.CharField(allow_null=True, help_text="What you can do now.")
    notes = serializers.ListField(child=serializers.CharField())
    revision = serializers.IntegerField(allow_null=True)
    payloads = Payload(many=True, help_text="What its blueprint makes of the event.")
    attempts = SentAttempt(many=True)


class Rejection(serializers.Serializer):
    """What was refused on arrival, and why."""

    id = serializers.IntegerField()
    source = Named()
    received_at = serializers.DateTimeField()
    reason = serializers.CharField()
    message = serializers.JSONField(help_text="What was sent: JSON, or its text.")


class Done(serializers.Serializer):
    message = serializers.CharField()
