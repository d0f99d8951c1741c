"""Access to bodies: events, rejected messages, requests and responses.

Users with the permission see bodies everywhere. Users who may only reveal them ask for one row at
a time, and each reveal is in the audit log. All others see what lists show: states, times, ids,
names, codes and errors.
"""

from typing import Any

from django.db.models import Model

from integrations.access import audit
from integrations.roles import VIEW_BODIES_PERMISSION

BODIES_HIDDEN_TEXT = (
    "Only operators can see bodies. Your role can see states, times, ids, names and errors."
)


def may_see_bodies(user: Any) -> bool:
    """Return whether a user sees bodies without revealing each."""
    return bool(user.has_perm(VIEW_BODIES_PERMISSION))


def record_reveal(about: Model) -> None:
    """Record in the audit log that the bodies of this row were revealed."""
    audit.record(f"{about._meta.model_name}.revealed", about)
