"""Serializers of replays."""

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
        ReplayRow.Kind.choices, required=False, help_text="replay, when not given."
    )
    states = serializers.ListField(
        child=StrictChoiceField(SETTLED_STATE_CHOICES),
        required=False,
        max_length=10,
        help_text="Of a replay: failed ones.",
    )
    since = StrictDateTimeField(
        required=False, allow_null=True, help_text="Received from this time on."
    )
    until = StrictDateTimeField(
        required=False, allow_null=True, help_text="Received before this time."
    )
    event = StrictCharField(required=False, allow_blank=True, help_text="Its name, or its type.")
    user_id = StrictCharField(required=False, allow_blank=True)
    anonymous_id = StrictCharField(required=False, allow_blank=True)
    message_id = StrictCharField(required=False, allow_blank=True)
    error = StrictCharField(max_length=30, required=False, allow_blank=True, help_text="Its class.")
    source = StrictIntegerField(required=False, allow_null=True, min_value=1)
    q = StrictCharField(
        max_length=2_000,
        required=False,
        allow_blank=True,
        help_text="What else, as in the list of deliveries: status:4xx attempts:>3. Of a replay.",
    )
    resolved = StrictChoiceField(
        RESOLVED_CHOICES,
        required=False,
        help_text="Of failed ones: no leaves out what somebody resolved, as when not given.",
    )
    blueprint = blueprint_choice_field()
    rate = StrictFloatField(
        required=False,
        allow_null=True,
        min_value=0.01,
        max_value=100_000,
        help_text="Deliveries a second.",
    )


class CountedSerializer(serializers.Serializer):
    count = serializers.IntegerField()
    exact = serializers.BooleanField(help_text="False: there are more.")
    oldest_at = serializers.DateTimeField(
        allow_null=True, help_text="When the first of them came in, as far as was counted."
    )
    newest_at = serializers.DateTimeField(allow_null=True)
    seconds = serializers.FloatField(
        allow_null=True, help_text="How long it takes at the pace that is kept; null: no limit."
    )
    unshaped = serializers.IntegerField(
        help_text="How many more are left out: never shaped, they cannot be sent as before."
    )


class ReplaySerializer(serializers.Serializer):
    """Deliveries queued again, or made of earlier events, and how far that is."""

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
    outcome = serializers.JSONField(help_text="At the end: deliveries in each state.")
    created_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
