"""Serializers of deliveries, rejections and the actions on them."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from delivery.models import Delivery as DeliveryRow
from delivery.replay.form import BLUEPRINT_CHOICES
from integrations.api.fields import StrictCharField, StrictChoiceField, StrictIntegerField
from integrations.api.serializers import NamedSerializer

DELIVERY_STATE_CHOICES = DeliveryRow.State.choices

TAKEN_AT_HELP = (
    "When its deliveries had been read from the queue. null: a test, or sent by an older version."
)

WORKER_HELP = "The process that sent it: host and process id. Empty: sent by an older version."


class DeliveryEventSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    type = serializers.CharField()
    name = serializers.CharField()
    message_id = serializers.CharField()
    user_id = serializers.CharField()
    anonymous_id = serializers.CharField()
    timestamp = serializers.DateTimeField()
    received_at = serializers.DateTimeField()


class DeliverySerializer(serializers.Serializer):
    """One event on its way to one installation."""

    id = serializers.IntegerField()
    state = serializers.ChoiceField(DELIVERY_STATE_CHOICES)
    trigger = serializers.ChoiceField(
        DeliveryRow.Trigger.choices, help_text="What queued it last; auto: its event arrived."
    )
    installation = NamedSerializer()
    event = DeliveryEventSerializer()
    queued_at = serializers.DateTimeField()
    settled_at = serializers.DateTimeField(allow_null=True)
    attempt_count = serializers.IntegerField()
    last_status = serializers.IntegerField(
        allow_null=True, help_text="The HTTP status of the last attempt."
    )
    last_duration_ms = serializers.IntegerField(allow_null=True)
    next_attempt_at = serializers.DateTimeField(
        allow_null=True,
        help_text="While it is queued: not before this time. null: when its turn comes.",
    )
    gives_up_at = serializers.DateTimeField(
        allow_null=True,
        help_text="While it is queued: the first attempt after this is the last one.",
    )
    error = serializers.CharField(help_text="The class of the error, or empty.")
    reason = serializers.CharField(help_text="The reason in words, or empty.")
    resolved_at = serializers.DateTimeField(
        allow_null=True, help_text="When somebody marked it as dealt with elsewhere."
    )
    resolved_by = serializers.CharField(allow_null=True)
    resolution = serializers.CharField(allow_null=True, help_text="What was done instead.")


def hidden_reason_field():
    """Return the field for why a response has no bodies: they are null, and notes are empty."""
    return serializers.CharField(
        allow_null=True,
        help_text="Why bodies are null and notes empty, if your role may not see them; else null.",
    )


@extend_schema_serializer(component_name="WholeEvent")
class FullEventSerializer(DeliveryEventSerializer):
    source = serializers.CharField()
    body = serializers.JSONField(
        allow_null=True, help_text="As received; empty if it is no longer kept."
    )
    added_context = serializers.JSONField(allow_null=True)
    notes = serializers.ListField(child=serializers.CharField())


class PayloadSerializer(serializers.Serializer):
    kind = serializers.CharField()
    fields = serializers.JSONField()


class RequestSerializer(serializers.Serializer):
    method = serializers.CharField()
    url = serializers.CharField()
    headers = serializers.JSONField(required=False)
    body = serializers.JSONField(required=False, help_text="This delivery's part of the body.")


@extend_schema_serializer(component_name="Answer")
class ResponseSerializer(serializers.Serializer):
    status = serializers.IntegerField()
    headers = serializers.JSONField()
    body = serializers.JSONField()


@extend_schema_serializer(component_name="SentAttempt")
class DeliveryAttemptSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    started_at = serializers.DateTimeField()
    duration_ms = serializers.IntegerField()
    taken_at = serializers.DateTimeField(allow_null=True, help_text=TAKEN_AT_HELP)
    worker = serializers.CharField(help_text=WORKER_HELP)
    status = serializers.IntegerField(allow_null=True, help_text="null: no response.")
    outcome = serializers.CharField(help_text="accepted, or the class of the error.")
    error = serializers.CharField()
    position = serializers.IntegerField(help_text="The delivery's position in the request.")
    items = serializers.IntegerField(help_text="How many items the request carried.")
    request = RequestSerializer()
    response = ResponseSerializer(allow_null=True)


@extend_schema_serializer(component_name="WholeDelivery")
class FullDeliverySerializer(DeliverySerializer):
    """A delivery with all its details."""

    hidden = hidden_reason_field()
    event = FullEventSerializer()
    summary = serializers.CharField()
    cause = serializers.CharField(allow_null=True)
    fix = serializers.CharField(allow_null=True, help_text="What you can do now.")
    notes = serializers.ListField(child=serializers.CharField())
    revision = serializers.IntegerField(allow_null=True)
    payloads = PayloadSerializer(many=True, help_text="What its blueprint makes of the event.")
    attempts = DeliveryAttemptSerializer(many=True)


class RejectionSerializer(serializers.Serializer):
    """A message or request that was rejected on arrival, with the reason."""

    id = serializers.IntegerField()
    source = NamedSerializer()
    received_at = serializers.DateTimeField()
    reason = serializers.CharField()
    message = serializers.JSONField(
        allow_null=True, help_text="What was sent, as JSON if valid, otherwise as text."
    )
    hidden = hidden_reason_field()


@extend_schema_serializer(component_name="Done")
class ActionResultSerializer(serializers.Serializer):
    message = serializers.CharField()


class NoteSerializer(serializers.Serializer):
    note = StrictCharField(max_length=500, help_text="What was done instead.")


def blueprint_choice_field():
    return StrictChoiceField(
        BLUEPRINT_CHOICES,
        required=False,
        help_text="current, the default; last: the revision that last shaped each delivery.",
    )


@extend_schema_serializer(component_name="Again")
class DeliverAgainSerializer(serializers.Serializer):
    blueprint = blueprint_choice_field()


@extend_schema_serializer(component_name="Chosen")
class DeliveryIdsSerializer(serializers.Serializer):
    """Deliveries by their ids."""

    ids = serializers.ListField(
        child=StrictIntegerField(min_value=1), min_length=1, max_length=1_000
    )
    blueprint = blueprint_choice_field()


@extend_schema_serializer(component_name="ChosenOrMatching")
class DeliverySelectionSerializer(serializers.Serializer):
    """Deliveries by their ids, or all deliveries of an installation that match a search."""

    ids = serializers.ListField(
        child=StrictIntegerField(min_value=1), min_length=1, max_length=1_000, required=False
    )
    installation = StrictIntegerField(min_value=1, required=False, help_text="Instead of ids.")
    q = StrictCharField(
        max_length=2_000,
        required=False,
        allow_blank=True,
        help_text="With installation: a search as in the list, such as event:Order* since:2h.",
    )


@extend_schema_serializer(component_name="Resolve")  # not the parent's name
class ResolveSerializer(DeliverySelectionSerializer):
    note = StrictCharField(max_length=500, help_text="What was done instead.")


@extend_schema_serializer(component_name="DoneToMany")
class BulkActionResultSerializer(serializers.Serializer):
    count = serializers.IntegerField()
    is_whole = serializers.BooleanField(
        help_text="false: there are more, and the same call continues with them."
    )
    message = serializers.CharField()
