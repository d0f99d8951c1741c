"""Forms of sources, write keys and webhook sources."""

from django import forms
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from integrations.edit_conflicts import KeepsNewerValues
from integrations.formatting import KEEP_STORED_HELP
from integrations.models import Source, WebhookSource


class SourceForm(KeepsNewerValues, forms.ModelForm):
    """A source. A new signing secret is shown once and never again."""

    new_signing_secret = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Create a new secret for signing requests, and show it once. It replaces the old "
        "secret.",
    )

    class Meta:
        model = Source
        fields = (
            "name",
            "write_key",
            "allowed_origins",
            "visitor_cookie",
            "default_context",
            "rate_limit",
        )


class RotateKeyForm(forms.Form):
    """How long the old write key stays valid after rotation."""

    overlap = forms.TypedChoiceField(
        coerce=int,
        initial=24,
        choices=[(0, "Ends at once"), (24, "1 day"), (168, "7 days"), (720, "30 days")],
        label="Current key",
        widget=UnfoldAdminSelectWidget,
        help_text="How long it stays valid, so that every sender can switch to the new key.",
    )


class WriteKeyForm(forms.Form):
    """An additional write key: its user, and its validity in days; 0 means until revoked."""

    note = forms.CharField(
        label="Used by",
        required=False,
        max_length=100,
        widget=UnfoldAdminTextInputWidget({"autocomplete": "off", "placeholder": "iOS app"}),
        help_text="Shown with the key, so that you know later who loses access if you revoke it.",
    )
    days = forms.TypedChoiceField(
        coerce=int,
        initial=0,
        choices=[(0, "Until revoked"), (7, "7 days"), (30, "30 days"), (365, "1 year")],
        label="Valid for",
        widget=UnfoldAdminSelectWidget,
    )


class WebhookSourceForm(KeepsNewerValues, forms.ModelForm):
    """A webhook source. Its secret can be set but is never shown."""

    secret = forms.CharField(
        required=False,
        widget=UnfoldAdminPasswordWidget,
        help_text="The secret that the third party shows you for its webhooks.",
    )

    class Meta:
        model = WebhookSource
        fields = (
            "name",
            "source",
            "source_type",
            "signature_header",
            "event_type_path",
            "mappings",
        )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["secret"].help_text += f" {KEEP_STORED_HELP}"

    def clean(self):
        cleaned = super().clean()
        if cleaned.get("secret"):
            self.instance.secret = cleaned["secret"]  # validated later, with the other fields
        return cleaned
