"""The admin page of webhook sources."""

from django.contrib import admin
from unfold.decorators import display

from integrations.admin.base import AuditedAdmin
from integrations.formatting import ago
from integrations.models import WebhookSource
from integrations.sources.forms import WebhookSourceForm


@admin.register(WebhookSource)
class WebhookSourceAdmin(AuditedAdmin):
    audit_name = "webhook_source"
    form = WebhookSourceForm
    list_display = ("name", "source_type", "source", "created")
    list_select_related = ("source",)
    fields = (
        "name",
        "source",
        "source_type",
        "secret",
        "signature_header",
        "event_type_path",
        "mappings",
    )
    ordering = ("name",)
    change_form_outer_before_template = "integrations/sources/_webhook_address.html"
    when_empty = "There are no webhook sources yet. Each one gives a third party a URL to call."
    when_empty_link = "admin:integrations_webhooksource_add"
    when_empty_label = "Add a webhook source"

    @display(description="Created", ordering="created_at")
    def created(self, webhook):
        return ago(webhook.created_at)

    def render_change_form(self, request, context, *args, **kwargs):
        context["base_url"] = request.build_absolute_uri("/").rstrip("/")
        return super().render_change_form(request, context, *args, **kwargs)
