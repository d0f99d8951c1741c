"""Base classes of admin pages: one save button, and changes in the audit log."""

from django.contrib import messages
from django.utils.html import format_html
from unfold.admin import ModelAdmin

from integrations.access import audit


class SingleSaveAdmin(ModelAdmin):
    """A form with one button: what was saved has a page that says what comes next."""

    def render_change_form(self, request, context, *args, **kwargs):
        context |= {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().render_change_form(request, context, *args, **kwargs)


class AuditedAdmin(SingleSaveAdmin):
    """A page whose changes go into the audit log, as the ones of the API do.

    audit_name   what its rows are called there
    """

    audit_name = ""

    def save_model(self, request, obj, form, change):
        form.before = audit.column_values(type(obj).objects.get(pk=obj.pk)) if change else {}
        super().save_model(request, obj, form, change)

    def save_related(self, request, form, formsets, change):
        super().save_related(request, form, formsets, change)
        verb, row = "updated" if change else "created", form.instance
        audit.record(f"{self.audit_name}.{verb}", row, form.before, audit.column_values(row))

    def delete_model(self, request, obj):
        audit.record(f"{self.audit_name}.deleted", obj, audit.column_values(obj))
        super().delete_model(request, obj)

    def delete_queryset(self, request, queryset):
        for obj in queryset:
            self.delete_model(request, obj)


def show_secret_once(request, what, text):
    shown = "<strong>Copy this {} now, it is not shown again:</strong> <code>{}</code>"
    messages.warning(request, format_html(shown, what, text))
