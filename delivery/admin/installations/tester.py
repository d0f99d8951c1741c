"""Tests an installation, saved or not: connection and test event, answered as HTML fragments."""

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_POST

from delivery.admin.installations.layout import get_changeable_installation
from delivery.admin.keyset import parse_integer
from delivery.log import body_access
from delivery.models import Event
from delivery.tester import preview, probe_connection, test_message
from delivery.tester.preview import NoSuchEvent
from integrations.blueprints import BlueprintError
from integrations.catalog import catalog
from integrations.catalog import load_blueprint as catalog_blueprint
from integrations.destination import ConnectionFinding
from integrations.encryption import SecretsUnreadable
from integrations.installations.forms import InstallForm
from integrations.installations.install import InvalidInstallation, build_unsaved_installation

TEST_EVENT_CHOICES = 10  # newest events offered
SECRETS_UNREADABLE_TEXT = "The secrets cannot be decrypted. Enter them again under Settings."
SAMPLE_MESSAGE = {
    "type": "track",
    "event": "Order Completed",
    "userId": "penstock-test-user",
    "properties": {
        "order_id": "TEST-1001",
        "revenue": 39.95,
        "currency": "EUR",
        "products": [{"product_id": "P-1", "name": "Test product", "price": 39.95, "quantity": 1}],
    },
}


@require_POST
def unsaved_connection_view(request, key):
    """Test the connection that a form would install."""
    return with_unsaved_installation(request, key, render_connection_findings)


@require_POST
def unsaved_test_event_view(request, key):
    """Send a test event with what a form would install; nothing is stored."""

    def send(request, installation):
        blueprint = catalog_blueprint(key, installation.variant)
        return render_test_event(request, installation, blueprint)

    return with_unsaved_installation(request, key, send)


def with_unsaved_installation(request, key, act):
    """Act on what a form would install, or answer with the form's problems."""
    if not request.user.has_perm("integrations.add_installation"):
        raise PermissionDenied
    if key not in catalog():
        raise Http404(f"No destination {key!r} in the catalog.")
    form = InstallForm(catalog()[key], request.POST)
    form.is_valid()
    try:
        return act(request, build_unsaved_installation(catalog()[key], **form.values()))
    except InvalidInstallation as error:
        wrong = [ConnectionFinding("bad", each) for each in error.fields.values()]
        return render(
            request, "integrations/installations/_connection_findings.html", {"findings": wrong}
        )


@require_POST
def connection_view(request, pk):
    return render_connection_findings(request, get_changeable_installation(request, pk))


def render_connection_findings(request, installation):
    try:
        found = probe_connection.test_connection(installation)
    except SecretsUnreadable:
        found = [ConnectionFinding("bad", SECRETS_UNREADABLE_TEXT)]
    return render(
        request, "integrations/installations/_connection_findings.html", {"findings": found}
    )


@require_POST
def test_event_view(request, pk):
    return render_test_event(request, get_changeable_installation(request, pk))


def render_test_event(request, installation, blueprint=None):
    now = timezone.now()
    try:
        done = test_message.send_test_event(
            installation, get_test_message(request, now), blueprint, now=now
        )
    except SecretsUnreadable:
        return HttpResponse(SECRETS_UNREADABLE_TEXT)
    except (BlueprintError, NoSuchEvent) as error:
        return render(request, "delivery/blueprints/_preview.html", {"trouble": str(error)})
    return render(request, "integrations/installations/_test_result.html", {"trial": done})


@require_POST
def test_preview_view(request, pk):
    """Show what a test event would send, without sending it."""
    installation, shown = get_changeable_installation(request, pk), {}
    try:
        shown["preview"] = preview.preview_message(
            installation, get_test_message(request, timezone.now())
        )
    except (BlueprintError, NoSuchEvent, SecretsUnreadable) as error:
        shown["trouble"] = str(error)
    return render(request, "delivery/blueprints/_preview.html", shown)


def get_test_message(request, now):
    """Return the message to send: the chosen stored event, or the sample."""
    event_id = parse_integer(request.POST.get("event_id"))
    if event_id is None:
        return preview.parse_pasted_message(SAMPLE_MESSAGE, now)
    if not may_choose_event(request.user):
        raise PermissionDenied
    return preview.load_stored_message(event_id)


def recent_test_events(user):
    """Return the newest events to choose from; empty for users who may not see bodies."""
    return Event.objects.order_by("-pk")[:TEST_EVENT_CHOICES] if may_choose_event(user) else []


def may_choose_event(user):
    return user.has_perm("delivery.view_event") and body_access.may_see_bodies(user)
