"""Serializers of incidents."""

from rest_framework import serializers

from delivery.models import Incident as IncidentRow


class SubjectSerializer(serializers.Serializer):
    type = serializers.ChoiceField(["installation", "source"])
    id = serializers.IntegerField()


class TestAlarmSerializer(serializers.Serializer):
    told = serializers.DictField(
        child=serializers.CharField(),
        help_text='For "mail" and "webhook", where they are set, what went wrong, or empty.',
    )


class IncidentSerializer(serializers.Serializer):
    """Something that is or was wrong."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(IncidentRow.Kind.choices)
    title = serializers.CharField(help_text="The kind, in words.")
    about = serializers.CharField(help_text="The name of what it is about.")
    subject = SubjectSerializer(
        allow_null=True, help_text="What it is about; null: all of Penstock."
    )
    text = serializers.CharField(help_text="What is wrong, as it was last seen.")
    is_open = serializers.BooleanField()
    opened_at = serializers.DateTimeField()
    seen_at = serializers.DateTimeField(help_text="When there was last a sign of it.")
    closed_at = serializers.DateTimeField(allow_null=True)
    mailed_at = serializers.DateTimeField(allow_null=True, help_text="When it was told by mail.")
    posted_at = serializers.DateTimeField(allow_null=True, help_text="And by webhook.")
