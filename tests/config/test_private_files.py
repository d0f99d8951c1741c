"""Nobody else on the machine can read the events."""

import os
import sqlite3
import subprocess
import sys

import pytest

from config.private_files import make_private_database, make_private_folder
from tests.support.processes import ROOT


@pytest.fixture(autouse=True)
def _open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path):
    return oct(path.stat().st_mode & 0o777)


@pytest.mark.parametrize("existed", [False, True])
def test_the_folder_is_private(tmp_path, existed):
    folder = tmp_path / "var"
    if existed:
        folder.mkdir(0o755)
    make_private_folder(folder)
    assert mode(folder) == "0o700"


FILES = ("penstock.sqlite3", "penstock.sqlite3-wal", "penstock.sqlite3-shm")


def test_every_file_of_the_database_is_private(tmp_path):
    make_private_database(tmp_path / "penstock.sqlite3")
    database = sqlite3.connect(tmp_path / "penstock.sqlite3")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE event (id)")
    modes = {each.name: mode(each) for each in tmp_path.iterdir()}
    database.close()
    assert modes == dict.fromkeys(FILES, "0o600")


def test_files_of_an_earlier_version_become_private(tmp_path):
    for name in FILES:
        (tmp_path / name).touch(0o644)
    make_private_database(tmp_path / "penstock.sqlite3")
    assert {each.name: mode(each) for each in tmp_path.iterdir()} == dict.fromkeys(FILES, "0o600")


def test_a_database_in_another_place_is_private_too(tmp_path):
    file = tmp_path / "other.sqlite3"
    subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        cwd=ROOT, env={**os.environ, "DATABASE_URL": f"sqlite:///{file}"}, check=True,
    )  # fmt: skip
    assert mode(file) == "0o600"
    assert mode(ROOT / "var") == "0o700"


def test_a_database_that_cannot_be_made_stops_nothing_here(tmp_path):
    make_private_database(tmp_path / "missing" / "penstock.sqlite3")
