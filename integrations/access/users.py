"""Create, change and deactivate the users who manage Penstock, each with at most one role."""

import secrets
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from integrations.access import audit, login_limits, logins
from integrations.access.groups import sync_role_groups
from integrations.models import ApiToken
from integrations.roles import ROLES, get_role, permissions_include

USER_COLUMNS = {
    "username": "username",
    "email": "email",
    "name": "first_name",
    "is_active": "is_active",
}


def users_with_groups() -> Any:
    """Return users with every related object that the API shows."""
    return User.objects.prefetch_related("groups")


def outranks(user: User, by: User) -> bool:
    """Return whether `user` may do something that `by` may not, also while `user` is inactive."""
    if by.is_superuser or user.is_superuser:
        return not by.is_superuser
    granted = Permission.objects.filter(Q(group__user=user) | Q(user=user))
    names = {_name(each) for each in granted.select_related("content_type")}
    return not permissions_include(by.get_all_permissions(), names)


def groups_within(user: User) -> list[int]:
    """Return the ids of the groups that may do nothing that `user` may not."""
    own = user.get_all_permissions()
    return [
        group.pk
        for group in Group.objects.prefetch_related("permissions__content_type")
        if permissions_include(own, {_name(each) for each in group.permissions.all()})
    ]


def _name(permission: Permission) -> str:
    return f"{permission.content_type.app_label}.{permission.codename}"


def create_user(values: Mapping[str, Any], *, by: User) -> tuple[User, str]:
    """Create a user and return it with its password, which is generated if none is given.

    Raises ValidationError by field, PermissionDenied.
    """
    _check_may_give(values.get("role"), by)
    password = values.get("password") or secrets.token_urlsafe(12)
    user = User(is_staff=True)
    with transaction.atomic():
        _apply_values(user, {**values, "password": password})
        audit.record("user.invited", user, {}, _audit_values(user))
    return user, password


def change_user(user: User, values: Mapping[str, Any], *, by: User) -> None:
    """Change the given values of a user. Raises ValidationError by field, PermissionDenied."""
    _check_may_change(user, by, values)
    _check_may_give(values.get("role"), by)
    _check_knows_password(user, by, values)
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=user.pk)
        old = _audit_values(user)
        _apply_values(user, values)
        if "password" in values or not user.is_active:
            logins.log_out_everywhere(user, timezone.now())
        audit.record("user.updated", user, old, _audit_values(user))


def deactivate_user(user: User, *, by: User) -> None:
    """Deactivate a user and revoke their tokens. The row stays, because the log refers to it."""
    _check_may_change(user, by, {"is_active": False})
    with transaction.atomic():
        now = timezone.now()
        User.objects.filter(pk=user.pk).update(is_active=False)
        ApiToken.objects.filter(user=user, revoked_at=None).update(revoked_at=now)
        logins.log_out_everywhere(user, now)
        audit.record("user.deleted", user, {"is_active": True}, {"is_active": False})


def _check_may_change(user: User, by: User, values: Mapping[str, Any]) -> None:
    """Raise PermissionDenied if the change would escalate rights, or lock the caller out."""
    if outranks(user, by):
        raise PermissionDenied("This user may do more than you, so you cannot change them.")
    if user.pk == by.pk and (values.get("is_active") is False or "role" in values):
        raise PermissionDenied(
            "You cannot change your own role or deactivate yourself. Ask another org_admin."
        )


def _check_may_give(role: str | None, by: User) -> None:
    if role not in ROLES or by.is_superuser:
        return
    if not permissions_include(by.get_all_permissions(), ROLES[role].permissions):
        raise PermissionDenied(f"The role {role} may do more than you, so you cannot give it.")


def _check_knows_password(user: User, by: User, values: Mapping[str, Any]) -> None:
    """Raise ValidationError if the caller's own password would change without the current one.

    Otherwise, a stolen access token would be enough to take over the account for good. Raises
    TooManyLogins after many guesses.
    """
    if user.pk != by.pk or "password" not in values:
        return
    current = values.get("current_password", "")
    login_limits.take_attempt(f"user:{user.pk}")  # the thief of an access token may guess
    if not user.check_password(current):
        problem = (
            "This is not your current password."
            if current
            else "Required to change your own password."
        )
        raise ValidationError({"current_password": problem})


def _apply_values(user: User, values: Mapping[str, Any]) -> None:
    """Set and save the given values. Raises ValidationError by field."""
    for name, column in USER_COLUMNS.items():
        if name in values:
            setattr(user, column, values[name])
    if values.get("password"):
        _set_password(user, values["password"])
    user.full_clean(exclude=["password"])
    user.save()
    if "role" in values:
        _set_role(user, values["role"])


def _set_password(user: User, password: str) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise ValidationError({"password": error.messages}) from None
    user.set_password(password)


def _set_role(user: User, role: str | None) -> None:
    """Replace a user's role with this one; groups that are not roles stay."""
    if role is not None and role not in ROLES:
        raise ValidationError({"role": f"Must be one of: {', '.join(ROLES)}."})
    user.groups.remove(*Group.objects.filter(name__in=ROLES))
    if role is not None:
        if not Group.objects.filter(name=role).exists():
            sync_role_groups()
        user.groups.add(Group.objects.get(name=role))


def _audit_values(user: User) -> dict[str, Any]:
    values = {name: getattr(user, column) for name, column in USER_COLUMNS.items()}
    return {**values, "password": user.password, "role": get_role(user)}
