"""Bodies: what events and refused messages hold, what was sent for them and answered.

Who may see them sees them. Who may only reveal them asks for one row at a time, and each time is in
the audit log. Everybody else sees what lists show: states, times, ids, names, codes, errors.
"""

from typing import Any

from django.db.models import Model

from integrations.access import audit
from integrations.roles import VIEW_BODIES_PERMISSION

BODIES_HIDDEN_TEXT = (
    "Bodies are shown to operators. Your role sees states, times, ids, names and errors."
)


def may_see_bodies(user: Any) -> bool:
    """Say whether a user sees bodies without asking for each."""
    return bool(user.has_perm(VIEW_BODIES_PERMISSION))


def record_reveal(about: Model) -> None:
    """Write down that the bodies of a delivery, event, attempt or rejection are shown."""
    audit.record(f"{about._meta.model_name}.revealed", about)
