"""Trying an installation from its page, or before it is one: answers are pieces of a page."""

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from delivery import preview, trial
from integrations.catalog import catalog
from integrations.destination import Finding
from integrations.forms import InstallForm
from integrations.installing import InvalidInstallation, unsaved
from integrations.models import Installation
from integrations.secrets import SecretsUnreadable

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
    insist(request, "integrations.add_installation")
    if key not in catalog():
        raise Http404(f"No destination {key!r} in the catalog.")
    form = InstallForm(catalog()[key], request.POST)
    form.is_valid()
    try:
        return findings(request, unsaved(catalog()[key], **form.values()))
    except InvalidInstallation as error:
        wrong = [Finding("bad", each) for each in error.fields.values()]
        return render(request, "integrations/findings.html", {"findings": wrong})


@require_POST
def connection(request, pk):
    insist(request, "integrations.change_installation")
    return findings(request, get_object_or_404(Installation.objects.installed(), pk=pk))


def findings(request, installation):
    try:
        found = trial.test_connection(installation)
    except SecretsUnreadable:
        found = [Finding("bad", UNREADABLE)]
    return render(request, "integrations/findings.html", {"findings": found})


@require_POST
def test_event(request, pk):
    insist(request, "integrations.change_installation")
    installation = get_object_or_404(Installation.objects.installed(), pk=pk)
    now = timezone.now()
    try:
        done = trial.send_test_event(installation, preview.pasted(SAMPLE, now), now=now)
    except SecretsUnreadable:
        return HttpResponse(UNREADABLE)
    return render(request, "integrations/trial.html", {"trial": done})


def insist(request, permission):
    if not request.user.has_perm(permission):
        raise PermissionDenied
