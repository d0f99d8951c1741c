"""Serializers of replays."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from delivery.api.serializers.deliveries import blueprint_choice_field
from delivery.models import Replay as ReplayRow
from delivery.replay.form import RESOLVED_CHOICES, SETTLED_STATE_CHOICES
from integrations.api.fields import (
    StrictCharField,
    StrictChoiceField,
    StrictDateTimeField,
    StrictFloatField,
    StrictIntegerField,
)
from integrations.api.serializers import NamedSerializer


class ReplayInputSerializer(serializers.Serializer):
    installation = StrictIntegerField(min_value=1)
    kind = StrictChoiceField(
        ReplayRow.Kind.choices, required=False, help_text="replay, if omitted."
    )
    states = serializers.ListField(
        child=StrictChoiceField(SETTLED_STATE_CHOICES),
        required=False,
        max_length=10,
        help_text="Only for a replay; failed, if omitted.",
    )
    since = StrictDateTimeField(
        required=False, allow_null=True, help_text="Received at or after this time."
    )
    until = StrictDateTimeField(
        required=False, allow_null=True, help_text="Received before this time."
    )
    event = StrictCharField(required=False, allow_blank=True, help_text="The event's name or type.")
    user_id = StrictCharField(required=False, allow_blank=True)
    anonymous_id = StrictCharField(required=False, allow_blank=True)
    message_id = StrictCharField(required=False, allow_blank=True)
    error = StrictCharField(
        max_length=30, required=False, allow_blank=True, help_text="The class of the error."
    )
    source = StrictIntegerField(required=False, allow_null=True, min_value=1)
    q = StrictCharField(
        max_length=2_000,
        required=False,
        allow_blank=True,
        help_text="Only for a replay; more terms, as in the log: status:4xx attempts:>3.",
    )
    resolved = StrictChoiceField(
        RESOLVED_CHOICES,
        required=False,
        help_text="Only for failed deliveries; no, the default, excludes resolved ones.",
    )
    blueprint = blueprint_choice_field()
    rate = StrictFloatField(
        required=False,
        allow_null=True,
        min_value=0.01,
        max_value=100_000,
        help_text="Deliveries per second.",
    )


@extend_schema_serializer(component_name="Counted")
class ReplayEstimateSerializer(serializers.Serializer):
    count = serializers.IntegerField()
    exact = serializers.BooleanField(help_text="false: there are more.")
    oldest_at = serializers.DateTimeField(
        allow_null=True, help_text="When the oldest counted event was received."
    )
    newest_at = serializers.DateTimeField(allow_null=True)
    seconds = serializers.FloatField(
        allow_null=True, help_text="How long it takes at the allowed rate; null: there is no limit."
    )
    unshaped = serializers.IntegerField(
        help_text="How many more are left out because they were never shaped, so that there is no "
        "earlier revision to use."
    )


class ReplaySerializer(serializers.Serializer):
    """A job that queues deliveries again, or makes them of past events, and its progress."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(ReplayRow.Kind.choices)
    state = serializers.ChoiceField(ReplayRow.State.choices)
    installation = NamedSerializer()
    filter = serializers.JSONField()
    rate = serializers.FloatField(allow_null=True)
    progress = serializers.FloatField(help_text="0 to 1.")
    queued = serializers.IntegerField()
    unwanted = serializers.IntegerField()
    taken_back = serializers.IntegerField(help_text="Cancelled before they were sent.")
    outcome = serializers.JSONField(help_text="At the end, the number of deliveries in each state.")
    created_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
