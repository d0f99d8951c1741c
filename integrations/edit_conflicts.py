"""Forms that do not overwrite what somebody else has saved since the page was opened.

A browser sends every field of a form, including those that its reader left alone. Therefore a page
that was open for a while would silently restore old values.
"""

from typing import Any, cast

from django import forms
from django.utils.safestring import SafeString
from django.utils.text import Truncator

CONFLICT = (
    "Somebody else has changed this to {stored} since you opened the page. "
    "Save again to replace it with your value."
)
MAX_STORED_CHARS = 1_000  # characters of a stored value in the message


class ComparedField(forms.BoundField):
    """A field of a page with its stored value in hidden inputs, to tell later who changed what."""

    form: "KeepsNewerValues"

    @property
    def is_compared(self) -> bool:
        return self.name in self.form.compared_fields

    @property
    def stored_value_input(self) -> SafeString:
        """The hidden inputs, for templates that render a field in parts."""
        stored = self.field.prepare_value(self.initial)
        attrs = {"id": self.html_initial_id}
        widget = self.field.hidden_widget()
        return widget.render(self.html_initial_name, stored, attrs, self.form.renderer)

    def as_hidden(self, attrs: Any = None, *, only_initial: bool = False, **kwargs: Any) -> Any:
        if only_initial and self.is_compared:
            return self.stored_value_input  # also on a page with errors: the values stored by now
        return super().as_hidden(attrs, only_initial=only_initial, **kwargs)

    def value(self) -> Any:
        """Return the value to show: the stored one if the reader left the field alone."""
        if self.is_left_alone:
            return self.field.prepare_value(self.initial)
        return super().value()

    @property
    def is_left_alone(self) -> bool:
        """Whether the form was sent with the value that the page was opened with."""
        if not self.is_compared or not self.form.has_opening_values:
            return False
        return not self.form.changed_data_of(self.name)

    @property
    def has_conflict(self) -> bool:
        """Whether two people changed the value, and not to the same one."""
        if self.is_left_alone:
            return False
        opened_with = self.field.hidden_widget().value_from_datadict(
            self.form.data, self.form.files, self.html_initial_name
        )
        is_changed_elsewhere = not self.form.has_opening_values or self.field.has_changed(
            unify_newlines(self.initial), unify_newlines(opened_with)
        )
        return is_changed_elsewhere and self.field.has_changed(self.initial, self.data)

    def describe_stored_value(self) -> str:
        """Return the stored value as the page names it."""
        stored = self.field.prepare_value(self.initial)
        if isinstance(stored, bool):
            return "on" if stored else "off"
        values = stored if isinstance(stored, list | tuple) else [stored]
        labels = labels_of(getattr(self.field.widget, "choices", ()))
        texts = [labels.get(str(each), str(each)) for each in values if each not in (None, "")]
        return (
            f"“{Truncator(', '.join(texts)).chars(MAX_STORED_CHARS)}”"
            if texts
            else "an empty value"
        )


class KeepsNewerValues(forms.BaseForm):
    """Mixin of a form that edits a stored row. It saves only the fields that its reader changed.

    A field that the reader left alone is missing in `cleaned_data`, and the stored value stays. A
    field that somebody else has changed too is an error, once. A form without the values that its
    page was opened with is compared with the stored row. Passwords are not compared, because a
    page never shows the stored one.

    linked_fields   groups of fields that make up one choice: changing one changes all of them
    """

    bound_field_class = ComparedField
    linked_fields: tuple[frozenset[str], ...] = ()

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.compared_fields = self._find_compared_fields()
        for name in self.compared_fields:
            self.fields[name].show_hidden_initial = True

    def _find_compared_fields(self) -> set[str]:
        row = getattr(self, "instance", None)
        if row is not None and row._state.adding:
            return set()
        return {
            name
            for name, field in self.fields.items()
            # A disabled field may show a secret, such as the hash of a password.
            if not field.disabled and not isinstance(field.widget, forms.PasswordInput)
        }

    @property
    def has_opening_values(self) -> bool:
        """Whether the form was sent with the values that its page was opened with."""
        prefix = self.add_initial_prefix("")
        return any(name.startswith(prefix) for name in self.data)

    def changed_data_of(self, name: str) -> set[str]:
        """Return the changed fields among this one and those linked with it."""
        linked = [group for group in self.linked_fields if name in group]
        return {name}.union(*linked).intersection(self.changed_data)

    def clean(self) -> dict[str, Any] | None:
        cleaned: dict[str, Any] | None = super().clean()
        values = self.cleaned_data if cleaned is None else cleaned
        for name in self.compared_fields:
            field = cast(ComparedField, self[name])
            if field.is_left_alone:
                values.pop(name, None)
                self.errors.pop(name, None)
            elif field.has_conflict:
                self.add_error(name, CONFLICT.format(stored=field.describe_stored_value()))
        return values


def unify_newlines(value: Any) -> Any:
    """Return text with the line ends that browsers send, and other values unchanged."""
    return "\r\n".join(value.splitlines()) if isinstance(value, str) else value


def labels_of(choices: Any) -> dict[str, str]:
    """Return the label of each value of a field with choices, which may be in groups."""
    labels: dict[str, str] = {}
    for value, label in choices:
        if isinstance(label, list | tuple):
            labels |= labels_of(label)
        else:
            labels[str(value)] = str(label)
    return labels
