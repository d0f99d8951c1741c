"""Base classes of admin pages: a single save button, and audited changes of a locked row."""

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.db import transaction
from django.utils.html import format_html
from unfold.admin import ModelAdmin

from integrations.access import audit


class SingleSaveAdmin(ModelAdmin):
    """A form with one save button, because the page of the saved object shows the next steps."""

    def render_change_form(self, request, context, *args, **kwargs):
        context |= {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().render_change_form(request, context, *args, **kwargs)


class AuditedAdmin(SingleSaveAdmin):
    """A page whose changes are recorded in the audit log, as the API's changes are.

    audit_name   the object type in the audit log
    """

    audit_name = ""

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        """Lock the row while a form is saved, so that two forms at once see each other's values."""
        with transaction.atomic():
            if request.method == "POST" and object_id is not None:
                row = self.get_object(request, unquote(object_id))
                self.model.objects.select_for_update().filter(pk=row and row.pk).first()
            return super().changeform_view(request, object_id, form_url, extra_context)

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
    template = "<strong>Copy this {} now. It will not be shown again:</strong> <code>{}</code>"
    messages.warning(request, format_html(template, what, text))
