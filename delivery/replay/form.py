"""The form of a new replay, which the admin and the API validate with."""

from django import forms

from delivery.log.search.language import parse
from delivery.log.search.names import named
from delivery.models import Delivery
from delivery.replay.selection import CURRENT, LAST, Kind, Wanted
from integrations.models import Installation, Source

SETTLED = [each for each in Delivery.State.choices if each[0] != Delivery.State.QUEUED]
TEXTS = ("event", "user_id", "anonymous_id", "message_id", "error", "q")
OWN_FIELDS = {"installation", "state", "since", "until", "resolved"}  # keys of a search
RESOLVED = [
    ("no", "Leave out what is resolved"),
    ("yes", "Only what is resolved"),
    ("any", "Resolved or not"),
]
BLUEPRINTS = [
    (CURRENT, "By the blueprint of now"),
    (LAST, "As before: by the revision that shaped each last"),
]
NOT_OF_A_BACKFILL = "A backfill makes deliveries; there is none yet that has it."


def text(label, help_text="", **more):
    widget = forms.TextInput({"autocomplete": "off"})
    return forms.CharField(
        label=label, help_text=help_text, required=False, widget=widget, strip=False, **more
    )


def moment(label, help_text):
    widget = forms.TextInput({"placeholder": "2026-11-21T12:00:00Z", "autocomplete": "off"})
    return forms.DateTimeField(label=label, help_text=help_text, required=False, widget=widget)


class ReplayForm(forms.Form):
    installation = forms.ModelChoiceField(Installation.objects.installed().order_by("name"))
    kind = forms.ChoiceField(
        choices=Kind.choices, initial=Kind.REPLAY, required=False, widget=forms.RadioSelect
    )
    states = forms.MultipleChoiceField(
        choices=SETTLED,
        initial=[Delivery.State.FAILED],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    since = moment("Received since", "UTC, unless it says otherwise.")
    until = moment("Received before", "Empty: until now.")
    event = text("Event", "Its name, or a type such as page.", max_length=255)
    user_id = text("User id", max_length=255)
    anonymous_id = text("Anonymous id", max_length=255)
    message_id = text("Message id", max_length=255)
    error = text("Error", "The class of the error, such as TooLarge.", max_length=30)
    source = forms.ModelChoiceField(
        Source.objects.in_use().order_by("name"),
        required=False,
        empty_label="Any source",
    )
    q = text(
        "Search", "What else, as in the log: status:4xx attempts:>3 -type:page", max_length=2_000
    )
    resolved = forms.ChoiceField(
        label="Failed ones",
        choices=RESOLVED,
        initial="no",
        required=False,
    )
    blueprint = forms.ChoiceField(
        choices=BLUEPRINTS, initial=CURRENT, required=False, widget=forms.RadioSelect
    )
    rate = forms.FloatField(
        label="Deliveries a second",
        required=False,
        min_value=0.01,
        max_value=100_000,
        widget=forms.TextInput({"autocomplete": "off"}),
        help_text="Empty: as fast as the vendor takes them, never more than half of its limit.",
    )

    def clean_q(self):
        """Return a search with names as they are written. What has a field is said there: a time
        in a search may move on, and a replay of it be another one."""
        search = named(parse(self.cleaned_data["q"]))
        elsewhere = sorted({term.key for term in search.terms} & OWN_FIELDS)
        problems = [f"{key}: has a field of its own here." for key in elsewhere]
        if problems := [*search.problems, *problems]:
            raise forms.ValidationError(problems)
        return str(search)

    def clean(self):
        values = super().clean()
        since, until = values.get("since"), values.get("until")
        if since and until and since >= until:
            self.add_error("until", "Must be after the time since which they were received.")
        if values.get("kind") == Kind.BACKFILL and values.get("error"):
            self.add_error("error", NOT_OF_A_BACKFILL)
        if values.get("kind") == Kind.BACKFILL and values.get("q"):
            self.add_error("q", NOT_OF_A_BACKFILL)
        if values.get("kind") == Kind.BACKFILL and values.get("blueprint") == LAST:
            self.add_error("blueprint", NOT_OF_A_BACKFILL)
        return values

    @property
    def chosen_kind(self):
        return self.cleaned_data["kind"] or Kind.REPLAY

    def wanted(self):
        values, source = self.cleaned_data, self.cleaned_data["source"]
        states = {"states": tuple(values["states"])} if values["states"] else {}
        return Wanted(
            **{name: values[name] for name in TEXTS},
            **(states if self.chosen_kind == Kind.REPLAY else {}),
            resolved=values["resolved"] or "no",
            blueprint=values["blueprint"] or CURRENT,
            source=source.pk if source else None,
            since=values["since"],
            until=values["until"],
        )
