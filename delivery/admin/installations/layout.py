"""The parts that all pages of an installation share: state, tabs, buttons and access checks."""

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.urls import reverse
from django.utils import timezone

from delivery.status.installations import describe_installation, with_state
from integrations.models import Installation

INSTALLATION_TABS = {
    "overview": ("Overview", "integrations_installation_change"),
    "deliveries": ("Deliveries", "delivery_delivery_changelist"),
    "blueprint": ("Blueprint", "installation_blueprint"),
    "settings": ("Settings", "installation_settings"),
    "activity": ("Activity", "installation_activity"),
}
TAB_PERMISSIONS = {"activity": "integrations.view_auditentry"}
INSTALLED_ONLY_TABS = ("settings",)  # hidden once it is uninstalled


def get_viewable_installation(request, pk):
    """Return an installation with its state, including one that was uninstalled.

    Raises PermissionDenied and Http404.
    """
    if not request.user.has_perm("integrations.view_installation"):
        raise PermissionDenied
    rows = with_state(Installation.objects.select_related("revision__created_by"))
    installation = rows.filter(pk=pk).first()
    if installation is None:
        raise Http404(f"There is no installation {pk}.")
    return installation


def get_changeable_installation(request, pk, permission="integrations.change_installation"):
    """Return an installation that the user may change.

    Raises PermissionDenied, also for an uninstalled one, and Http404.
    """
    installation = get_viewable_installation(request, pk)
    if not request.user.has_perm(permission):
        raise PermissionDenied
    if installation.uninstalled_at:
        raise PermissionDenied(f"{installation} is uninstalled and can no longer be changed.")
    return installation


def installation_context(request, installation, active):
    """Return the context of templates that extend integrations/installations/layout.html."""
    lanes = installation.lanes.all()
    now = timezone.now()
    status = describe_installation(installation, lanes, now)
    is_paused = not installation.enabled or any(lane.paused for lane in lanes)
    return {
        **admin.site.each_context(request),
        "title": installation.name,
        "installation": installation,
        "status": status,
        "tabs": list(installation_tabs(request.user, installation, active)),
        "sandbox_url": settings.SANDBOX_URL,
        "may_change": not installation.uninstalled_at
        and request.user.has_perm("integrations.change_installation"),
        "is_waiting": not is_paused and any(lane.due_at and lane.due_at > now for lane in lanes),
        "is_paused": is_paused,
    }


def installation_tabs(user, installation, active):
    for key, (title, view) in INSTALLATION_TABS.items():
        if key in TAB_PERMISSIONS and not user.has_perm(TAB_PERMISSIONS[key]):
            continue
        if key in INSTALLED_ONLY_TABS and installation.uninstalled_at:
            continue
        if key == "deliveries":
            url = f"{reverse(f'admin:{view}')}?installation={installation.pk}"
        else:
            url = reverse(f"admin:{view}", args=[installation.pk])
        yield title, url, key == active
