"""The admin pages of users, roles and API tokens."""

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.html import format_html
from unfold.decorators import action, display
from unfold.forms import AdminPasswordChangeForm, UserCreationForm

from integrations.access import audit, tokens
from integrations.access.forms import ApiTokenForm, RoleForm, UserEditForm
from integrations.access.users import groups_within, outranks
from integrations.admin.base import AuditedAdmin, SingleSaveAdmin, show_secret_once
from integrations.formatting import ago, render_chip
from integrations.models import ApiToken

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(BaseUserAdmin, AuditedAdmin):
    audit_name = "user"
    list_display = ("username", "role", "email", "last_seen", "state")
    list_filter = ("groups", "is_active")

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("groups")

    @display(description="Role")
    def role(self, user):
        own = ["superuser"] if user.is_superuser else []
        return ", ".join([*own, *(each.name for each in user.groups.all())]) or "none"

    @display(description="Last login", ordering="last_login")
    def last_seen(self, user):
        return ago(user.last_login) if user.last_login else "never"

    @display(description="State", ordering="is_active")
    def state(self, user):
        if user.is_active:
            return render_chip("well", "check_circle", "Active")
        return render_chip("off", "block", "Cannot log in")

    def get_readonly_fields(self, request, obj=None):
        own = super().get_readonly_fields(request, obj)
        return own if request.user.is_superuser else (*own, "is_superuser", "user_permissions")

    def has_change_permission(self, request, obj=None):
        above = obj is not None and outranks(obj, request.user)
        return not above and super().has_change_permission(request, obj)

    def formfield_for_manytomany(self, db_field, request=None, **kwargs):
        """Offer only roles whose permissions the user has, because others could be taken."""
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "groups" and not request.user.is_superuser:
            field.queryset = field.queryset.filter(pk__in=groups_within(request.user))
        return field

    def user_change_password(self, request, id, form_url=""):  # noqa: A002  (Django's name)
        if unquote(id) == str(request.user.pk):
            return redirect("admin:password_change")  # which asks for the current password
        old = audit.column_values(get_object_or_404(User, pk=unquote(id)))
        response = super().user_change_password(request, id, form_url)
        user = User.objects.get(pk=unquote(id))
        if audit.changed_values(old, audit.column_values(user)):
            audit.record("user.updated", user, old, audit.column_values(user))
        return response

    form = UserEditForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, AuditedAdmin):
    audit_name = "role"
    form = RoleForm


@admin.register(ApiToken)
class ApiTokenAdmin(SingleSaveAdmin):
    form = ApiTokenForm
    when_empty = "There are no tokens yet. A program needs one to manage Penstock through the API."
    when_empty_link = "admin:integrations_apitoken_add"
    when_empty_label = "Create a token"
    list_display = ("name", "state", "user", "scope_list", "expires", "last_used", "created")
    list_select_related = ("user",)
    ordering = ("name", "pk")
    actions = ("revoke",)

    @display(description="Created", ordering="created_at")
    def created(self, token):
        return ago(token.created_at)

    @display(description="Last used", ordering="last_used_at")
    def last_used(self, token):
        return ago(token.last_used_at) if token.last_used_at else "never"

    @display(description="Expires", ordering="expires_at")
    def expires(self, token):
        return ago(token.expires_at) if token.expires_at else "never"

    @display(description="Scopes")
    def scope_list(self, token):
        return ", ".join(token.scopes)

    @display(description="State")
    def state(self, token):
        why = token.unusable_reason(timezone.now())
        level, icon, title = ("well", "check_circle", "Usable")
        if why:
            level, icon, title = "off", "block", "Revoked" if token.revoked_at else "Refused"
        return format_html('<span title="{}">{}</span>', why, render_chip(level, icon, title))

    def has_change_permission(self, request, obj=None):
        # A token cannot be edited; create another one instead.
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request, obj=None):
        return False  # tokens are revoked instead, because the audit log refers to them

    def save_model(self, request, obj, form, change):
        values = {name: form.cleaned_data[name] for name in ("name", "scopes", "expires_at")}
        token, text = tokens.create_token(request.user, **values)
        obj.pk = token.pk
        show_secret_once(request, "token", text)

    @action(description="Revoke", permissions=["change"])
    def revoke(self, request, queryset):
        try:
            with transaction.atomic():  # all of them or none
                for token in queryset.select_related("user"):
                    tokens.revoke_token(token, by=request.user)
        except PermissionDenied as error:
            messages.error(request, f"{error} Nothing was revoked.")
            return
        messages.success(request, "The selected tokens are revoked.")
