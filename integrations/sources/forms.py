"""Forms of sources, write keys and webhook sources."""

from django import forms
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from integrations.formatting import KEEP_STORED_HELP
from integrations.models import Source, WebhookSource


class SourceForm(forms.ModelForm):
    """A source; its signing secret is made here and never shown again."""

    new_signing_secret = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Make a new secret to sign requests with, and show it once. An older one ends.",
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
    """For how long the old write key stays valid beside the new one."""

    overlap = forms.TypedChoiceField(
        coerce=int,
        initial=24,
        choices=[(0, "It ends at once"), (24, "A day"), (168, "A week"), (720, "30 days")],
        label="The key it has now",
        widget=UnfoldAdminSelectWidget,
        help_text="How long it stays valid, so that every sender can change over.",
    )


class WriteKeyForm(forms.Form):
    """One more write key: who uses it, and for how many days; 0 until it is revoked."""

    note = forms.CharField(
        label="Who uses it",
        required=False,
        max_length=100,
        widget=UnfoldAdminTextInputWidget({"autocomplete": "off", "placeholder": "iOS app"}),
        help_text="It stands beside the key, so that one knows later what revoking it stops.",
    )
    days = forms.TypedChoiceField(
        coerce=int,
        initial=0,
        choices=[(0, "Until it is revoked"), (7, "A week"), (30, "30 days"), (365, "A year")],
        label="Valid",
        widget=UnfoldAdminSelectWidget,
    )


class WebhookSourceForm(forms.ModelForm):
    """A webhook source; its secret goes in and never comes out."""

    secret = forms.CharField(
        required=False,
        widget=UnfoldAdminPasswordWidget,
        help_text=f"What the third party signs with: it shows it to you. {KEEP_STORED_HELP}",
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

    def clean(self):
        cleaned = super().clean()
        if cleaned.get("secret"):
            self.instance.secret = cleaned["secret"]  # which is then checked with the rest
        return cleaned
