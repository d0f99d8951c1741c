"""Roles as Django groups."""

from typing import Any

from django.apps import apps as installed

from integrations.roles import ROLES


def sync_role_groups(apps: Any = installed) -> None:
    """Create the groups of the roles, and add missing permissions to them.

    apps   the app registry, historical in a migration. Permissions that do not exist yet, also of
           models that a later migration adds, are created here as Django would create them
    """
    for role in ROLES.values():
        group, _ = apps.get_model("auth.Group").objects.get_or_create(name=role.name)
        group.permissions.add(
            *(_get_or_create_permission(apps, each) for each in sorted(role.permissions))
        )


def _get_or_create_permission(apps: Any, name: str) -> Any:
    app, codename = name.split(".")
    verb, model = codename.split("_", 1)
    models = apps.get_model("contenttypes.ContentType").objects
    content_type, _ = models.get_or_create(app_label=app, model=model)
    permission, _ = apps.get_model("auth.Permission").objects.get_or_create(
        content_type=content_type, codename=codename, defaults={"name": f"Can {verb} {model}"}
    )
    return permission
