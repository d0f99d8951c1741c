"""Who may send, and who may manage."""

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, User
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from integrations.forms import SourceForm, WebhookSourceForm
from integrations.models import ApiToken, Source, WebhookSource, digest, new_token
from integrations.templatetags.penstock import ago

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(BaseUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, ModelAdmin):
    pass


@admin.register(Source)
class SourceAdmin(ModelAdmin):
    list_display = ("name", "shown_key", "created")
    form = SourceForm
    fields = (
        "name",
        "write_key",
        "allowed_origins",
        "visitor_cookie",
        "default_context",
        "rate_limit",
        "new_signing_secret",
    )
    ordering = ("name",)
    change_form_outer_after_template = "integrations/source_after.html"

    @display(description="Write key")
    def shown_key(self, source):
        return format_html('<code class="ps-code">{}</code>', source.write_key)

    @display(description="Created", ordering="created_at")
    def created(self, source):
        return ago(source.created_at)

    def get_readonly_fields(self, request, obj=None):
        return ("write_key",) if obj else ()

    def has_delete_permission(self, request, obj=None):
        return False  # its events are the log

    def save_model(self, request, obj, form, change):
        secret = obj.new_signing_secret() if form.cleaned_data["new_signing_secret"] else ""
        super().save_model(request, obj, form, change)
        if secret:
            show_once(request, "signing secret", secret)

    def render_change_form(self, request, context, *args, **kwargs):
        context["base_url"] = request.build_absolute_uri("/").rstrip("/")
        return super().render_change_form(request, context, *args, **kwargs)


@admin.register(WebhookSource)
class WebhookSourceAdmin(ModelAdmin):
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
    change_form_outer_after_template = "integrations/webhook_after.html"

    @display(description="Created", ordering="created_at")
    def created(self, webhook):
        return ago(webhook.created_at)

    def render_change_form(self, request, context, *args, **kwargs):
        context["base_url"] = request.build_absolute_uri("/").rstrip("/")
        return super().render_change_form(request, context, *args, **kwargs)


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    list_display = ("name", "user", "created", "expires_at", "last_used")
    list_select_related = ("user",)
    fields = ("name", "expires_at")
    ordering = ("name", "pk")

    @display(description="Created", ordering="created_at")
    def created(self, token):
        return ago(token.created_at)

    @display(description="Last used", ordering="last_used_at")
    def last_used(self, token):
        return ago(token.last_used_at)

    def save_model(self, request, obj, form, change):
        if change:
            super().save_model(request, obj, form, change)
            return
        text = new_token()
        obj.user, obj.digest = request.user, digest(text)
        super().save_model(request, obj, form, change)
        show_once(request, "token", text)


def show_once(request, what, text):
    shown = "<strong>Copy this {} now, it is not shown again:</strong> <code>{}</code>"
    messages.warning(request, format_html(shown, what, text))
