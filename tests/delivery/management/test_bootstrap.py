"""`manage.py bootstrap`: creates once, prints once, and never changes what exists."""

import re
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.core.management import CommandError, call_command
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import Schedule

from integrations.models import ApiToken, Source

pytestmark = pytest.mark.django_db

SETTINGS = ["PENSTOCK_ADMIN_PASSWORD", "PENSTOCK_WRITE_KEY", "PENSTOCK_API_TOKEN"]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


def bootstrap() -> str:
    out = StringIO()
    call_command("bootstrap", stdout=out)
    return out.getvalue()


def shown(text: str, label: str) -> str:
    return re.search(rf"^{label} +(\S+)$", text, re.MULTILINE)[1]


def everything() -> list[str]:
    models = [User, Source, ApiToken, Schedule]
    return [serializers.serialize("json", model.objects.order_by("pk")) for model in models]


def test_what_it_prints_works():
    text = bootstrap()

    assert User.objects.get(is_superuser=True).check_password(shown(text, "Password"))
    assert Source.objects.get().write_key == shown(text, "Write key")
    token = ApiToken.objects.find_usable(shown(text, "API token"), timezone.now())
    assert (token.name, token.user.username) == ("bootstrap", shown(text, "User"))


def test_new_values_need_no_explanation_of_variables():
    assert "$NAME" not in bootstrap()


def test_its_commands_carry_the_credentials():
    text = bootstrap()

    assert f'-H "Authorization: Bearer {shown(text, "API token")}"' in text
    assert f'curl -u "{shown(text, "Write key")}:"' in text


def test_the_sweep_is_scheduled_every_minute():
    bootstrap()

    sweep = Schedule.objects.get(name="sweep")
    assert (sweep.schedule_type, sweep.minutes, sweep.repeats) == (Schedule.MINUTES, 1, -1)
    assert callable(import_string(sweep.func))


def test_a_second_run_changes_nothing_and_prints_no_credential():
    first = bootstrap()
    before = everything()

    second = bootstrap()

    assert everything() == before
    assert second == "The admin user, source, API token and schedule already exist.\n"
    assert shown(first, "Password") not in second


def test_nothing_secret_is_stored_in_the_clear():
    text = bootstrap()

    stored = "".join(everything())
    assert shown(text, "API token") not in stored
    assert shown(text, "Password") not in stored


def test_the_environment_chooses_the_credentials_and_they_are_not_printed(monkeypatch):
    values = ["correct-horse-battery", "wk_chosen_by_me", "pst_chosen_by_me_and_long_enough"]
    for name, value in zip(SETTINGS, values, strict=True):
        monkeypatch.setenv(name, value)

    text = bootstrap()

    password, write_key, token = values
    assert User.objects.get().check_password(password)
    assert Source.objects.get().write_key == write_key
    assert ApiToken.objects.find_usable(token, timezone.now())
    assert not [value for value in values if value in text]
    assert shown(text, "API token") == "$PENSTOCK_API_TOKEN"
    assert "$NAME stands for a value you set." in text


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("PENSTOCK_ADMIN_PASSWORD", "pony", "at least 8"),
        ("PENSTOCK_WRITE_KEY", "with:colon", "8 to 100"),
        ("PENSTOCK_API_TOKEN", "too-short", "24 to 200"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name_and_nothing_is_made(
    monkeypatch, setting, value, advice
):
    monkeypatch.setenv(setting, value)

    with pytest.raises(CommandError, match=f"{setting} cannot be used: .*{advice}") as refusal:
        bootstrap()

    assert value not in str(refusal.value)
    assert not User.objects.exists()
    assert not Source.objects.exists()
    assert not ApiToken.objects.exists()


def test_a_value_for_what_exists_is_named_as_unused_and_overwrites_nothing(monkeypatch):
    bootstrap()
    before = everything()
    monkeypatch.setenv("PENSTOCK_WRITE_KEY", "wk_another_one")

    text = bootstrap()

    assert everything() == before
    assert "PENSTOCK_WRITE_KEY is ignored: Source already exists." in text


def test_what_was_renamed_is_not_made_again():
    bootstrap()
    Source.objects.update(name="Our shop")
    User.objects.update(username="ada")
    ApiToken.objects.update(name="CI")

    bootstrap()

    assert Source.objects.get().name == "Our shop"
    assert User.objects.get().username == "ada"
    assert ApiToken.objects.get().name == "CI"


def test_an_ordinary_user_named_admin_is_not_made_a_superuser():
    User.objects.create_user("admin")

    with pytest.raises(CommandError, match="createsuperuser"):
        bootstrap()

    assert not User.objects.filter(is_superuser=True).exists()
