"""The figures of the system page."""

import pytest
from django.db import connection

from delivery.operations.system import get_database_info

pytestmark = pytest.mark.django_db


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has no WAL file of ours")
def test_the_size_of_sqlite_includes_its_write_ahead_log(tmp_path, monkeypatch):
    name = tmp_path / "penstock.sqlite3"
    monkeypatch.setitem(connection.settings_dict, "NAME", str(name))
    assert get_database_info().size is None
    name.write_bytes(b"x" * 100)
    (tmp_path / "penstock.sqlite3-wal").write_bytes(b"x" * 900)
    assert get_database_info().size == 1_000
