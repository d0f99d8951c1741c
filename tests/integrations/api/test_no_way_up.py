"""Two steps give no more than one: what a caller obtains may do nothing that the caller may not.

Each caller makes every call of the management API, with the arguments that would help it most. Then
every credential that came of it is tried: tokens in responses, and passwords for every user.
"""

import itertools
import json
import re
from dataclasses import dataclass, field

import pytest
from django.contrib.auth.models import Group, Permission, User
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from integrations.access import groups
from integrations.access.logins import find_access_token
from integrations.api.permissions import ScopeAndRole
from integrations.models import ApiToken, Source, WebhookSource
from integrations.roles import ROLES, SCOPES, permissions_include
from tests.conftest import make_api_caller
from tests.integrations.access.test_permission_matrix import CALLS as MATRIX
from tests.integrations.access.test_permission_matrix import OPEN
from tests.support.api_calls import CALL_ARGUMENTS, OPERATIONS
from tests.support.factories import (
    make_attempt,
    make_delivery,
    make_event,
    make_installation,
    make_source,
    make_token,
    make_user,
)

pytestmark = pytest.mark.django_db

LOGIN = "/v1/admin/auth/login"
CALLS = [each for each in OPERATIONS if each[0].startswith("/v1/admin/")]
CREDENTIAL = re.compile(r"\b(?:pst|psa)_[\w-]+")
NEW_PASSWORD = "taken-over-5b1"
MANAGER = "user_manager"  # a role that an administrator made: users, and nothing else


@dataclass
class Loot:
    """The credentials that a caller obtained."""

    tokens: set[str] = field(default_factory=set)
    passwords: set[str] = field(default_factory=lambda: {NEW_PASSWORD})

    def collect(self, answer):
        text = json.dumps(answer, default=str)
        self.tokens |= set(CREDENTIAL.findall(text))
        self.passwords |= set(re.findall(r'"password": "([^"]+)"', text))


@pytest.fixture(autouse=True)
def _no_limits(settings, monkeypatch):
    settings.API_RATE_LIMIT = 0
    monkeypatch.setattr("integrations.access.login_limits.LOGINS_AT_ONCE", 1_000)


@pytest.fixture
def people():
    """A user of each role and above, an inactive one, and rows for the calls to be about."""
    make_installation(config={"app_id": "1", "region": "sandbox"})
    make_attempt(make_delivery(state="failed", event=make_event(make_source())))
    groups.sync_role_groups()
    manager = Group.objects.create(name=MANAGER)
    manager.permissions.set(Permission.objects.filter(codename__endswith="_user"))
    everyone = [make_user(f"a-{name}", role=name) for name in (*ROLES, MANAGER)]
    make_user("a-former-admin", role="org_admin", is_active=False)
    make_user("a-nobody", is_superuser=False)
    return [*everyone, make_user("root")]


def arguments():
    """Yield (method, path, address, body) of every call about every row."""
    rows = {
        "users": User.objects, "tokens": ApiToken.objects, "sources": Source.objects,
        "webhook-sources": WebhookSource.objects,
    }  # fmt: skip
    for path, method in sorted(CALLS, key=lambda call: (call[1] == "DELETE", call)):
        name = OPERATIONS[path, method]["operationId"]
        known = {**CALL_ARGUMENTS.get(name, {})}
        kind = path.split("/")[3]
        ids = list(rows[kind].values_list("pk", flat=True)) if kind in rows else [1]
        for pk in ids if "{id}" in path else [None]:
            address = path.replace("{id}", str(pk))
            for part in re.findall(r"{(\w+)}", address):
                address = address.replace(f"{{{part}}}", str(known.get(part, 1)))
            for body in bodies(name, known.get("body")):
                yield method, path, address, body


def bodies(name, known):
    """Yield the bodies that try to rise, or else the one that succeeds."""
    roles = (None, MANAGER, *ROLES)
    if name == "users_create":
        for number, role in enumerate(roles):
            password = {"password": NEW_PASSWORD} if number % 2 else {}  # otherwise one is drawn
            yield {"username": f"new-{number}", "role": role, **password}
    elif name == "users_partial_update":
        taken = {"password": NEW_PASSWORD, "is_active": True}
        yield from [taken, *({"role": role} for role in roles if role)]
        yield from [{**taken, "current_password": "secret"}, {"is_superuser": True}]
        yield {"email": "a-org_admin"}
    elif name == "tokens_create":
        yield from ({"name": "own", "scopes": [scope]} for scope in SCOPES)
        for owner in User.objects.values_list("pk", flat=True):
            yield {"name": "another's", "scopes": ["admin"], "user_id": owner}
    else:
        yield known


def is_harmless(method, path):
    """Return whether the call cannot end what the caller itself needs, or leave this process."""
    leaves = ("test-connection", "test-event", "incidents/test")
    return method != "DELETE" and "/auth/" not in path and not any(each in path for each in leaves)


def plunder(call):
    loot, refused = Loot(), set()
    for method, path, address, body in list(arguments()):
        if is_harmless(method, path) and (method, path) not in refused:
            status, answer = call(method, address, body)
            loot.collect(answer)
            if status == 403 and re.search("lacks the scope|does not allow", str(answer)):
                refused.add((method, path))  # whatever its arguments are
    return loot


def open_calls(text):
    """Return the calls that a token may make. Revealing is left out: who sees bodies needs none."""
    token = ApiToken.objects.find(text) or find_access_token(text)
    found = set()
    for address, method, view in MATRIX:
        request = Request(APIRequestFactory().generic(method, "/"))
        request.user, request.auth = getattr(token, "login", token).user, token
        if address not in OPEN and ScopeAndRole().has_permission(request, view()):
            found.add((method, address))
    return {each for each in found if not each[1].endswith("/reveal")}


def logins(client, loot):
    """Yield (user, access token) of every user whom a password of the loot lets in."""
    for user, password in itertools.product(User.objects.all(), sorted(loot.passwords)):
        if user.check_password(password):
            names = {"username": user.username, "password": password}
            answer = client.post(LOGIN, names, content_type="application/json")
            if answer.status_code == 200:
                yield user, answer.json()["access_token"]


def obtained(client, loot):
    """Yield (user, token) of everything that the loot lets its thief be."""
    yield from logins(client, loot)
    for text in sorted(loot.tokens):
        token = ApiToken.objects.find(text)
        if token is not None:
            yield token.user, text


def check_no_way_up(client, call, may, mine):
    """Plunder, and check that nothing obtained may call or do more than this."""
    found = list(obtained(client, plunder(call)))
    for user, token in found:
        assert open_calls(token) <= may, (user.username, open_calls(token) - may)
        assert permissions_include(mine, user.get_all_permissions()), user.username
    return found


@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_of_one_scope_obtains_nothing_beyond_it(client, people, scope):
    token = make_token(people[-1], scopes=[scope])
    call = make_api_caller(client, token)
    found = check_no_way_up(client, call, open_calls(token), people[-1].get_all_permissions())
    assert bool(found) is (scope in ("users:write", "admin"))


@pytest.mark.parametrize("role", [*ROLES, MANAGER])
def test_a_login_of_a_role_reaches_no_higher_one(client, people, role):
    user = User.objects.get(username=f"a-{role}")
    names = {"username": user.username, "password": "secret"}
    token = client.post(LOGIN, names, content_type="application/json").json()["access_token"]
    call, mine = make_api_caller(client, token), user.get_all_permissions()
    found = check_no_way_up(client, call, open_calls(token), mine)
    assert bool(found) is (role in ("org_admin", MANAGER))
    own = User.objects.get(pk=user.pk)
    assert own.get_all_permissions() == mine
    assert not User.objects.filter(is_superuser=True).exclude(username="root").exists()


def test_a_manager_of_users_gives_no_higher_role_in_the_admin(client, people):
    manager = User.objects.get(username=f"a-{MANAGER}")
    above, beside = User.objects.get(username="a-org_admin"), make_user("b", is_superuser=False)
    former = User.objects.get(username="a-former-admin")
    client.force_login(manager)
    form = {"is_active": "on", "date_joined_0": "2026-11-21", "date_joined_1": "12:00:00"}
    admins = Group.objects.get(name="org_admin").pk
    for user in (manager, beside):
        client.post(
            f"/admin/auth/user/{user.pk}/change/",
            {**form, "username": user.username, "groups": [admins]},
        )
        assert not user.groups.filter(pk=admins).exists()
    passwords = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
    for user in (above, former):
        page = f"/admin/auth/user/{user.pk}"
        assert client.post(f"{page}/change/", form).status_code == 403
        assert client.post(f"{page}/password/", passwords).status_code == 403
        user.refresh_from_db()
        assert user.check_password("secret")
