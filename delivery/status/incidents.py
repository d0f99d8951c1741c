"""The state of an incident as text."""

from delivery.models import Incident
from delivery.status.status_text import StatusText

INCIDENT_STYLES = {
    Incident.Kind.ATTENTION: ("attention", "error"),
    Incident.Kind.LATE: ("waiting", "schedule"),
    Incident.Kind.FAILING: ("attention", "warning"),
    Incident.Kind.SILENT: ("waiting", "volume_off"),
}


def describe_incident(incident: Incident) -> StatusText:
    level, icon = INCIDENT_STYLES[incident.kind]
    if incident.closed_at:
        level, icon = "off", "check_circle"
    return StatusText(level, icon, incident.get_kind_display(), incident.text)
