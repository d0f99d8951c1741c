"""Settings are what was written, in the environment and in `.env`, or are refused by name."""

import json
import os
import subprocess
import sys

import pytest

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
    getattr(environment, kind)("SETTING", default="the default")
    assert environment.problems["SETTING"].startswith(f"SETTING is '{text}', which is not ")


@pytest.mark.parametrize("given", [{}, {"SETTING": ""}])
@pytest.mark.parametrize("kind", ["str", "list"])
def test_a_setting_that_is_required_and_missing_is_named(environment, given, kind):
    environment.ENVIRON.update(given)
    getattr(environment, kind)("SETTING")
    assert environment.problems == {"SETTING": "SETTING is required and not set."}


def test_a_choice_is_one_of_the_choices(environment, write):
    write("LOUD")
    environment.choice("SETTING", ("INFO", "ERROR"), default="INFO")
    assert environment.problems == {"SETTING": "SETTING is 'LOUD'. Use one of INFO, ERROR."}


@pytest.mark.parametrize("url", ["redis://:$ecret@host:6379/0", r"redis://:\$a$b@host", ""])
def test_a_url_is_read_as_written(environment, write, url):
    write(url)
    assert environment.url_text("SETTING", ("redis",), default="") == url


@pytest.mark.parametrize("url", ["redis:6379", "http://:s3cret@host", "redis://:s3cret@host:x/0"])
def test_a_url_that_is_none_is_refused_without_its_password(environment, write, url):
    write(url)
    environment.url_text("SETTING", ("redis",), default="")
    assert environment.problems["SETTING"].startswith("SETTING is not a URL that begins")
    assert "s3cret" not in environment.problems["SETTING"]


def test_a_secret_is_read_from_a_file_without_the_newline_at_its_end(environment, tmp_path):
    (tmp_path / "secret").write_bytes(b" $ecret,b \r\n")
    environment.ENVIRON.update(SETTING="", SETTING_FILE=str(tmp_path / "secret"))
    assert environment.secret("SETTING") == " $ecret,b "
    assert environment.secret("SETTING", list) == ["$ecret", "b"]
    (tmp_path / "secret").write_text("redis://:s3cret@host")
    assert environment.url_text("SETTING", ("redis",), default="") == "redis://:s3cret@host"
    assert environment.problems == {}


@pytest.mark.parametrize(
    ("content", "also", "problem"),
    [
        (None, "", "SETTING_FILE: PATH cannot be read: No such file or directory."),
        (b"\n", "", "SETTING_FILE: PATH is empty."),
        (b"\xff", "", "SETTING_FILE: PATH is not a text in UTF-8."),
        (b"a", "b", "SETTING and SETTING_FILE are both set. Remove one of them."),
    ],
)
def test_a_file_that_gives_no_secret_is_named(environment, tmp_path, content, also, problem):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    environment.ENVIRON.update(SETTING=also, SETTING_FILE=str(path))
    environment.secret("SETTING", default="")
    assert environment.problems == {"SETTING": problem.replace("PATH", str(path))}


def test_only_secrets_are_read_from_files(environment):
    environment.ENVIRON.update(SETTING_FILE="/nowhere")
    assert environment.str("SETTING", default="the default") == "the default"


def test_what_looks_like_a_setting_and_is_none_is_unknown(environment):
    read = ("PENSTOCK_A", "PENSTOCK_KEY_FILE")
    of_services = ("PENSTOCK_PORT", "PENSTOCK_WEB_SERVICE_HOST", "PENSTOCK_PORT_80_TCP_ADDR")
    unknown = ("PENSTOCK_A_FILE", "PENSTOCK_B")
    environment.ENVIRON.update(dict.fromkeys((*read, *of_services, *unknown, "OTHER"), ""))
    environment.str("PENSTOCK_A", default="")
    environment.secret("PENSTOCK_KEY", default="")
    assert environment.unknown_variables() == list(unknown)


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
