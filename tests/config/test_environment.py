"""Settings are what was written, in the environment and in `.env`, or are refused by name."""

import json
import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.environment import Environment
from tests.support.processes import ROOT


@pytest.fixture
def environment():
    class Own(Environment):
        ENVIRON: dict[str, str] = {}

    return Own()


@pytest.fixture(params=["environment", ".env"])
def write(request, environment, tmp_path):
    """A function that writes a setting into the environment or into `.env`."""

    def write(text):
        if request.param == "environment":
            environment.ENVIRON["SETTING"] = text
        else:
            (tmp_path / ".env").write_text(f"SETTING={text}\n")
            environment.read_env(tmp_path / ".env")

    return write


@pytest.mark.parametrize(
    "text", ["$ecret", r"\$ecret", "a$b", "$$", "$", "${PATH}", "$PATH", r"a\b", "a=b#c", "%40"]
)
def test_a_text_is_read_as_written(environment, write, text):
    write(text)
    assert environment.str("SETTING", default="the default") == text
    assert environment.list("SETTING", default=["the default"]) == [text]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "7", 7),
        ("int", "1_000", 1_000),
        ("int", "-1", -1),
        ("float", "1e3", 1_000.0),
        ("float", "0.5", 0.5),
        ("bool", "True", True),
        ("bool", "on", True),
        ("bool", "0", False),
        ("bool", "No", False),
        ("list", "a, $b,,c ", ["a", "$b", "c"]),
        *((kind, "", "the default") for kind in ("int", "float", "bool", "list")),
        ("str", "", ""),
    ],
)
def test_a_value_is_what_it_says(environment, write, kind, text, value):
    write(text)
    assert getattr(environment, kind)("SETTING", default="the default") == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("int", text) for text in ("$7", "two", "7.5", "7 days")),
        *(("float", text) for text in ("$7", "7 days", "1,5", "nan", "inf")),
        *(("bool", text) for text in ("$true", "ture", "enabled", "2")),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_by_name(environment, write, kind, text):
    write(text)
    with pytest.raises(ImproperlyConfigured) as refused:
        getattr(environment, kind)("SETTING", default="the default")
    assert str(refused.value).startswith(f"SETTING is '{text}', which is not ")


def test_a_setting_that_is_required_and_missing_is_named(environment):
    with pytest.raises(ImproperlyConfigured, match="Set SETTING in .env"):
        environment.str("SETTING")


def test_a_choice_is_one_of_the_choices(environment, write):
    write("LOUD")
    with pytest.raises(ImproperlyConfigured, match="SETTING is 'LOUD'. Use one of INFO, ERROR"):
        environment.choice("SETTING", ("INFO", "ERROR"), default="INFO")


@pytest.mark.parametrize("url", ["redis://:$ecret@host:6379/0", r"redis://:\$a$b@host", ""])
def test_a_url_is_read_as_written(environment, write, url):
    write(url)
    assert environment.url_text("SETTING", ("redis",), default="") == url


@pytest.mark.parametrize("url", ["redis:6379", "http://:s3cret@host", "redis://:s3cret@host:x/0"])
def test_a_url_that_is_none_is_refused_without_its_password(environment, write, url):
    write(url)
    with pytest.raises(ImproperlyConfigured, match="SETTING is not a URL that begins") as refused:
        environment.url_text("SETTING", ("redis",), default="")
    assert "s3cret" not in str(refused.value)


def test_the_settings_have_what_was_written():
    script = (
        "import json; from config import settings as s; print(json.dumps([s.SECRET_KEY, "
        "s.ALARM_WEBHOOK_SECRET, s.DATABASES['default']['PASSWORD'], s.EMAIL_HOST_PASSWORD, "
        "s.BROKER_URL]))"
    )
    written = {
        "SECRET_KEY": "$key",
        "PENSTOCK_ALARM_WEBHOOK_SECRET": r"\$webhook",
        "DATABASE_URL": "postgres://user:$database@host/name",
        "EMAIL_URL": "smtp://user:$mail@host:25",
        "BROKER_URL": "redis://:$broker@host/0",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, env={**os.environ, **written}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == [
        "$key", r"\$webhook", "$database", "$mail", "redis://:$broker@host/0",
    ]  # fmt: skip
