"""The system checks, which run before anything starts and name the fix for each problem."""

import re
import sqlite3
import subprocess
import sys

import pytest
from django.core.checks import run_checks

from delivery.checks import RANGES
from integrations.checks import secrets_keys_are_usable, sqlite_is_new_enough
from tests.support.processes import ROOT, without_options

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
        ({"SECRET_KEY_FALLBACKS": ["0123456789" * 4, "short"]}, ["E018"]),
        ({"TRUSTED_PROXIES": ["10.0.0.0/8", "fd00::/8", "192.168.1.7"]}, []),
        ({"TRUSTED_PROXIES": ["10.0.0.7", "proxy.example"]}, ["E020"]),
        ({"TRUSTED_PROXIES": ["0.0.0.0/0"]}, ["E019"]),
        ({"TRUSTED_PROXIES": ["::/0"]}, ["E019"]),
        ({"ALLOWED_NETWORKS": ["10.0.0.0/8", "fd00::/8", "192.168.1.7"]}, []),
        ({"ALLOWED_NETWORKS": ["intern.example"]}, ["E016"]),
        ({"METRICS_NETWORKS": ["10.0.0.7", "prometheus.example"]}, ["E022"]),
        ({"METRICS_TOKEN": "short"}, ["E023"]),
        ({"METRICS_TOKEN": "0123456789" * 4}, []),
        ({"HTTPS": True}, ["E032"]),
        ({"HTTPS": True, "TRUSTED_PROXIES": ["10.0.0.7"]}, []),
        ({"DEBUG": True}, []),
        ({"DEBUG": True, "WEB_BIND": "[::1]:80", "ALLOWED_HOSTS": ["shop.localhost"]}, []),
        ({"DEBUG": True, "WEB_BIND": "0.0.0.0:8084"}, ["E021"]),
        ({"DEBUG": True, "ALLOWED_HOSTS": ["penstock.example"]}, ["E021"]),
        ({"WEB_BIND": "8084"}, ["E033"]),
        ({"WEB_BIND": "localhost:65536"}, ["E033"]),
        ({"SANDBOX_URL": "127.0.0.1:8085"}, ["E034"]),
        ({"SANDBOX_URL": "http://localhost:x"}, ["E034"]),
        ({"SANDBOX_URL": ""}, []),
        ({"DEFAULT_FROM_EMAIL": "penstock"}, ["E035"]),
        ({"DEFAULT_FROM_EMAIL": "Penstock <ops@shop.example>"}, []),
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
    names = " ".join(changes).replace("AXES_FAILURE_LIMIT", "LOGIN_FAILURES")
    names = names.replace("DEFAULT_", "").replace("SECRET_KEY_FALLBACKS", "OLD_SECRET_KEYS").split()
    assert all(any(name in each.msg for name in (*names, "webhook")) for each in problems)


@pytest.mark.parametrize("each", RANGES, ids=lambda each: each.setting)
def test_every_number_with_limits_is_a_setting_of_the_example(each):
    name = each.variable or f"PENSTOCK_{each.setting}"
    assert f"# {name}=" in (ROOT / ".env.example").read_text()


def test_every_number_has_limits():
    source = (ROOT / "config/settings.py").read_text()
    numbers = re.findall(r"^(?:    )?([A-Z_]+) = env\.(?:int|float)\(", source, re.MULTILINE)
    assert len(numbers) == source.count("env.int(") + source.count("env.float(")
    assert set(numbers) == {each.setting for each in RANGES}


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("PENSTOCK_WEB_WORKER", "Did you mean PENSTOCK_WEB_WORKERS?"),
        ("PENSTOCK_OLD_SECRET_KEYS_FIL", "Did you mean PENSTOCK_OLD_SECRET_KEYS_FILE?"),
        ("PENSTOCK_QQ", "Or remove it"),
    ],
)
def test_a_variable_that_nothing_reads_is_told_with_the_nearest_name(monkeypatch, variable, hint):
    monkeypatch.setenv(variable, "1")
    [problem] = [each for each in run_checks() if each.id == "penstock.W031"]
    assert problem.msg.startswith(f"{variable} is not a setting")
    assert problem.hint.startswith(hint)


COMMANDS = {
    "check": ("manage.py", "check"),
    "a command without checks": ("manage.py", "shell", "-c", "1"),
    "the web server": ("-c", "import config.rsgi"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_settings_that_cannot_be_read_are_named_at_once_with_all_others(command, tmp_path):
    wrong = {
        "SECRET_KEY": "",
        "PENSTOCK_SECRETS_KEYS_FILE": str(tmp_path / "keys"),
        "PENSTOCK_WEB_WORKERS": "two",
        "PENSTOCK_WEB_THREADS": "0",
        "LOG_LEVEL": "LOUD",
        "PENSTOCK_WEB_THREAD": "4",
    }
    done = run(command, wrong)
    assert done.returncode == 1
    named = re.findall(r"\(penstock\.([EW]\d+)\) (\w+)", done.stderr)
    assert sorted(named) == [
        ("E014", "PENSTOCK_WEB_THREADS"),
        ("E030", "LOG_LEVEL"),
        ("E030", "PENSTOCK_SECRETS_KEYS"),  # both, the key and the file, are set
        ("E030", "PENSTOCK_WEB_WORKERS"),
        ("E030", "SECRET_KEY"),
        ("W031", "PENSTOCK_WEB_THREAD"),
    ]
    assert done.stderr.count("HINT: ") == len(named)


def test_the_command_names_a_value_that_cannot_work():
    done = run(COMMANDS["check"], {"SECRET_KEY": "short"})
    assert done.returncode == 1
    assert "SECRET_KEY is too easy to guess: it has 5 characters" in done.stderr


def run(command, setting):
    env = {**without_options(), **setting}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True
    )
