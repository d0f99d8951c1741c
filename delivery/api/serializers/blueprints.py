"""Serializers of blueprints, previews and test events, for the OpenAPI schema only."""

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers as s


@extend_schema_field(
    {"type": "object", "description": "As described by /v1/blueprint.schema.json."}
)
class BlueprintField(s.JSONField):
    pass


@extend_schema_field({"type": "object", "description": "As a source sends it: type, userId, …"})
class MessageField(s.JSONField):
    pass


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class HeadersField(s.JSONField):
    pass


class RevisionSerializer(s.Serializer):
    number = s.IntegerField()
    created_at = s.DateTimeField()
    created_by = s.CharField(allow_null=True, help_text="The user's name; null: Penstock itself.")
    change_summary = s.CharField(allow_blank=True)
    current = s.BooleanField(help_text="Whether it shapes deliveries now.")


class FullRevisionSerializer(RevisionSerializer):
    blueprint = BlueprintField()


class NewRevisionSerializer(s.Serializer):
    blueprint = BlueprintField()
    change_summary = s.CharField(
        required=False, max_length=200, help_text="If omitted, a description of the changes."
    )
    based_on = s.IntegerField(
        required=False,
        help_text="The number of the revision that was edited; 409 if there is a newer one.",
    )


class DifferenceSerializer(s.Serializer):
    old = s.IntegerField(allow_null=True, help_text="null: there is no previous one.")
    new = s.IntegerField()
    changes = s.ListField(child=s.CharField(), help_text="In sentences.")
    unified = s.ListField(child=s.CharField(), help_text="The lines of a unified diff.")


@extend_schema_serializer(component_name="Given")
class MessageChoiceSerializer(s.Serializer):
    """A message, as either `event_id` or `message`."""

    event_id = s.IntegerField(
        required=False, help_text="The id of a stored event; requires the scope events:read."
    )
    message = MessageField(required=False)
    blueprint = BlueprintField(required=False, help_text="An unsaved blueprint to use instead.")


class PreviewedActionSerializer(s.Serializer):
    name = s.CharField()
    kind = s.CharField()
    enabled = s.BooleanField()
    triggered = s.BooleanField()
    why = s.ListField(child=s.CharField(), help_text="Why it is not triggered.")
    payload = s.JSONField(help_text="The result of its mapping; null: nothing.")
    items = s.IntegerField(help_text="How many items it makes for the vendor's calls.")
    notes = s.ListField(
        child=s.CharField(), help_text="What was cut, flattened, dropped or renamed."
    )
    nothing = s.CharField(allow_blank=True, help_text="Why there is nothing to send.")
    error = s.CharField(allow_blank=True, help_text="Why the whole message cannot be sent.")


@extend_schema_serializer(component_name="ShownRequest")
class PreviewedRequestSerializer(s.Serializer):
    method = s.CharField()
    url = s.CharField()
    headers = HeadersField()
    body = s.JSONField()


class PreviewSerializer(s.Serializer):
    outcome = s.ChoiceField(["sent", "filtered", "failed"])
    reason = s.CharField(allow_blank=True)
    actions = PreviewedActionSerializer(many=True)
    requests = PreviewedRequestSerializer(
        many=True, help_text="As they would be sent, with secrets masked."
    )
    notes = s.ListField(child=s.CharField())


@extend_schema_serializer(component_name="TestAnswer")
class TestResponseSerializer(s.Serializer):
    status = s.IntegerField()
    headers = HeadersField()
    body = s.JSONField()


@extend_schema_serializer(component_name="TestExchange")
class TestAttemptSerializer(s.Serializer):
    started_at = s.DateTimeField()
    duration_ms = s.IntegerField()
    outcome = s.CharField()
    error = s.CharField(allow_blank=True)
    request = PreviewedRequestSerializer()
    response = TestResponseSerializer(allow_null=True)


@extend_schema_serializer(component_name="Trial")
class TestEventResultSerializer(s.Serializer):
    accepted = s.BooleanField()
    summary = s.CharField()
    fix = s.CharField(allow_blank=True)
    message_id = s.CharField()
    notes = s.ListField(child=s.CharField())
    exchanges = TestAttemptSerializer(many=True)


class FindingSerializer(s.Serializer):
    level = s.CharField(help_text="good, bad, or unknown if the vendor does not say.")
    text = s.CharField()


class ConnectionSerializer(s.Serializer):
    ok = s.BooleanField(help_text="Whether no finding is bad.")
    findings = FindingSerializer(many=True)
