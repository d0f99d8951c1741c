"""Forms that do not overwrite what somebody else has saved since the form was opened."""

from typing import Any

from django import forms

CONFLICT = (
    "Somebody has changed this to {current} since you opened the page. Save again to replace it."
)


class KeepsNewerValues(forms.BaseForm):
    """Mixin of a form with initial values: saves only the fields that its reader has changed.

    Each field carries the value that was shown, in a hidden field. A field that the reader left
    alone keeps its stored value, however old the page is. A field that both have changed is an
    error, once.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.show_hidden_initial = not isinstance(field.widget, forms.PasswordInput)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()  # type: ignore[misc]
        values = self.cleaned_data if cleaned is None else cleaned
        for name in list(values):
            if self.html_initial_name(name) in self.data:
                self._keep_newer(name, values)
        return values

    def html_initial_name(self, name: str) -> str:
        return self[name].html_initial_name

    def _keep_newer(self, name: str, values: dict[str, Any]) -> None:
        bound, field = self[name], self.fields[name]
        shown = bound.field.hidden_widget().value_from_datadict(
            self.data, self.files, bound.html_initial_name
        )
        current = self.get_initial_for_field(field, name)
        if not field.has_changed(current, shown):
            return  # nobody else has changed it
        if name not in self.changed_data:
            values[name] = field.clean(field.prepare_value(current))
        elif field.has_changed(current, bound.data):
            self.add_error(name, CONFLICT.format(current=repr(field.prepare_value(current))))
            self._show(bound, field.prepare_value(current))

    def _show(self, bound: forms.BoundField, value: Any) -> None:
        """Make the page show this value as the one to change, so that saving again replaces it."""
        self.data = self.data.copy()
        if isinstance(value, list | tuple):
            self.data.setlist(bound.html_initial_name, value)
        else:
            self.data[bound.html_initial_name] = "" if value is None else value
