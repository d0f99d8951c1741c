"""The form of an API token."""

from django import forms

from integrations.models import ApiToken
from integrations.roles import SCOPES


class ApiTokenForm(forms.ModelForm):
    """A token's name and what it may be used for."""

    scopes = forms.TypedMultipleChoiceField(
        choices=[(each.name, f"{each.name} – {each.description}") for each in SCOPES.values()],
        coerce=str,
        widget=forms.CheckboxSelectMultiple,
        help_text="What it may be used for, within what its user may do.",
    )

    class Meta:
        model = ApiToken
        fields = ("name", "scopes", "expires_at")
