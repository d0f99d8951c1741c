"""Trying an installation from its page, or before it is one: answers are pieces of a page."""

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_POST

from delivery.admin.installations.layout import to_change
from delivery.admin.keyset import number
from delivery.log import body_access
from delivery.models import Event
from delivery.tester import preview, probe_connection, test_message
from delivery.tester.preview import NoSuchEvent
from integrations.blueprints import BlueprintError
from integrations.catalog import blueprint as catalog_blueprint
from integrations.catalog import catalog
from integrations.destination import Finding
from integrations.encryption import SecretsUnreadable
from integrations.installations.forms import InstallForm
from integrations.installations.install import InvalidInstallation, unsaved

RECENT = 10  # events that are offered
UNREADABLE = "Its secrets cannot be read: enter them again under Settings."
SAMPLE = {
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
def connection_before(request, key):
    """Test the connection of what a form would install."""
    return before(request, key, findings)


@require_POST
def test_event_before(request, key):
    """Send a test event by what a form would install; nothing is written down of it."""

    def send(request, installation):
        blueprint = catalog_blueprint(key, installation.variant)
        return sent(request, installation, blueprint)

    return before(request, key, send)


def before(request, key, act):
    """Act on what a form would install, or say what is wrong with the form."""
    if not request.user.has_perm("integrations.add_installation"):
        raise PermissionDenied
    if key not in catalog():
        raise Http404(f"No destination {key!r} in the catalog.")
    form = InstallForm(catalog()[key], request.POST)
    form.is_valid()
    try:
        return act(request, unsaved(catalog()[key], **form.values()))
    except InvalidInstallation as error:
        wrong = [Finding("bad", each) for each in error.fields.values()]
        return render(
            request, "integrations/installations/_connection_findings.html", {"findings": wrong}
        )


@require_POST
def connection(request, pk):
    return findings(request, to_change(request, pk))


def findings(request, installation):
    try:
        found = probe_connection.test_connection(installation)
    except SecretsUnreadable:
        found = [Finding("bad", UNREADABLE)]
    return render(
        request, "integrations/installations/_connection_findings.html", {"findings": found}
    )


@require_POST
def test_event(request, pk):
    return sent(request, to_change(request, pk))


def sent(request, installation, blueprint=None):
    now = timezone.now()
    try:
        done = test_message.send_test_event(installation, chosen(request, now), blueprint, now=now)
    except SecretsUnreadable:
        return HttpResponse(UNREADABLE)
    except (BlueprintError, NoSuchEvent) as error:
        return render(request, "delivery/blueprints/_preview.html", {"trouble": str(error)})
    return render(request, "integrations/installations/_test_result.html", {"trial": done})


@require_POST
def test_preview(request, pk):
    """Show what a test event would send, and send nothing."""
    installation, shown = to_change(request, pk), {}
    try:
        shown["preview"] = preview.preview(installation, chosen(request, timezone.now()))
    except (BlueprintError, NoSuchEvent, SecretsUnreadable) as error:
        shown["trouble"] = str(error)
    return render(request, "delivery/blueprints/_preview.html", shown)


def chosen(request, now):
    """Return the message to try: the stored event that is named, or the sample."""
    event_id = number(request.POST.get("event_id"))
    if event_id is None:
        return preview.pasted(SAMPLE, now)
    if not may_choose(request.user):
        raise PermissionDenied
    return preview.stored(event_id)


def recent(user):
    """Return the newest events for somebody to choose from; none for who does not see bodies."""
    return Event.objects.order_by("-pk")[:RECENT] if may_choose(user) else []


def may_choose(user):
    return user.has_perm("delivery.view_event") and body_access.shown_to(user)
