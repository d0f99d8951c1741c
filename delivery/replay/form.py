"""The form of a new replay. The admin and the API both validate with it."""

from django import forms

from delivery.log.search.language import parse_search
from delivery.log.search.names import resolve_names
from delivery.models import Delivery
from delivery.replay.selection import CURRENT_BLUEPRINT, LAST_BLUEPRINT, ReplayKind, ReplaySelection
from integrations.formats.times import clamp_time
from integrations.models import Installation, Source

SETTLED_STATE_CHOICES = [
    each for each in Delivery.State.choices if each[0] != Delivery.State.QUEUED
]
TEXT_FIELDS = ("event", "user_id", "anonymous_id", "message_id", "error", "q")
SEARCH_KEYS_WITH_OWN_FIELD = {
    "installation",
    "state",
    "since",
    "until",
    "resolved",
}  # search keys that the form has fields for
RESOLVED_CHOICES = [
    ("no", "Exclude resolved deliveries"),
    ("yes", "Only resolved deliveries"),
    ("any", "Include resolved deliveries"),
]
BLUEPRINT_CHOICES = [
    (CURRENT_BLUEPRINT, "Current blueprint"),
    (LAST_BLUEPRINT, "As before: the revision that last shaped each delivery"),
]
NOT_FOR_BACKFILL = "A backfill creates new deliveries, so this does not apply."


def text_field(label, help_text="", **more):
    widget = forms.TextInput({"autocomplete": "off"})
    return forms.CharField(
        label=label, help_text=help_text, required=False, widget=widget, strip=False, **more
    )


def datetime_field(label, help_text):
    widget = forms.TextInput({"placeholder": "2026-11-21T12:00:00Z", "autocomplete": "off"})
    return forms.DateTimeField(label=label, help_text=help_text, required=False, widget=widget)


class ReplayForm(forms.Form):
    installation = forms.ModelChoiceField(Installation.objects.installed().order_by("name"))
    kind = forms.ChoiceField(
        choices=ReplayKind.choices,
        initial=ReplayKind.REPLAY,
        required=False,
        widget=forms.RadioSelect,
    )
    states = forms.MultipleChoiceField(
        choices=SETTLED_STATE_CHOICES,
        initial=[Delivery.State.FAILED],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    since = datetime_field("Received since", "UTC unless the value has an offset.")
    until = datetime_field("Received before", "Leave empty for no end.")
    event = text_field("Event", "An event name, or a type such as page.", max_length=255)
    user_id = text_field("User id", max_length=255)
    anonymous_id = text_field("Anonymous id", max_length=255)
    message_id = text_field("Message id", max_length=255)
    error = text_field("Error", "The class of the error, such as TooLarge.", max_length=30)
    source = forms.ModelChoiceField(
        Source.objects.in_use().order_by("name"),
        required=False,
        empty_label="Any source",
    )
    q = text_field(
        "Search", "More terms, as in the log: status:4xx attempts:>3 -type:page", max_length=2_000
    )
    resolved = forms.ChoiceField(
        label="Failed deliveries",
        choices=RESOLVED_CHOICES,
        initial="no",
        required=False,
    )
    blueprint = forms.ChoiceField(
        choices=BLUEPRINT_CHOICES,
        initial=CURRENT_BLUEPRINT,
        required=False,
        widget=forms.RadioSelect,
    )
    rate = forms.FloatField(
        label="Deliveries per second",
        required=False,
        min_value=0.01,
        max_value=100_000,
        widget=forms.TextInput({"autocomplete": "off"}),
        help_text="Leave empty to use up to half of the vendor's rate limit.",
    )

    def clean_q(self):
        """Return the search with resolved names.

        Keys with a form field of their own are rejected, because a relative time in a search would
        select other deliveries as time passes.
        """
        search = resolve_names(parse_search(self.cleaned_data["q"]))
        elsewhere = sorted({term.key for term in search.terms} & SEARCH_KEYS_WITH_OWN_FIELD)
        problems = [f"{key}: use the separate field instead." for key in elsewhere]
        if problems := [*search.problems, *problems]:
            raise forms.ValidationError(problems)
        return str(search)

    def clean(self):
        values = super().clean()
        since, until = values.get("since"), values.get("until")
        if since and until and since >= until:
            self.add_error("until", "Must be later than the start.")
        if values.get("kind") == ReplayKind.BACKFILL and values.get("error"):
            self.add_error("error", NOT_FOR_BACKFILL)
        if values.get("kind") == ReplayKind.BACKFILL and values.get("q"):
            self.add_error("q", NOT_FOR_BACKFILL)
        if values.get("kind") == ReplayKind.BACKFILL and values.get("blueprint") == LAST_BLUEPRINT:
            self.add_error("blueprint", NOT_FOR_BACKFILL)
        return values

    @property
    def chosen_kind(self):
        return self.cleaned_data["kind"] or ReplayKind.REPLAY

    def selection(self):
        values, source = self.cleaned_data, self.cleaned_data["source"]
        states = {"states": tuple(values["states"])} if values["states"] else {}
        return ReplaySelection(
            **{name: values[name] for name in TEXT_FIELDS},
            **(states if self.chosen_kind == ReplayKind.REPLAY else {}),
            resolved=values["resolved"] or "no",
            blueprint=values["blueprint"] or CURRENT_BLUEPRINT,
            source=source.pk if source else None,
            since=values["since"] and clamp_time(values["since"]),
            until=values["until"] and clamp_time(values["until"]),
        )
