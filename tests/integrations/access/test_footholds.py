"""What an attacker with a part of Penstock can do, as docs/security.md promises."""

import json
import re
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.hashers import identify_hasher
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core import signing
from django.test import Client

from integrations.models import ApiToken
from integrations.sources import webhooks
from tests.support.api_calls import OPERATIONS
from tests.support.factories import make_installation, make_source, make_token, make_user

DOCUMENT = (Path(settings.BASE_DIR) / "docs" / "security.md").read_text("utf-8")
NAMED_TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCUMENT)))
CANARY = "canary-5b1d9c"


@pytest.mark.parametrize(("path", "name"), NAMED_TESTS)
def test_every_test_that_the_document_names_exists(path, name):
    file = Path(settings.BASE_DIR) / path
    assert re.search(rf"^def {name}\(", file.read_text("utf-8"), re.MULTILINE)


def test_every_promise_of_the_document_names_its_test_or_says_that_there_is_none():
    footholds = DOCUMENT.partition("## A write key")[2].partition("## Rotating secrets")[0]
    rows = re.findall(r"^\| (?!---|what )(.+) \|$", footholds, re.MULTILINE)
    assert len(rows) > 30
    assert [row for row in rows if "::test_" not in row and "not protected" not in row] == []


@pytest.mark.django_db
@pytest.mark.parametrize("place", ["authorization", "x-write-key"])
def test_a_write_key_makes_no_call_of_the_management_api(client, place):
    key = make_source().write_key
    headers = {place: f"Bearer {key}" if place == "authorization" else key}
    for path, method in OPERATIONS:
        if path.startswith("/v1/admin/") and not path.endswith(("/login", "/refresh")):
            answer = client.generic(method, re.sub(r"{\w+}", "1", path), headers=headers)
            assert answer.status_code == 401, (method, path)


def whole_database():
    return {
        model._meta.label: json.dumps(list(model._default_manager.values()), default=str)
        for model in apps.get_models()
    }


@pytest.mark.django_db
def test_the_database_holds_no_password_token_or_secret_of_an_installation_in_clear_text(client):
    user = make_user("ada", role="org_admin")
    names = {"username": "ada", "password": "secret"}
    login = client.post("/v1/admin/auth/login", names, content_type="application/json").json()
    token, source = make_token(user), make_source()
    make_installation(config={"app_id": "1", "api_key": CANARY})
    signing_secret = source.new_signing_secret()
    source.save()
    webhooks.create_webhook_source(
        {"name": "Shop", "source": source.pk, "source_type": "hmac", "secret": CANARY}
    )
    for secret in (CANARY, token, login["access_token"], login["refresh_token"], signing_secret):
        assert [label for label, rows in whole_database().items() if secret in rows] == []
    assert identify_hasher(User.objects.get().password)


@pytest.mark.django_db
def test_a_session_row_needs_the_secret_key(settings):
    user = make_user("ada")
    store = SessionStore()
    values = {
        "_auth_user_id": str(user.pk),
        "_auth_user_backend": settings.AUTHENTICATION_BACKENDS[-1],
        "_auth_user_hash": user.get_session_auth_hash(),
    }
    for key, logged_in in (("guessed" * 8, False), (settings.SECRET_KEY, True)):
        store.model.objects.update_or_create(
            session_key="a" * 32,
            defaults={
                "session_data": signing.dumps(
                    values, key=key, salt=store.key_salt, serializer=store.serializer, compress=True
                ),
                "expire_date": "2999-01-01T00:00Z",
            },
        )
        client = Client()
        client.cookies["sessionid"] = "a" * 32
        assert (client.get("/admin/").status_code == 200) is logged_in


@pytest.mark.django_db
def test_who_writes_to_the_database_has_every_right():
    """The document says so: this is not protected."""
    make_token(make_user("root"), token="pst_inserted-0123456789")
    assert ApiToken.objects.find("pst_inserted-0123456789").user.is_superuser
