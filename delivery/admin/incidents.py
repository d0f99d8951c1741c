"""Incidents: what is or was wrong, and whether anybody was told."""

from django.contrib import admin
from unfold.decorators import display

from delivery.admin.keyset import LogAdmin
from delivery.models import Incident
from delivery.state import incident_in_words
from integrations.templatetags.penstock import ago, chip


@admin.register(Incident)
class IncidentAdmin(LogAdmin):
    list_display = ("state_chip", "about", "text", "began", "ended", "told")
    list_display_links = None
    when_empty = "Nothing has been wrong. What goes wrong is listed here, and told as .env says."

    @display(description="Incident")
    def state_chip(self, incident):
        return chip(incident_in_words(incident))

    @display(description="Began")
    def began(self, incident):
        return ago(incident.opened_at)

    @display(description="Over")
    def ended(self, incident):
        return ago(incident.closed_at)

    @display(description="Told by")
    def told(self, incident):
        ways = {"mail": incident.mailed_at, "webhook": incident.posted_at}
        return ", ".join(way for way, at in ways.items() if at) or "–"
