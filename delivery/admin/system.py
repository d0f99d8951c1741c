"""The System page: processes, lanes, broker, database and retention."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.template.response import TemplateResponse
from django.utils import timezone

from delivery.admin.charts import Figure
from delivery.operations.system import SystemStatus, get_system_status
from delivery.status.status_text import StatusText


def system_view(request):
    """Show the system to users who may change integrations."""
    if not request.user.has_perm("integrations.change_installation"):
        raise PermissionDenied
    found = get_system_status(timezone.now())
    context = {
        **admin.site.each_context(request),
        "title": "System",
        "system": found,
        "verdict": system_verdict(found),
        "figures": system_figures(found),
    }
    return TemplateResponse(request, "delivery/operations/system.html", context)


def system_verdict(found: SystemStatus) -> StatusText:
    if found.trouble:
        return StatusText("attention", "error", "The system needs attention", found.trouble)
    return StatusText(
        "well", "check_circle", "Everything is running", "Processes, broker and sweep respond."
    )


def system_figures(found: SystemStatus) -> list[Figure]:
    alive = sum(each.is_alive for each in found.clusters)
    lanes, broker = found.lanes, found.broker
    queued = "–" if broker.queued is None else f"{broker.queued:,}"
    return [
        Figure("Clusters", alive, "running", "" if alive else "attention"),
        Figure("Lanes", lanes.total, f"{lanes.at_work} active"),
        Figure(
            "Waiting lanes", lanes.waiting, "for their vendor", "waiting" if lanes.waiting else ""
        ),
        Figure("Paused lanes", lanes.paused, "manually or after an error"),
        Figure(
            "Wake-ups queued", queued, f"in {broker.name}", "attention" if broker.trouble else ""
        ),
    ]
