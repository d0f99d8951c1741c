"""Preview a blueprint, send a test event and test a connection."""

from dataclasses import asdict

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response

from delivery.api.blueprints import (
    BLUEPRINT_WRITE_SCOPES,
    get_installation_with_revision,
    read_integer_field,
    translate_blueprint_errors,
)
from delivery.api.serializers import blueprints as serializers
from delivery.log import body_access, detail
from delivery.tester import probe_connection, test_message
from delivery.tester.preview import load_stored_message, parse_pasted_message, preview_message
from integrations.api.endpoint import ManagementAPIView, read_body
from integrations.api.errors import Unprocessable
from integrations.api.schema import ErrorSerializer
from integrations.models import ApiToken
from integrations.roles import scopes_include


class BlueprintPreviewView(ManagementAPIView):
    scopes = {"POST": "installations:read"}

    @extend_schema(
        request=serializers.MessageChoiceSerializer,
        responses={200: serializers.PreviewSerializer, 409: ErrorSerializer},
    )
    def post(self, request, pk):
        """Show the requests for a message, or why there are none. Nothing is sent or stored."""
        installation, body = (
            get_installation_with_revision(pk),
            read_body(request, serializers.MessageChoiceSerializer),
        )
        with translate_blueprint_errors():
            message_preview = preview_message(
                installation, get_tester_message(request, body), body.get("blueprint")
            )
        return Response(serialize_preview(message_preview))


class TestEventView(ManagementAPIView):
    scopes = BLUEPRINT_WRITE_SCOPES

    @extend_schema(
        request=serializers.MessageChoiceSerializer,
        responses={200: serializers.TestEventResultSerializer, 409: ErrorSerializer},
    )
    def post(self, request, pk):
        """Send a test event to the vendor, outside the queue, and return the vendor's response.

        200 whatever the vendor responds; see `accepted`. The message is not stored as an event. Its
        attempts are kept and marked as tests.
        """
        installation, body = (
            get_installation_with_revision(pk),
            read_body(request, serializers.MessageChoiceSerializer),
        )
        with translate_blueprint_errors():
            result = test_message.send_test_event(
                installation,
                get_tester_message(request, body),
                body.get("blueprint"),
                now=timezone.now(),
            )
        return Response(serialize_test_event(result))


class TestConnectionView(ManagementAPIView):
    scopes = BLUEPRINT_WRITE_SCOPES

    @extend_schema(
        request=None, responses={200: serializers.ConnectionSerializer, 409: ErrorSerializer}
    )
    def post(self, request, pk):
        """Test whether the vendor is reachable and accepts the credentials.

        The test sends only probes, which leave nothing at the vendor.
        """
        installation = get_installation_with_revision(pk)
        with translate_blueprint_errors():
            findings = probe_connection.test_connection(installation)
        return Response(
            {
                "ok": all(each.level != "bad" for each in findings),
                "findings": [asdict(each) for each in findings],
            }
        )


def get_tester_message(request, body):
    """Return the message to preview or to send as a test event."""
    event_id = read_integer_field(body, "event_id")
    if (event_id is None) is (body.get("message") is None):
        raise Unprocessable({"message": "Send either message or event_id."})
    if event_id is None:
        return parse_pasted_message(body["message"], timezone.now())
    has_scope = not isinstance(request.auth, ApiToken) or scopes_include(
        request.auth.scopes, "events:read"
    )
    if not has_scope or not request.user.has_perm("delivery.view_event"):
        raise PermissionDenied("Using a stored event requires the scope events:read.")
    if not body_access.may_see_bodies(request.user):
        raise PermissionDenied(
            f"{body_access.BODIES_HIDDEN_TEXT} Send a message instead of a stored event."
        )
    return load_stored_message(event_id)


def serialize_preview(message_preview):
    return {
        "outcome": message_preview.outcome,
        "reason": message_preview.reason,
        "actions": [serialize_preview_action(each) for each in message_preview.actions],
        "requests": [
            {**asdict(each), "body": detail.parse_json_or_text(each.body)}
            for each in message_preview.requests
        ],
        "notes": list(message_preview.notes),
    }


def serialize_preview_action(action):
    return {
        "name": action.name,
        "kind": action.kind,
        "enabled": action.enabled,
        "triggered": action.triggered,
        "why": list(action.reasons),
        "payload": action.fields,
        "items": action.items,
        "notes": list(action.notes),
        "nothing": action.nothing,
        "error": action.error,
    }


def serialize_test_event(result):
    return {
        "accepted": result.accepted,
        "summary": result.summary,
        "fix": result.fix,
        "message_id": result.message_id,
        "notes": list(result.notes),
        "exchanges": [serialize_test_attempt(each) for each in result.attempts],
    }


def serialize_test_attempt(attempt):
    answer = {
        "status": attempt.status,
        "headers": detail.parse_json_or_text(attempt.response_headers),
        "body": detail.parse_json_or_text(attempt.response_body),
    }
    return {
        "started_at": attempt.started_at,
        "duration_ms": attempt.duration_ms,
        "outcome": attempt.outcome,
        "error": attempt.error,
        "request": {
            "method": attempt.method,
            "url": attempt.url,
            "headers": detail.parse_json_or_text(attempt.request_headers),
            "body": detail.parse_json_or_text(attempt.request_body),
        },
        "response": answer if attempt.status is not None else None,
    }
