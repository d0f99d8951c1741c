"""The system checks, which run before anything starts and name the fix for each problem."""

import sqlite3

import pytest

from delivery.checks import check_allowed_networks, check_cluster_nice
from integrations.checks import secrets_keys_are_usable, sqlite_is_new_enough

SQLITE, POSTGRESQL = "django.db.backends.sqlite3", "django.db.backends.postgresql"


@pytest.mark.parametrize(("keys", "found"), [([], "E001"), (["no key"], "E002")])
def test_keys_that_cannot_seal_are_named(settings, keys, found):
    settings.SECRETS_KEYS = keys
    [error] = secrets_keys_are_usable()
    assert error.id == f"penstock.{found}"
    assert "Generate one with" in error.hint


def test_usable_keys_are_fine():
    assert secrets_keys_are_usable() == []


@pytest.mark.parametrize(
    ("engine", "version", "ids"),
    [
        (SQLITE, (3, 34, 1), ["penstock.E003"]),
        (SQLITE, (3, 35, 0), []),
        (POSTGRESQL, (3, 34, 1), []),
    ],
)
def test_an_old_sqlite_is_named_where_it_would_be_used(settings, monkeypatch, engine, version, ids):
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", engine)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    assert [error.id for error in sqlite_is_new_enough()] == ids


def test_a_network_that_is_none_is_named(settings):
    settings.ALLOWED_NETWORKS = ["10.0.0.0/8", "fd00::/8", "192.168.1.7", "intern.example"]
    [error] = check_allowed_networks()
    assert (error.id, "intern.example" in error.msg) == ("penstock.E016", True)


@pytest.mark.parametrize(("nice", "ids"), [(-1, ["E017"]), (0, []), (19, []), (20, ["E017"])])
def test_a_niceness_that_there_is_not_is_named(settings, nice, ids):
    settings.CLUSTER_NICE = nice
    assert [error.id for error in check_cluster_nice()] == [f"penstock.{each}" for each in ids]
