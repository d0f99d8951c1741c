"""Create the groups of the roles; give existing tokens the scope that keeps them working."""

from django.db import migrations

from integrations.access.groups import sync_role_groups


def forward(apps, schema_editor):
    sync_role_groups(apps)
    apps.get_model("integrations.ApiToken").objects.filter(scopes=[]).update(scopes=["admin"])


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("integrations", "0002_tokens_audit_idempotency"),
    ]

    operations = [migrations.RunPython(forward, migrations.RunPython.noop)]
