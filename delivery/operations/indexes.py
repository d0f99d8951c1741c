"""Finds and rebuilds invalid indexes, and lists migrations that are not applied."""

from collections.abc import Iterator

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

INVALID_INDEXES_SQL = """
    SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT i.indisvalid AND n.nspname = ANY(current_schemas(false))
    AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid)
    ORDER BY c.relname
"""


def invalid_indexes() -> list[str]:
    """Return the indexes left by interrupted builds, without those being built now."""
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(INVALID_INDEXES_SQL)
        return [name for (name,) in cursor.fetchall()]


def rebuild_indexes() -> Iterator[str]:
    """Rebuild invalid indexes without blocking writes; yield a sentence about each.

    While migrations are unapplied, an invalid index is dropped instead, because the migration that
    creates it would fail on an existing name. The leftovers of an interrupted REINDEX are dropped.
    """
    to_come = bool(unapplied_migrations())
    for name in invalid_indexes():
        left_over = name.endswith(("_ccnew", "_ccold"))
        verb = "DROP" if to_come or left_over else "REINDEX"
        with connection.cursor() as cursor:
            cursor.execute(f"{verb} INDEX CONCURRENTLY {connection.ops.quote_name(name)}")
        yield f"{name} was {'rebuilt' if verb == 'REINDEX' else 'dropped'}."
    if to_come:
        yield "Now run `manage.py migrate`."


def unapplied_migrations() -> list[str]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [str(migration) for migration, _ in plan]
