"""The state of an incident as text."""

from delivery.models import Incident
from delivery.status.words import Words

INCIDENTS = {
    Incident.Kind.ATTENTION: ("attention", "error"),
    Incident.Kind.LATE: ("waiting", "schedule"),
    Incident.Kind.FAILING: ("attention", "warning"),
    Incident.Kind.SILENT: ("waiting", "volume_off"),
}


def incident_in_words(incident: Incident) -> Words:
    level, icon = INCIDENTS[incident.kind]
    if incident.closed_at:
        level, icon = "off", "check_circle"
    return Words(level, icon, incident.get_kind_display(), incident.text)
