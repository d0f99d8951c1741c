"""Users, tokens and the audit log by the management API."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.utils import timezone

from integrations.access import audit
from integrations.models import ApiToken, AuditEntry, digest
from integrations.roles import ROLES, SCOPES, scopes_include, scopes_of_role
from tests.conftest import make_api_caller
from tests.support.factories import make_token, make_user

pytestmark = pytest.mark.django_db

LOGIN = "/v1/admin/auth/login"
USERS, TOKENS, AUDIT = "/v1/admin/users", "/v1/admin/tokens", "/v1/admin/audit-log"


@pytest.fixture
def boss():
    return make_user("boss", role="org_admin")


@pytest.fixture
def api(client, boss):
    return make_api_caller(client, make_token(boss))


@pytest.fixture
def logged_in(client, boss):
    """As `api`, with the access token of a login."""
    names = {"username": "boss", "password": "secret"}
    tokens = client.post(f"{LOGIN}", names, content_type="application/json").json()
    return make_api_caller(client, tokens["access_token"])


def refused(answer):
    status, body = answer
    return status, body["error"]["code"], body["error"].get("fields", {})


# --- users -------------------------------------------------------------------------------------


def test_a_user_is_made_with_a_password_that_is_told_once(api):
    body = {"username": "ada", "email": "ada@example.com", "name": "Ada", "role": "source_editor"}
    status, made = api("POST", USERS, body)
    assert status == 201
    assert {**made, **body} == made
    assert (made["is_active"], made["is_superuser"], made["last_login_at"]) == (True, False, None)
    user = User.objects.get(username="ada")
    assert user.check_password(made["password"])
    assert user.is_staff
    _, shown = api("GET", f"{USERS}/{made['id']}")
    assert "password" not in shown
    entry = AuditEntry.objects.get(action="user.invited")
    assert (entry.actor, entry.changes["role"]["new"]) == ("boss", "source_editor")
    assert made["password"] not in str(vars(entry))


def test_a_password_that_is_given_is_not_told(api):
    _, made = api("POST", USERS, {"username": "ada", "password": "correct-horse-5b1"})
    assert "password" not in made
    assert User.objects.get(username="ada").check_password("correct-horse-5b1")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": 5}, "username"),
        ({"username": ""}, "username"),
        ({"username": "ada", "email": "nowhere"}, "email"),
        ({"username": "ada", "role": "king"}, "role"),
        ({"username": "ada", "password": "short"}, "password"),
        ({"username": "ada", "is_superuser": True}, "is_superuser"),
        ([], "body"),
        ("text", "body"),
    ],
)
def test_what_is_wrong_with_a_new_user_is_named(api, body, field):
    status, code, fields = refused(api("POST", USERS, body))
    assert (status, code) == (422, "VALIDATION_FAILED")
    assert field in fields
    assert User.objects.count() == 1


def test_a_name_that_is_taken_is_a_conflict(api):
    assert refused(api("POST", USERS, {"username": "boss"}))[:2] == (409, "CONFLICT")


def test_only_what_is_given_is_changed(api):
    user = make_user("ada", role="source_viewer", email="ada@example.com")
    status, shown = api("PATCH", f"{USERS}/{user.pk}", {"role": "source_admin"})
    assert (status, shown["role"], shown["email"]) == (200, "source_admin", "ada@example.com")
    assert AuditEntry.objects.get(action="user.updated").changes == {
        "role": {"old": "source_viewer", "new": "source_admin"}
    }
    status, shown = api("PATCH", f"{USERS}/{user.pk}", {"role": None, "name": "Ada"})
    assert (shown["role"], shown["name"]) == (None, "Ada")


def test_a_new_password_counts_and_is_not_in_the_audit_log(logged_in):
    user = make_user("ada", role="source_viewer")
    logged_in("PATCH", f"{USERS}/{user.pk}", {"password": "correct-horse-5b1"})
    user.refresh_from_db()
    assert user.check_password("correct-horse-5b1")
    changes = AuditEntry.objects.get(action="user.updated").changes
    assert changes == {"password": {"old": "***", "new": "***"}}


@pytest.mark.parametrize(
    "change", [{"password": "correct-horse-5b1"}, {"email": "eve@example.com"}]
)
@pytest.mark.parametrize("name", ["ada", "boss"])
def test_a_token_takes_over_no_account(api, name, change):
    make_user("ada", role="source_viewer")
    user = User.objects.get(username=name)
    status, body = api("PATCH", f"{USERS}/{user.pk}", change)
    assert status == 403
    assert f"cannot change: {next(iter(change))}" in body["error"]["message"]
    user.refresh_from_db()
    assert user.check_password("secret")
    assert user.email == ""


def test_ones_own_password_needs_the_current_one(logged_in, boss):
    address, new = f"{USERS}/{boss.pk}", {"password": "correct-horse-5b1"}
    assert refused(logged_in("PATCH", address, new)) == (
        422, "VALIDATION_FAILED", {"current_password": "Required to change your own password."},
    )  # fmt: skip
    wrong = {**new, "current_password": "guess"}
    assert refused(logged_in("PATCH", address, wrong))[2] == {
        "current_password": "This is not your current password."
    }
    assert logged_in("PATCH", address, {**new, "current_password": "secret"})[0] == 200
    boss.refresh_from_db()
    assert boss.check_password("correct-horse-5b1")


@pytest.mark.parametrize("scope", sorted(SCOPES))
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_token_gives_no_role_above_its_scopes(client, boss, scope, method):
    ada = make_user("ada", role="source_viewer")
    scopes = ["users:write", scope]
    call = make_api_caller(client, make_token(boss, scopes=scopes))
    for role in ROLES:
        if method == "POST":
            status, body = call("POST", USERS, {"username": f"new-{role}", "role": role})
        else:
            status, body = call("PATCH", f"{USERS}/{ada.pk}", {"role": role})
        may = all(scopes_include(scopes, each) for each in scopes_of_role(role))
        assert (status in (200, 201)) is may, (role, body)
        assert (status == 403) is not may
        assert User.objects.filter(username=f"new-{role}").exists() is (may and method == "POST")


def test_who_is_deactivated_gets_in_no_more_and_stays_listed(client, api, rf):
    user = make_user("ada", role="source_viewer")
    token = make_token(user, token="pst_ada")
    assert api("DELETE", f"{USERS}/{user.pk}")[0] == 204
    assert authenticate(rf.get("/"), username="ada", password="secret") is None
    assert make_api_caller(client, token)("GET", "/v1/admin/deliveries")[0] == 401
    assert ApiToken.objects.get(user=user).revoked_at
    assert [each["username"] for each in api("GET", USERS, is_active="false")[1]["data"]] == ["ada"]
    assert [each["username"] for each in api("GET", USERS, is_active="true")[1]["data"]] == ["boss"]


@pytest.mark.parametrize(
    ("method", "body"), [("PATCH", {"password": "correct-horse-5b1"}), ("DELETE", None)]
)
def test_an_org_admin_cannot_reach_above(api, method, body):
    above = make_user("root")
    assert refused(api(method, f"{USERS}/{above.pk}", body))[:2] == (403, "FORBIDDEN")
    above.refresh_from_db()
    assert above.check_password("secret")
    assert above.is_active


@pytest.mark.parametrize(
    ("method", "body"),
    [("PATCH", {"role": None}), ("PATCH", {"is_active": False}), ("DELETE", None)],
)
def test_nobody_locks_themselves_out(api, boss, method, body):
    assert refused(api(method, f"{USERS}/{boss.pk}", body))[0] == 403


def test_users_are_listed_newest_first_a_page_at_a_time(api):
    for number in range(4):
        make_user(f"user{number}", role="source_viewer")
    status, page = api("GET", USERS, limit=3)
    assert [each["username"] for each in page["data"]] == ["user3", "user2", "user1"]
    assert page["has_more"]
    status, page = api("GET", USERS, limit=3, cursor=page["next_cursor"])
    assert [each["username"] for each in page["data"]] == ["user0", "boss"]
    assert (page["has_more"], page["next_cursor"]) == (False, None)


@pytest.mark.parametrize(
    "params", [{"limit": 101}, {"limit": 0}, {"cursor": "x"}, {"is_active": "1"}, {"colour": "red"}]
)
def test_a_parameter_that_is_wrong_is_named(api, params):
    status, _, fields = refused(api("GET", USERS, **params))
    assert (status, set(fields)) == (422, set(params))


@pytest.mark.parametrize("address", [f"{USERS}/4711", f"{USERS}/99999999999999999999"])
def test_who_does_not_exist_is_not_found(api, address):
    assert refused(api("GET", address))[:2] == (404, "NOT_FOUND")


# --- tokens ------------------------------------------------------------------------------------


def test_a_token_is_made_told_once_and_can_call(client, api):
    in_a_day = timezone.now() + timedelta(days=1)
    body = {"name": "CI", "scopes": ["users:read"], "expires_at": in_a_day.isoformat()}
    status, made = api("POST", TOKENS, body)
    assert (status, made["username"], made["scopes"]) == (201, "boss", ["users:read"])
    assert ApiToken.objects.get(pk=made["id"]).digest == digest(made["token"])
    call = make_api_caller(client, made["token"])
    assert call("GET", USERS)[0] == 200
    assert refused(call("POST", TOKENS, body))[0] == 403
    listed = api("GET", TOKENS)[1]["data"]
    assert made["token"] not in json.dumps(listed)
    assert listed[0]["last_used_at"]


def test_a_token_gives_out_only_scopes_that_it_has(client, boss):
    call = make_api_caller(client, make_token(boss, token="pst_few", scopes=["users:write"]))
    status, _, fields = refused(call("POST", TOKENS, {"name": "CI", "scopes": ["audit:read"]}))
    assert status == 422
    assert "audit:read" in fields["scopes"]
    assert call("POST", TOKENS, {"name": "CI", "scopes": ["users:read"]})[0] == 201


def test_nobody_makes_a_token_for_someone_above(api):
    body = {"name": "CI", "scopes": ["admin"], "user_id": make_user("root").pk}
    assert refused(api("POST", TOKENS, body))[0] == 403


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "admin"}, "scopes"),
        ({"scopes": ["king"]}, "scopes.0"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"user_id": 4711}, "user_id"),
        ({"user_id": "1"}, "user_id"),
    ],
)
def test_what_is_wrong_with_a_new_token_is_named(api, change, field):
    body = {"name": "CI", "scopes": ["admin"], **change}
    status, _, fields = refused(api("POST", TOKENS, body))
    assert (status, set(fields)) == (422, {field})


def test_a_revoked_token_is_refused_and_stays_listed(client, api):
    made = api("POST", TOKENS, {"name": "CI", "scopes": ["admin"]})[1]
    assert api("DELETE", f"{TOKENS}/{made['id']}")[0] == 204
    assert api("DELETE", f"{TOKENS}/{made['id']}")[0] == 204
    assert make_api_caller(client, made["token"])("GET", USERS)[0] == 401
    assert api("GET", TOKENS)[1]["data"][0]["revoked_at"]
    assert AuditEntry.objects.filter(action="token.revoked").count() == 1
    assert refused(api("DELETE", f"{TOKENS}/4711"))[0] == 404


# --- the audit log -----------------------------------------------------------------------------


def test_the_audit_log_tells_who_did_what(api):
    made = api("POST", USERS, {"username": "ada"}, headers={"user-agent": "curl/8"})[1]
    entry = api("GET", AUDIT)[1]["data"][0]
    assert (entry["action"], entry["actor"], entry["via"]) == ("user.invited", "boss", "api")
    assert (entry["object_type"], entry["object_id"]) == ("user", str(made["id"]))
    assert entry["changes"]["username"] == {"old": None, "new": "ada"}
    assert (entry["ip_address"], entry["user_agent"]) == ("127.0.0.1", "curl/8")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["user.invited", "source.updated", "source.created"]),
        ({"actor": "boss"}, ["user.invited"]),
        ({"action": "source.updated"}, ["source.updated"]),
        ({"object_type": "source"}, ["source.updated", "source.created"]),
        ({"object_type": "source", "object_id": "7"}, []),
        ({"since": "2000-01-01T00:00:00Z"}, ["user.invited", "source.updated", "source.created"]),
        ({"until": "2000-01-01T00:00:00Z"}, []),
    ],
)
def test_it_is_filtered(api, filters, expected):
    audit.record("source.created", "Shop")
    audit.record("source.updated", "Shop")
    api("POST", USERS, {"username": "ada"})
    found = api("GET", AUDIT, **filters)[1]["data"]
    assert [each["action"] for each in found] == expected
