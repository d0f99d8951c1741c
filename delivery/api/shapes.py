"""What the log answers, for the schema of the API."""

from rest_framework import serializers

from delivery.forms import SETTLED
from delivery.models import Delivery as DeliveryRow
from delivery.models import Replay as ReplayRow
from integrations.api.fields import Choice, Moment, Number, Real, Text

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


class ReplayInput(serializers.Serializer):
    installation = Number(min_value=1)
    kind = Choice(ReplayRow.Kind.choices, required=False, help_text="replay, when not given.")
    states = serializers.ListField(
        child=Choice(SETTLED), required=False, max_length=10, help_text="Of a replay: failed ones."
    )
    since = Moment(required=False, allow_null=True, help_text="Received from this time on.")
    until = Moment(required=False, allow_null=True, help_text="Received before this time.")
    event = Text(required=False, allow_blank=True, help_text="Its name, or its type.")
    user_id = Text(required=False, allow_blank=True)
    anonymous_id = Text(required=False, allow_blank=True)
    message_id = Text(required=False, allow_blank=True)
    error = Text(max_length=30, required=False, allow_blank=True, help_text="Its class.")
    source = Number(required=False, allow_null=True, min_value=1)
    rate = Real(
        required=False,
        allow_null=True,
        min_value=0.01,
        max_value=100_000,
        help_text="Deliveries a second.",
    )


class Counted(serializers.Serializer):
    count = serializers.IntegerField()
    exact = serializers.BooleanField(help_text="False: there are more.")


class Replay(serializers.Serializer):
    """Deliveries queued again, or made of earlier events, and how far that is."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(ReplayRow.Kind.choices)
    state = serializers.ChoiceField(ReplayRow.State.choices)
    installation = Named()
    filter = serializers.JSONField()
    rate = serializers.FloatField(allow_null=True)
    progress = serializers.FloatField(help_text="0 to 1.")
    queued = serializers.IntegerField()
    unwanted = serializers.IntegerField()
    taken_back = serializers.IntegerField(help_text="Cancelled before they were sent.")
    outcome = serializers.JSONField(help_text="At the end: deliveries in each state.")
    created_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
