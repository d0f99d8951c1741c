"""Serializers of incidents."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from delivery.models import Incident as IncidentRow


class SubjectSerializer(serializers.Serializer):
    type = serializers.ChoiceField(["installation", "source"])
    id = serializers.IntegerField()


@extend_schema_serializer(component_name="TestAlarm")
class TestAlertSerializer(serializers.Serializer):
    told = serializers.DictField(
        child=serializers.CharField(),
        help_text='The error, or an empty string, of each configured channel: "mail", "webhook".',
    )


class IncidentSerializer(serializers.Serializer):
    """A problem, from its first sign to its end."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(IncidentRow.Kind.choices)
    title = serializers.CharField(help_text="The kind, in words.")
    about = serializers.CharField(help_text="The name of the object with the problem.")
    subject = SubjectSerializer(
        allow_null=True, help_text="The object with the problem; null: all of Penstock."
    )
    text = serializers.CharField(help_text="The problem, as last seen.")
    is_open = serializers.BooleanField()
    opened_at = serializers.DateTimeField()
    seen_at = serializers.DateTimeField(help_text="When the last sign of it was seen.")
    closed_at = serializers.DateTimeField(allow_null=True)
    mailed_at = serializers.DateTimeField(
        allow_null=True, help_text="When the notification was mailed."
    )
    posted_at = serializers.DateTimeField(allow_null=True, help_text="When the webhook was called.")
