"""Scopes of tokens, roles of users, and the permissions behind both.

A scope limits what a token may be used for; a role limits what a user may do. A call needs both.
Roles are Django groups, so that the admin's pages use the same permissions.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token may be used for.

    permission   the Django permission that the token's user must have; "" for `admin`
    """

    name: str
    permission: str
    description: str


SCOPES = {
    each.name: each
    for each in (
        Scope("catalog:read", "integrations.view_installation", "See what can be installed."),
        Scope("installations:read", "integrations.view_installation", "See installations."),
        Scope("installations:write", "integrations.change_installation", "Install and change."),
        Scope("sources:read", "integrations.view_source", "See sources and their write keys."),
        Scope("sources:write", "integrations.change_source", "Create and change sources."),
        Scope("deliveries:read", "delivery.view_delivery", "Read the log and the metrics."),
        Scope("deliveries:replay", "delivery.change_delivery", "Deliver again, replay, backfill."),
        Scope("events:read", "delivery.view_event", "Read events and rejections."),
        Scope("users:read", "auth.view_user", "See users and tokens."),
        Scope("users:write", "auth.change_user", "Create and change users and tokens."),
        Scope("audit:read", "integrations.view_auditentry", "Read the audit log."),
        Scope("admin", "", "Everything that the token's user may do."),
    )
}

# --- permissions, named as in the matrix of roles ------------------------------------------------

VIEW_PERMISSIONS = frozenset(
    {
        "integrations.view_installation",
        "integrations.view_revision",
        "integrations.view_source",
        "integrations.view_webhooksource",
        "delivery.view_attempt",
        "delivery.view_delivery",
        "delivery.view_event",
        "delivery.view_incident",
        "delivery.view_rejection",
        "delivery.view_replay",
    }
)
INTEGRATION_PERMISSIONS = frozenset(
    {
        "integrations.add_installation",
        "integrations.change_installation",
        "integrations.add_revision",
    }
)
UNINSTALL_PERMISSIONS = frozenset({"integrations.delete_installation"})
SOURCE_PERMISSIONS = frozenset(
    f"integrations.{verb}_{model}"
    for verb in ("add", "change")
    for model in ("source", "webhooksource")
)
REPLAY_PERMISSIONS = frozenset(
    {"delivery.change_delivery", "delivery.add_replay", "delivery.change_replay"}
)
# Bodies: of events, rejected messages, requests and responses, and the notes on them.
VIEW_BODIES_PERMISSION = "delivery.view_eventbody"
REVEAL_BODIES_PERMISSION = "delivery.reveal_eventbody"  # one row at a time, each in the audit log
VIEW_BODIES_PERMISSIONS = frozenset({VIEW_BODIES_PERMISSION})
REVEAL_BODIES_PERMISSIONS = frozenset({REVEAL_BODIES_PERMISSION})
AUDIT_PERMISSIONS = frozenset({"integrations.view_auditentry"})
USER_PERMISSIONS = frozenset(
    {
        *(f"auth.{verb}_user" for verb in ("view", "add", "change")),
        *(f"integrations.{verb}_apitoken" for verb in ("view", "add", "change")),
    }
)


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    description: str
    permissions: frozenset[str]


# As in the product that Penstock mirrors (its page management-api/users, seen 2026-11), for the
# features that exist here. The page says that three roles read the audit log, but not which.
ROLES = {
    each.name: each
    for each in (
        Role(
            "org_admin",
            "Everything, including users and tokens.",
            VIEW_PERMISSIONS
            | VIEW_BODIES_PERMISSIONS
            | INTEGRATION_PERMISSIONS
            | UNINSTALL_PERMISSIONS
            | SOURCE_PERMISSIONS
            | REPLAY_PERMISSIONS
            | AUDIT_PERMISSIONS
            | USER_PERMISSIONS,
        ),
        Role(
            "source_admin",
            "Sources and integrations, and the audit log.",
            VIEW_PERMISSIONS
            | VIEW_BODIES_PERMISSIONS
            | INTEGRATION_PERMISSIONS
            | UNINSTALL_PERMISSIONS
            | SOURCE_PERMISSIONS
            | REPLAY_PERMISSIONS
            | AUDIT_PERMISSIONS,
        ),
        Role(
            "source_editor",
            "Creates and edits integrations, and delivers again.",
            VIEW_PERMISSIONS
            | VIEW_BODIES_PERMISSIONS
            | INTEGRATION_PERMISSIONS
            | REPLAY_PERMISSIONS,
        ),
        Role(
            "source_viewer",
            "Views everything except bodies, users and the audit log.",
            VIEW_PERMISSIONS,
        ),
        Role(
            "data_governance_admin",
            "Edits integrations, reads the audit log, and reveals bodies one at a time.",
            VIEW_PERMISSIONS
            | REVEAL_BODIES_PERMISSIONS
            | INTEGRATION_PERMISSIONS
            | AUDIT_PERMISSIONS,
        ),
    )
}


def scopes_include(scopes: Iterable[str], needed: str) -> bool:
    """Return whether these scopes include the needed one; `write` includes `read`."""
    subject, _, verb = needed.partition(":")
    write_scope = f"{subject}:write" if verb == "read" else needed
    return not {"admin", needed, write_scope}.isdisjoint(scopes)


def permissions_include(own: Collection[str], needed: Collection[str]) -> bool:
    """Return whether these permissions include the needed ones; viewing bodies includes revealing.

    Revealing means viewing one body at a time, so that it is the lesser permission.
    """
    implied = REVEAL_BODIES_PERMISSIONS if VIEW_BODIES_PERMISSION in own else frozenset()
    return set(needed) <= {*own, *implied}


def scopes_of_role(role: str | None) -> list[str]:
    """Return the scopes whose permission a role has: what a login of such a user may do."""
    permissions = ROLES[role].permissions if role in ROLES else frozenset()
    return [scope.name for scope in SCOPES.values() if scope.permission in permissions]


def get_role(user: Any) -> str | None:
    """Return the first of a user's roles, or None; a superuser needs none."""
    names = {group.name for group in user.groups.all()}
    return next((role for role in ROLES if role in names), None)
