"""Preview a blueprint, send a test event and test a connection."""

from dataclasses import asdict

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response

from delivery.api.blueprints import EDIT, found, said, whole
from delivery.api.serializers import blueprints as shapes
from delivery.log import body_access, detail
from delivery.tester import probe_connection, test_message
from delivery.tester.preview import load_stored_message, parse_pasted_message, preview_message
from integrations.api.endpoint import Endpoint, unchecked
from integrations.api.errors import Unprocessable
from integrations.api.schema import Error
from integrations.models import ApiToken
from integrations.roles import includes


class PreviewView(Endpoint):
    scopes = {"POST": "installations:read"}

    @extend_schema(request=shapes.Given, responses={200: shapes.Preview, 409: Error})
    def post(self, request, pk):
        """Show what would be sent for a message, and why not. Nothing is sent, nothing is kept."""
        installation, given = found(pk), unchecked(request, shapes.Given)
        with said():
            made = preview_message(installation, message(request, given), given.get("blueprint"))
        return Response(previewed(made))


class TestEventView(Endpoint):
    scopes = EDIT

    @extend_schema(request=shapes.Given, responses={200: shapes.Trial, 409: Error})
    def post(self, request, pk):
        """Send a test event for real, past the queue, and answer with what the vendor said.

        200 whatever the vendor said: see `accepted`. It is no event of ours; the attempts are kept
        and marked as tests.
        """
        installation, given = found(pk), unchecked(request, shapes.Given)
        with said():
            tried = test_message.send_test_event(
                installation,
                message(request, given),
                given.get("blueprint"),
                now=timezone.now(),
            )
        return Response(tried_out(tried))


class TestConnectionView(Endpoint):
    scopes = EDIT

    @extend_schema(request=None, responses={200: shapes.Connection, 409: Error})
    def post(self, request, pk):
        """Ask the vendor what it tells without anything staying there: is it there, and are the
        credentials right."""
        installation = found(pk)
        with said():
            findings = probe_connection.test_connection(installation)
        return Response(
            {
                "ok": all(each.level != "bad" for each in findings),
                "findings": [asdict(each) for each in findings],
            }
        )


def message(request, given):
    """Return the message that a preview or a test is about."""
    event_id = whole(given, "event_id")
    if (event_id is None) is (given.get("message") is None):
        raise Unprocessable({"message": "Give one of the two: message, or event_id."})
    if event_id is None:
        return parse_pasted_message(given["message"], timezone.now())
    has_scope = not isinstance(request.auth, ApiToken) or includes(
        request.auth.scopes, "events:read"
    )
    if not has_scope or not request.user.has_perm("delivery.view_event"):
        raise PermissionDenied("To use a stored event takes the scope events:read.")
    if not body_access.may_see_bodies(request.user):
        raise PermissionDenied(
            f"{body_access.BODIES_HIDDEN_TEXT} Give a message instead of a stored event."
        )
    return load_stored_message(event_id)


def previewed(made):
    return {
        "outcome": made.outcome,
        "reason": made.reason,
        "actions": [action(each) for each in made.actions],
        "requests": [
            {**asdict(each), "body": detail.parse_json_or_text(each.body)} for each in made.requests
        ],
        "notes": list(made.notes),
    }


def action(step):
    return {
        "name": step.name,
        "kind": step.kind,
        "enabled": step.enabled,
        "triggered": step.triggered,
        "why": list(step.reasons),
        "payload": step.fields,
        "items": step.items,
        "notes": list(step.notes),
        "nothing": step.nothing,
        "error": step.error,
    }


def tried_out(tried):
    return {
        "accepted": tried.accepted,
        "summary": tried.summary,
        "fix": tried.fix,
        "message_id": tried.message_id,
        "notes": list(tried.notes),
        "exchanges": [exchanged(each) for each in tried.attempts],
    }


def exchanged(exchange):
    answer = {
        "status": exchange.status,
        "headers": detail.parse_json_or_text(exchange.response_headers),
        "body": detail.parse_json_or_text(exchange.response_body),
    }
    return {
        "started_at": exchange.started_at,
        "duration_ms": exchange.duration_ms,
        "outcome": exchange.outcome,
        "error": exchange.error,
        "request": {
            "method": exchange.method,
            "url": exchange.url,
            "headers": detail.parse_json_or_text(exchange.request_headers),
            "body": detail.parse_json_or_text(exchange.request_body),
        },
        "response": answer if exchange.status is not None else None,
    }
