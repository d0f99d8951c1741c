"""The system checks, which run before anything starts and name the fix for each problem."""

import os
import sqlite3
import subprocess
import sys

import pytest
from django.core.checks import run_checks

from delivery.checks import RANGES
from integrations.checks import secrets_keys_are_usable, sqlite_is_new_enough
from tests.support.processes import ROOT

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


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"SECRET_KEY": "short"}, ["E018"]),
        ({"SECRET_KEY": "ab" * 30}, ["E018"]),
        ({"TRUSTED_PROXIES": ["10.0.0.0/8", "fd00::/8", "192.168.1.7"]}, []),
        ({"TRUSTED_PROXIES": ["10.0.0.7", "proxy.example"]}, ["E020"]),
        ({"TRUSTED_PROXIES": ["0.0.0.0/0"]}, ["E019"]),
        ({"TRUSTED_PROXIES": ["::/0"]}, ["E019"]),
        ({"ALLOWED_NETWORKS": ["10.0.0.0/8", "fd00::/8", "192.168.1.7"]}, []),
        ({"ALLOWED_NETWORKS": ["intern.example"]}, ["E016"]),
        ({"DEBUG": True}, []),
        ({"DEBUG": True, "WEB_BIND": "[::1]:80", "ALLOWED_HOSTS": ["shop.localhost"]}, []),
        ({"DEBUG": True, "WEB_BIND": "0.0.0.0:8084"}, ["E021"]),
        ({"DEBUG": True, "ALLOWED_HOSTS": ["penstock.example"]}, ["E021"]),
        ({"ALARM_EMAILS": ["ops"], "EMAIL_URL": "smtp://mail:25"}, ["E010"]),
        ({"ALARM_EMAILS": ["ops@shop.example"]}, ["E011"]),
        ({"ALARM_EMAILS": ["ops@shop.example"], "EMAIL_URL": "smtp://mail:25"}, []),
        ({"ALARM_WEBHOOK_URL": "hooks.example"}, ["E012"]),
        ({"ALARM_WEBHOOK_URL": "https://[hooks"}, ["E012"]),
        ({"ALARM_WEBHOOK_URL": "https://hooks.example"}, ["W013"]),
        *(
            ({name: value}, [] if is_fine else ["E014"])
            for name, value, is_fine in (
                ("WEB_WORKERS", 0, False),
                ("WEB_THREADS", 1, True),
                ("AXES_FAILURE_LIMIT", 0, False),
                ("RATE_LIMIT", 0, True),
                ("KEEP_EVENTS_DAYS", -1.0, False),
                ("KEEP_AUDIT_DAYS", 1e9, False),
                ("ALARM_QUEUED_MINUTES", -1.0, False),
                ("ALARM_FAILURE_PERCENT", 120.0, False),
                ("CLUSTER_NICE", -1, False),
                ("CLUSTER_NICE", 19, True),
                ("CLUSTER_NICE", 20, False),
            )
        ),
    ],
)
def test_settings_that_cannot_work_are_named_with_the_fix(settings, changes, found):
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]  # pytest adds testserver
    for name, value in changes.items():
        setattr(settings, name, value)
    problems = [each for each in run_checks() if each.id.startswith("penstock.")]
    assert [each.id for each in problems] == [f"penstock.{each}" for each in found]
    assert all(each.hint for each in problems)
    names = " ".join(changes).replace("AXES_FAILURE_LIMIT", "LOGIN_FAILURES").split()
    assert all(any(name in each.msg for name in (*names, "webhook")) for each in problems)


@pytest.mark.parametrize("each", RANGES, ids=lambda each: each.setting)
def test_every_number_with_limits_is_a_setting_of_the_example(each):
    name = each.variable or f"PENSTOCK_{each.setting}"
    assert f"# {name}=" in (ROOT / ".env.example").read_text()


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"PENSTOCK_WEB_WORKERS": "two"}, "PENSTOCK_WEB_WORKERS is 'two', which is not a whole"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY is too easy to guess: it has 5 characters"),
    ],
)
def test_the_command_names_them(setting, named):
    command = [sys.executable, "manage.py", "check"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **setting}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert named in done.stderr
