"""The pages of incidents, and the test alert."""

from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_POST
from unfold.decorators import display

from delivery.admin.keyset import LogAdmin
from delivery.models import Incident
from delivery.operations import alert_channels
from delivery.status.incidents import describe_incident
from integrations.formatting import ago, chip

NO_CHANNEL_HINT = "Set PENSTOCK_ALARM_EMAILS or PENSTOCK_ALARM_WEBHOOK_URL in .env."


@admin.register(Incident)
class IncidentAdmin(LogAdmin):
    list_display = ("state_chip", "about", "text", "began", "ended", "notified_by")
    list_display_links = ("state_chip", "about")
    list_before_template = "delivery/operations/_incident_list_toolbar.html"
    page_template = "delivery/operations/incident.html"
    when_empty = "No incidents yet. Problems are listed here while they last and afterwards."

    def get_urls(self):
        view = self.admin_site.admin_view(require_POST(self.test_view))
        return [path("test/", view, name="delivery_incident_test"), *super().get_urls()]

    def changelist_view(self, request, extra_context=None):
        context = {
            "alert_channels": describe_alert_channels(),
            "may_test": may_test_alerts(request),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def page_context(self, request, incident):
        return {
            "title": str(incident),
            "status": describe_incident(incident),
            "links": list(incident_links(incident)),
            "alert_channels": describe_alert_channels(),
        }

    def test_view(self, request):
        """Send a test incident through every configured channel."""
        if not may_test_alerts(request):
            raise PermissionDenied
        results = alert_channels.send_test_alert(timezone.now())
        if not results:
            messages.warning(request, f"No notifications are configured. {NO_CHANNEL_HINT}")
        for way, error in results.items():
            if error:
                messages.error(request, f"The test alert by {way} failed: {error}")
            else:
                messages.success(request, f"A test alert was sent by {way}.")
        return redirect("admin:delivery_incident_changelist")

    # --- columns ---

    @display(description="Incident")
    def state_chip(self, incident):
        return chip(describe_incident(incident))

    @display(description="Began")
    def began(self, incident):
        return ago(incident.opened_at)

    @display(description="Resolved")
    def ended(self, incident):
        return ago(incident.closed_at)

    @display(description="Notified via")
    def notified_by(self, incident):
        ways = {"mail": incident.mailed_at, "webhook": incident.posted_at}
        return ", ".join(way for way, at in ways.items() if at) or "–"


def describe_alert_channels():
    """Return the recipients of notifications as text, or "" if there are none."""
    ways = []
    if settings.ALARM_EMAILS:
        ways.append(f"mail to {', '.join(settings.ALARM_EMAILS)}")
    if settings.ALARM_WEBHOOK_URL:
        ways.append(f"webhook to {urlsplit(settings.ALARM_WEBHOOK_URL).hostname}")
    return " and ".join(ways)


def may_test_alerts(request):
    return request.user.has_perm("integrations.change_installation")


def incident_links(incident):
    """Yield (title, URL) of the pages related to an incident."""
    kind, _, pk = incident.subject.partition(":")
    if kind == "installation":
        yield "Open the installation", reverse("admin:integrations_installation_change", args=[pk])
        since = incident.opened_at.isoformat(timespec="seconds").replace("+00:00", "Z")
        asked = urlencode({"installation": pk, "since": since})
        yield (
            "See its deliveries since then",
            f"{reverse('admin:delivery_delivery_changelist')}?{asked}",
        )
    if kind == "source":
        yield "Open the source", reverse("admin:source_connect", args=[pk])
