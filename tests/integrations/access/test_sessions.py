"""What ends a session of the admin, and what does not."""

import pytest
from django.test import Client

from tests.support.factories import make_user

pytestmark = pytest.mark.django_db
NEW = "a-very-new-password"


def log_in():
    client = Client()
    client.post("/admin/login/", {"username": "ada", "password": "secret"})
    return client


def is_logged_in(client):
    return client.get("/admin/").status_code == 200


def test_a_new_password_ends_all_sessions_but_the_one_that_changed_it():
    make_user("ada")
    here, stolen = log_in(), log_in()
    form = {"old_password": "secret", "new_password1": NEW, "new_password2": NEW}
    assert is_logged_in(stolen)
    here.post("/admin/password_change/", form)
    assert (is_logged_in(here), is_logged_in(stolen)) == (True, False)


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_session_survives_a_new_secret_key_while_the_earlier_one_is_listed(settings, is_listed):
    make_user("ada")
    client = log_in()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY] if is_listed else []
    settings.SECRET_KEY = "a-new-key" * 8
    assert is_logged_in(client) is is_listed
