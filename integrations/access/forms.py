"""The forms of users, roles and API tokens."""

from django import forms
from unfold.forms import UserChangeForm

from integrations.edit_conflicts import KeepsNewerValues
from integrations.models import ApiToken
from integrations.roles import SCOPES


class UserEditForm(KeepsNewerValues, UserChangeForm):
    """An existing user."""


class RoleForm(KeepsNewerValues, forms.ModelForm):
    """A role, which is a group of Django, and its permissions."""


class ApiTokenForm(forms.ModelForm):
    """The name, scopes and expiry of a token."""

    scopes = forms.TypedMultipleChoiceField(
        choices=[(each.name, f"{each.name} – {each.description}") for each in SCOPES.values()],
        coerce=str,
        widget=forms.CheckboxSelectMultiple,
        help_text="What the token may be used for, within the permissions of its user.",
    )

    class Meta:
        model = ApiToken
        fields = ("name", "scopes", "expires_at")
