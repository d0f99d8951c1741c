"""Vacuum the tables that change most often enough: PostgreSQL's defaults wait for a fifth of a
table to be dead, which is millions of rows of a log and thousands of versions of one lane.

Source: https://www.postgresql.org/docs/current/routine-vacuuming.html (seen 2026-11).
"""

from django.db import migrations

# a little at a time: after 2 % of the rows have changed, or 5 % are new
LOG = {
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_vacuum_cost_limit": "1000",
}
# their large texts stand in a table of their own, which is vacuumed by its own settings
TOAST = {
    "toast.autovacuum_vacuum_scale_factor": "0.02",
    "toast.autovacuum_vacuum_threshold": "5000",
    "toast.autovacuum_vacuum_cost_limit": "1000",
}
# few rows, each written all the time; free room on the page lets a change stay on it
HOT = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "200",
    "autovacuum_vacuum_cost_delay": "0",
    "fillfactor": "50",
}
SETTINGS = {
    **dict.fromkeys(
        ("delivery_delivery", "delivery_event", "delivery_carried", "delivery_attempt",
         "delivery_tally", "delivery_replayed"),
        LOG,
    ),
    **dict.fromkeys(("delivery_eventbody", "delivery_attemptbody"), LOG | TOAST),
    **dict.fromkeys(("delivery_lane", "delivery_heartbeat", "delivery_replay"), HOT),
    "delivery_bucket": HOT | {"autovacuum_vacuum_scale_factor": "0.05"},
}  # fmt: skip


def vacuum_often(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    for table, settings in SETTINGS.items():
        given = ", ".join(f"{name} = {value}" for name, value in settings.items())
        schema_editor.execute(f"ALTER TABLE {table} SET ({given})")


def vacuum_as_usual(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    for table, settings in SETTINGS.items():
        schema_editor.execute(f"ALTER TABLE {table} RESET ({', '.join(settings)})")


class Migration(migrations.Migration):
    dependencies = [("delivery", "0007_carried_items")]

    operations = [migrations.RunPython(vacuum_often, vacuum_as_usual)]
