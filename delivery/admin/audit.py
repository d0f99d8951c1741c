"""The pages of the audit log."""

from django.contrib import admin
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import DropdownFilter, TextFilter
from unfold.decorators import display

from delivery.admin.keyset import LogAdmin
from integrations.formatting import ago
from integrations.models import AuditEntry

OBJECT_URL_NAMES = {
    "installation": "integrations_installation",
    "source": "integrations_source",
    "webhook_source": "integrations_webhooksource",
    "token": "integrations_apitoken",
    "user": "auth_user",
    "role": "auth_group",
    "delivery": "delivery_delivery",
    "event": "delivery_event",
    "attempt": "delivery_attempt",
    "rejection": "delivery_rejection",
    "replay": "delivery_replay",
}


ACTION_LABELS = {
    "auth.login": "Logged in",
    "auth.login_failed": "Login failed",
    "auth.refresh_reused": "Refresh token used twice",
}


class ObjectTypeFilter(DropdownFilter):
    title = "object type"
    parameter_name = "object_type"

    def lookups(self, request, model_admin):
        return [(each, each.replace("_", " ").capitalize()) for each in OBJECT_URL_NAMES]

    def queryset(self, request, queryset):
        return queryset.filter(object_type=self.value()) if self.value() else queryset


class ActorFilter(TextFilter):
    title = "user"
    parameter_name = "actor"

    def queryset(self, request, queryset):
        return queryset.filter(actor=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(LogAdmin):
    list_display = ("when", "who", "what", "object", "changed", "via")
    list_display_links = ("when", "what")
    list_filter = (ObjectTypeFilter, ActorFilter)
    page_template = "integrations/audit/entry.html"
    when_empty = "No changes yet. Every change by a user or a program is recorded here."

    @display(description="When")
    def when(self, entry):
        return ago(entry.at)

    @display(description="User")
    def who(self, entry):
        name = entry.actor or "–"
        return format_html('{} <span class="ps-subtle">{}</span>', name, entry.token)

    @display(description="Action")
    def what(self, entry):
        return describe_action(entry.action)

    @display(description="Object")
    def object(self, entry):
        return entry.object_name or "–"

    @display(description="Fields")
    def changed(self, entry):
        names = list(entry.changes)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"{', '.join(names[:3])}{more}" or "–"

    def page_context(self, request, entry):
        return {
            "title": f"{describe_action(entry.action)}: {entry.object_name}",
            "action_label": describe_action(entry.action),
            "object_url": audited_object_url(entry),
        }


def describe_action(action):
    """Return "Installation created" for installation.created."""
    if action in ACTION_LABELS:
        return ACTION_LABELS[action]
    return action.replace(".", " ").replace("_", " ").capitalize()


def audited_object_url(entry):
    """Return the URL of an entry's object, or "" if it has no page."""
    kind = OBJECT_URL_NAMES.get(entry.object_type)
    try:
        return reverse(f"admin:{kind}_change", args=[entry.object_id]) if kind else ""
    except NoReverseMatch:
        return ""


def object_activity(kind, pk, limit):
    """Return the newest entries about one object, each with a description of its action."""
    rows = AuditEntry.objects.filter(object_type=kind, object_id=str(pk)).order_by("-pk")
    return [(each, describe_action(each.action)) for each in rows[:limit]]
