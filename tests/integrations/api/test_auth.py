"""Logging in to the management API: short-lived tokens, refreshing, and stolen tokens."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from integrations.access import expiry
from integrations.models import AuditEntry, Login, LoginToken
from tests.support.factories import make_token, make_user

pytestmark = pytest.mark.django_db

AUTH = "/v1/admin/auth"


@pytest.fixture
def user():
    return make_user("ada", role="source_editor", email="ada@example.com")


def post(client, address, body=None, token=None, **extra):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return client.post(
        f"{AUTH}/{address}",
        json.dumps(body or {}),
        content_type="application/json",
        headers=headers,
        **extra,
    )


def log_in(client, username="ada", password="secret", **extra):
    return post(client, "login", {"username": username, "password": password}, **extra)


def code(answer):
    return answer.status_code, answer.json()["error"]["code"]


def me(client, token):
    return client.get(f"{AUTH}/me", headers={"authorization": f"Bearer {token}"})


@pytest.mark.parametrize("username", ["ada", "ada@example.com", "ADA@example.com"])
def test_name_or_address_and_password_give_a_token_that_can_call(client, user, username):
    pair = log_in(client, username).json()
    assert (pair["token_type"], pair["expires_in"], pair["refresh_expires_in"]) == (
        "Bearer", 900, 604_800,
    )  # fmt: skip
    assert (pair["user"]["username"], pair["user"]["role"]) == ("ada", "source_editor")
    current = me(client, pair["access_token"]).json()
    assert current["token"] == "login"
    assert "installations:write" in current["scopes"]
    assert "users:read" not in current["scopes"]


def test_only_digests_are_kept(client, user):
    pair = log_in(client).json()
    stored = str(list(LoginToken.objects.values())) + str(list(Login.objects.values()))
    assert pair["access_token"] not in stored
    assert pair["refresh_token"] not in stored


@pytest.mark.parametrize(("username", "password"), [("ada", "wrong"), ("nobody", "secret")])
def test_who_is_wrong_is_not_told_in_what(client, user, username, password):
    answer = log_in(client, username, password)
    assert code(answer) == (401, "INVALID_CREDENTIALS")
    assert answer.json()["error"]["message"] == "The username or password is wrong."


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "ada"},
        {"username": 5, "password": "x"},
        {"username": "a" * 255, "password": "x"},
        {"username": "", "password": ""},
    ],
)
def test_what_is_no_name_and_password_is_named(client, user, body):
    assert code(post(client, "login", body)) == (422, "VALIDATION_FAILED")


def test_who_is_not_active_cannot_log_in_nor_go_on(client, user):
    pair = log_in(client).json()
    user.is_active = False
    user.save()
    assert code(log_in(client)) == (401, "INVALID_CREDENTIALS")
    assert code(me(client, pair["access_token"])) == (401, "INVALID_TOKEN")
    refused = post(client, "refresh", {"refresh_token": pair["refresh_token"]})
    assert code(refused) == (401, "INVALID_REFRESH_TOKEN")


def test_an_access_token_expires(client, user):
    token = log_in(client).json()["access_token"]
    LoginToken.objects.filter(kind="access").update(expires_at=timezone.now())
    assert code(me(client, token)) == (401, "EXPIRED_TOKEN")


def test_a_refresh_token_is_no_access_token_nor_the_other_way_round(client, user):
    pair = log_in(client).json()
    assert code(me(client, pair["refresh_token"])) == (401, "INVALID_TOKEN")
    refused = post(client, "refresh", {"refresh_token": pair["access_token"]})
    assert code(refused) == (401, "INVALID_REFRESH_TOKEN")


def test_refreshing_gives_a_new_pair(client, user):
    first = log_in(client).json()
    second = post(client, "refresh", {"refresh_token": first["refresh_token"]}).json()
    assert me(client, second["access_token"]).status_code == 200
    third = post(client, "refresh", {"refresh_token": second["refresh_token"]})
    assert third.status_code == 200


def test_a_refresh_token_that_comes_twice_ends_the_whole_family(client, user):
    first = log_in(client).json()
    other = log_in(client).json()
    second = post(client, "refresh", {"refresh_token": first["refresh_token"]}).json()
    again = post(client, "refresh", {"refresh_token": first["refresh_token"]})
    assert code(again) == (401, "INVALID_REFRESH_TOKEN")
    for token in (first["access_token"], second["access_token"]):
        assert code(me(client, token)) == (401, "INVALID_TOKEN")
    refused = post(client, "refresh", {"refresh_token": second["refresh_token"]})
    assert code(refused) == (401, "INVALID_REFRESH_TOKEN")
    assert me(client, other["access_token"]).status_code == 200
    assert AuditEntry.objects.get(action="auth.refresh_reused").actor == "ada"


def test_an_old_refresh_token_is_refused(client, user):
    token = log_in(client).json()["refresh_token"]
    LoginToken.objects.filter(kind="refresh").update(expires_at=timezone.now())
    assert code(post(client, "refresh", {"refresh_token": token})) == (401, "INVALID_REFRESH_TOKEN")


def test_a_new_password_ends_every_login(client, user):
    token = log_in(client).json()["access_token"]
    user.set_password("another")
    user.save()
    assert code(me(client, token)) == (401, "INVALID_TOKEN")


def test_logging_out_ends_the_login(client, user):
    pair = log_in(client).json()
    assert post(client, "logout", token=pair["access_token"]).status_code == 204
    assert code(me(client, pair["access_token"])) == (401, "INVALID_TOKEN")
    refused = post(client, "refresh", {"refresh_token": pair["refresh_token"]})
    assert code(refused) == (401, "INVALID_REFRESH_TOKEN")


def test_an_api_token_is_revoked_and_not_logged_out(client, user):
    assert code(post(client, "logout", token=make_token(user))) == (409, "CONFLICT")


def test_logins_and_failures_are_in_the_audit_log_and_no_password_is(client, user):
    log_in(client, password="canary-5b1d9c")
    log_in(client)
    failed, done = AuditEntry.objects.order_by("pk")
    assert (failed.action, failed.object_name, failed.actor) == ("auth.login_failed", "ada", "")
    assert (done.action, done.actor, done.via) == ("auth.login", "ada", "api")
    assert "canary" not in str(vars(failed))


# --- lockout -----------------------------------------------------------------------------------


def test_the_fifth_failure_locks_and_says_until_when(client, user):
    answers = [log_in(client, password="wrong") for _ in range(5)]
    assert [each.status_code for each in answers] == [401, 401, 401, 401, 429]
    assert code(answers[-1]) == (429, "ACCOUNT_LOCKED")
    assert 890 <= int(answers[-1].headers["Retry-After"]) <= 900
    assert code(log_in(client)) == (429, "ACCOUNT_LOCKED")
    assert log_in(client, REMOTE_ADDR="198.51.100.7").status_code == 200


def test_the_lock_ends(client, user, settings):
    from axes.models import AccessAttempt

    for _ in range(5):
        log_in(client, password="wrong")
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    assert log_in(client).status_code == 200


def test_a_success_forgets_the_failures_before(client, user):
    for _ in range(2):
        for _ in range(4):
            log_in(client, password="wrong")
        assert log_in(client).status_code == 200


def test_the_form_of_the_admin_is_locked_as_well(client, user):
    form = {"username": "ada", "password": "wrong"}
    answers = [client.post("/admin/login/", form) for _ in range(5)]
    assert [each.status_code for each in answers] == [200, 200, 200, 200, 429]
    assert "15 min" in answers[-1].content.decode()
    assert 890 <= int(answers[-1].headers["Retry-After"]) <= 900
    assert code(log_in(client)) == (429, "ACCOUNT_LOCKED")


def test_behind_a_trusted_proxy_only_who_failed_is_locked(user, settings):
    from django.test import Client

    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    client = Client()  # created now, because the middleware reads the proxies when it starts
    for _ in range(5):
        log_in(client, password="wrong", HTTP_X_FORWARDED_FOR="198.51.100.7")
    assert log_in(client, HTTP_X_FORWARDED_FOR="198.51.100.7").status_code == 429
    assert log_in(client, HTTP_X_FORWARDED_FOR="198.51.100.8").status_code == 200


# --- number of queries -------------------------------------------------------------------------


def queries(client, token):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert me(client, token).status_code == 200
    return len(captured)


def test_a_call_costs_the_same_queries_however_many_tokens_there_are(client, user):
    api, access = make_token(user), log_in(client).json()["access_token"]
    for token in (api, access):
        me(client, token)  # records that the token was used
        before = queries(client, token)
        for number in range(20):
            make_token(user, token=f"{token}_{number}")
            log_in(client)
        assert queries(client, token) == before
    # They read the token with its user, the user's permissions, the groups' permissions and the
    # groups.
    assert before == 4


def test_what_has_expired_is_forgotten(client, user):
    log_in(client)
    now = timezone.now()
    expiry.delete_expired(now + timedelta(days=1))
    assert [each.kind for each in LoginToken.objects.all()] == ["refresh"]
    expiry.delete_expired(now + timedelta(days=8))
    assert not LoginToken.objects.exists()
    assert not Login.objects.exists()
