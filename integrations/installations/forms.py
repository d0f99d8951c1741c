"""Forms of an installation, built from the settings that its destination declares."""

import json

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.db import transaction
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from integrations.blueprints import summary
from integrations.catalog import load_blueprint
from integrations.edit_conflicts import KeepsNewerValues
from integrations.formatting import KEEP_STORED_HELP
from integrations.installations import change as installations_change
from integrations.installations import install as installations_install
from integrations.installations.change import ALL_SOURCES
from integrations.installations.install import (
    InvalidInstallation,
    NameTaken,
    offered_options,
    starting_value,
)
from integrations.models import Installation, Source

CONFIG_PREFIX = "config."  # install.py uses the same field names
DELIVERY_FORM_FIELDS = ("enabled", "lane_count", "give_up_days")
SELECTED_SOURCES = "some"


class InstallationForm(forms.Form):
    """Collects values and shows errors. Validation is in install.py only."""

    name = forms.CharField(
        max_length=100,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="The name shown in lists, in the log and in the API.",
    )

    source_choice = forms.ChoiceField(
        required=False,
        initial=ALL_SOURCES,
        choices=[
            (ALL_SOURCES, "All sources, including future ones"),
            (SELECTED_SOURCES, "Only these:"),
        ],
        widget=forms.RadioSelect,
    )
    sources = forms.ModelMultipleChoiceField(
        Source.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, destination, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.destination = destination
        self.fields["sources"].queryset = Source.objects.in_use().order_by("name")
        for field in destination.config_fields:
            self.fields[CONFIG_PREFIX + field.key] = build_form_field(field)

    def config_fields(self):
        return self._config_fields(advanced=False)

    def advanced_fields(self):
        return self._config_fields(advanced=True)

    def advanced_is_open(self):
        return any(field.errors for field in self.advanced_fields())

    def _config_fields(self, *, advanced):
        fields = self.destination.config_fields
        return [self[CONFIG_PREFIX + each.key] for each in fields if each.advanced == advanced]

    def config(self):
        return {
            name.removeprefix(CONFIG_PREFIX): value
            for name, value in self.cleaned_data.items()
            if name.startswith(CONFIG_PREFIX)
        }

    def clean(self):
        cleaned = super().clean()
        if cleaned.get("source_choice") == SELECTED_SOURCES and not cleaned.get("sources"):
            self.add_error("sources", "Choose at least one source, or all sources.")
        return cleaned

    def selected_sources(self):
        """Return the selected sources, in the form that `set_sources` accepts."""
        if self.cleaned_data.get("source_choice") != SELECTED_SOURCES:
            return ALL_SOURCES
        return sorted(source.pk for source in self.cleaned_data["sources"])

    def add_errors(self, fields):
        """Show each error at its field, unless the field has one."""
        for name, reason in fields.items():
            if name not in self.errors:
                self.add_error(name if name in self.fields else NON_FIELD_ERRORS, reason)


class InstallForm(InstallationForm):
    variant = forms.ChoiceField(required=False, widget=forms.RadioSelect)

    def __init__(self, destination, *args, **kwargs):
        super().__init__(destination, *args, **kwargs)
        self.fields["name"].initial = next_free_name(destination.name)
        variants = [(each.key, each.name) for each in destination.variants]
        self.fields["variant"].choices = variants
        self.fields["variant"].initial = variants[0][0]
        for field in destination.config_fields:
            self.fields[CONFIG_PREFIX + field.key].initial = starting_value(
                field, destination.variants[0].config
            )

    def variants(self):
        """Yield (variant, radio button, initial values as JSON, action summaries, the rest)."""
        fields = self.destination.config_fields
        for variant, radio in zip(self.destination.variants, self["variant"], strict=True):
            starts = {CONFIG_PREFIX + f.key: starting_value(f, variant.config) for f in fields}
            plan = load_blueprint(self.destination.key, variant.key)
            lines, rest = summary.summarize_actions(plan), summary.summarize_otherwise(plan)
            yield variant, radio, json.dumps(starts), lines, rest

    def problems(self):
        """Return the errors of the current values, by field."""
        self.is_valid()
        return installations_install.find_problems(self.destination, **self.values())

    def values(self):
        return {
            "name": self.cleaned_data.get("name", ""),
            "variant": self.cleaned_data.get("variant", ""),
            "config": self.config(),
        }

    def install(self, *, by):
        """Return the new installation, or None when the form has errors to show."""
        self.add_errors(self.problems())  # together with the errors of the other fields
        if self.errors:
            return None
        try:
            with transaction.atomic():
                installation = installations_install.install(
                    self.destination, **self.values(), by=by
                )
                if self.selected_sources() != ALL_SOURCES:
                    installations_change.set_sources(installation, self.selected_sources())
            return installation
        except InvalidInstallation as error:
            self.add_errors(error.fields)
        except NameTaken as error:
            self.add_errors({"name": str(error)})
        return None


class InstallationEditForm(KeepsNewerValues, InstallationForm):
    linked_fields = (frozenset({"source_choice", "sources"}),)
    enabled = forms.BooleanField(
        required=False,
        label="Deliver",
        widget=UnfoldBooleanSwitchWidget,
        help_text="Off: deliveries wait in the queue and nothing is sent.",
    )
    lane_count = forms.IntegerField(
        label="Lanes",
        min_value=1,
        max_value=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="How many requests may be in flight at once. Each user stays in one lane, so "
        "each user's events stay in order.",
    )
    give_up_days = forms.FloatField(
        label="Give up after",
        required=False,
        min_value=0.01,
        max_value=365,
        widget=UnfoldAdminTextInputWidget,
        help_text="Days for which a delivery is retried while the vendor is unavailable. "
        "Leave empty for the default, PENSTOCK_GIVE_UP_DAYS.",
    )

    def __init__(self, installation, *args, **kwargs):
        super().__init__(installation.destination, *args, **kwargs)
        self.installation = installation
        self.initial = {
            "name": installation.name,
            **{name: getattr(installation, name) for name in DELIVERY_FORM_FIELDS},
            **{CONFIG_PREFIX + key: value for key, value in installation.config.items()},
            "source_choice": ALL_SOURCES if installation.all_sources else SELECTED_SOURCES,
            "sources": installation.sources.in_use(),
        }
        for key in installation.destination.secret_keys:
            field = self.fields[CONFIG_PREFIX + key]
            field.help_text = KEEP_STORED_HELP
            field.widget.attrs["placeholder"] = "••••••••"

    def problems(self):
        """Return the errors of the values that would be stored, by field."""
        self.is_valid()
        return installations_install.find_problems(
            self.installation.destination,
            name=self.cleaned_data.get("name", self.installation.name),
            variant=self.installation.variant,
            config={**self.installation.config, **self.config()},
            installed=self.installation,
        )

    def change(self):
        """Change the installation; return whether it succeeded. If not, the form has errors."""
        self.add_errors(self.problems())  # together with the errors of the other fields
        if self.errors:
            return False
        names = {"name", *DELIVERY_FORM_FIELDS} & self.cleaned_data.keys()
        values = {name: self.cleaned_data[name] for name in names}
        if "source_choice" in self.cleaned_data:
            values["sources"] = self.selected_sources()
        if values.get("sources") == installations_change.source_ids(self.installation):
            del values["sources"]
        try:
            installations_change.change_installation(
                self.installation, {**values, "config": self.config()}
            )
        except InvalidInstallation as error:
            self.add_errors(error.fields)
        except NameTaken as error:
            self.add_errors({"name": str(error)})
        return self.is_valid()


def build_form_field(field):
    """Return the form field for a setting.

    No field is required here, because install.py has better messages for missing values.
    """
    options = {"label": field.label, "help_text": field.help_text, "required": False}
    attrs = {"placeholder": field.placeholder, "aria-required": str(field.required).lower()}
    if field.type == "select":
        return forms.CharField(
            **options, widget=UnfoldAdminSelectWidget(choices=offered_options(field))
        )
    if field.type == "secret":
        # "new-password", because otherwise browsers fill in the password of the login
        widget = UnfoldAdminPasswordWidget({**attrs, "autocomplete": "new-password"})
    else:
        widget = UnfoldAdminTextInputWidget({**attrs, "autocomplete": "off"})
    return forms.CharField(**options, widget=widget)


def next_free_name(name):
    """Return the name, with a number if another installation has the name."""
    taken = set(Installation.objects.filter(name__startswith=name).values_list("name", flat=True))
    numbered = (f"{name} {number}" for number in range(2, len(taken) + 2))
    return name if name not in taken else next(each for each in numbered if each not in taken)
