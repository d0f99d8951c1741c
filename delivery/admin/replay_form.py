"""The form for a new replay, with the widgets of the admin theme."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from delivery.replay.form import ReplayForm


class ReplayAdminForm(ReplayForm):
    """The replay form of the API, with different widgets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            plain = field.widget
            if isinstance(plain, forms.TextInput):
                field.widget = UnfoldAdminTextInputWidget(plain.attrs)
            elif isinstance(plain, forms.Select):
                field.widget = UnfoldAdminSelectWidget(plain.attrs, plain.choices)
            field.widget.is_required = field.required
