"""The permission matrix: every endpoint of the management API × role × with and without scope."""

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.urls import get_resolver
from django.urls.resolvers import URLPattern
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from integrations.access.groups import sync_role_groups
from integrations.api.endpoint import ManagementAPIView
from integrations.api.permissions import ANY_TOKEN, ScopeAndRole, required_scope
from integrations.models import ApiToken
from integrations.roles import ROLES, SCOPES, get_role, scopes_include
from tests.support.admin_pages import change_form
from tests.support.factories import make_installation, make_token, make_user

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def endpoints(patterns=None, before=""):
    """Yield (address, view class) of every endpoint under /v1/admin/."""
    for each in get_resolver().url_patterns if patterns is None else patterns:
        address = before + str(each.pattern)
        if isinstance(each, URLPattern):
            if address.startswith("v1/admin/"):
                yield address, each.callback.view_class
        else:
            yield from endpoints(each.url_patterns, address)


def calls():
    """Yield (address, method, view class) of every call of the management API."""
    for address, view in endpoints():
        for method in METHODS:
            if hasattr(view, method.lower()):
                yield address, method, view


CALLS = sorted(calls(), key=lambda call: call[:2])
IDS = [f"{method} {address}" for address, method, _ in CALLS]
OPEN = {"v1/admin/auth/login", "v1/admin/auth/refresh"}  # these calls return the tokens


def test_there_are_endpoints():
    assert len(CALLS) >= 7


@pytest.mark.parametrize(("address", "method", "view"), CALLS, ids=IDS)
def test_every_call_says_which_scope_it_needs(address, method, view):
    if address in OPEN:
        return
    assert issubclass(view, ManagementAPIView)
    assert view.permission_classes == [ScopeAndRole]
    needed = required_scope(view(), method)
    assert needed == ANY_TOKEN or needed in SCOPES


def test_a_view_that_says_nothing_answers_nobody():
    class Silent(ManagementAPIView):
        def get(self, request): ...

    with pytest.raises(ImproperlyConfigured, match="Silent names no scope for GET"):
        required_scope(Silent(), "GET")


def answer(view, method, user, scopes):
    """Return whether the view admits a user with a token of these scopes."""
    request = Request(getattr(APIRequestFactory(), method.lower())("/"))
    request.user, request.auth = user, ApiToken(user=user, scopes=list(scopes))
    return ScopeAndRole().has_permission(request, view())


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_what_its_permissions_say_and_only_with_the_scope(role):
    user = make_user(role, role=role)
    for address, method, view in CALLS:
        if address in OPEN:
            continue
        needed = required_scope(view(), method)
        asked = getattr(view, "permissions", {}).get(method, needed and SCOPES[needed].permission)
        allowed = not asked or asked in ROLES[role].permissions
        others = {scope for scope in SCOPES if not scopes_include([scope], needed)}
        assert answer(view, method, user, SCOPES) is allowed, (address, method)
        assert answer(view, method, user, others) is (needed == ANY_TOKEN), (address, method)


@pytest.mark.django_db
def test_a_superuser_may_everything_and_still_needs_the_scope():
    user = make_user()
    for address, method, view in CALLS:
        if address not in OPEN:
            assert answer(view, method, user, ["admin"])
            assert answer(view, method, user, []) is (required_scope(view(), method) == ANY_TOKEN)


@pytest.mark.django_db
def test_the_groups_are_those_of_the_matrix():
    sync_role_groups()
    for role in ROLES.values():
        found = Group.objects.get(name=role.name).permissions.select_related("content_type")
        names = {f"{each.content_type.app_label}.{each.codename}" for each in found}
        assert names == role.permissions
    assert get_role(make_user("ada", role="source_editor")) == "source_editor"


@pytest.mark.django_db
def test_without_the_scope_the_answer_says_which_one(client):
    bearer = {"authorization": f"Bearer {make_token(scopes=['catalog:read'])}"}
    answer = client.get("/v1/admin/deliveries", headers=bearer)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (403, "FORBIDDEN")
    assert "deliveries:read" in error["message"]
    assert "catalog:read" in error["message"]
    assert client.get("/v1/admin/integration-catalog", headers=bearer).status_code == 200


@pytest.mark.django_db
def test_without_the_role_the_answer_says_whom_to_ask(client):
    token = make_token(make_user("ada", role="source_viewer"))
    address = "/v1/admin/integration-catalog/heap/install"
    answer = client.post(address, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 403
    assert "org_admin" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("scopes", "needed", "expected"),
    [
        (["sources:write"], "sources:read", True),
        (["sources:read"], "sources:write", False),
        (["deliveries:replay"], "deliveries:read", False),
        (["admin"], "users:write", True),
        ([], "catalog:read", False),
    ],
)
def test_to_write_includes_to_read_and_admin_includes_all(scopes, needed, expected):
    assert scopes_include(scopes, needed) is expected


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("role", "may_open"),
    [("source_viewer", True), ("org_admin", True), (None, False)],
)
def test_the_admin_obeys_the_same_roles(client, role, may_open):
    client.force_login(make_user("ada", role=role, is_superuser=False))
    answer = client.get("/admin/integrations/installation/")
    assert (answer.status_code == 200) is may_open


@pytest.mark.django_db
def test_a_viewer_cannot_pause_in_the_admin(client):
    client.force_login(make_user("ada", role="source_viewer"))
    installation = make_installation()
    client.post(f"/admin/integrations/installation/{installation.pk}/pause/")
    installation.refresh_from_db()
    assert installation.enabled


@pytest.mark.django_db
def test_an_org_admin_cannot_make_a_superuser_nor_change_one(client):
    boss, clerk = make_user("boss"), make_user("clerk", role="org_admin")
    client.force_login(clerk)
    ada = make_user("ada", is_superuser=False)
    page = f"/admin/auth/user/{ada.pk}/change/"
    answer = change_form(client, page, is_superuser="on", first_name="Ada")
    assert "was changed successfully" in answer.text
    ada.refresh_from_db()
    assert not ada.is_superuser
    assert client.post(f"/admin/auth/user/{boss.pk}/change/").status_code == 403
    assert client.get(f"/admin/auth/user/{boss.pk}/password/").status_code == 403


def test_the_documentation_has_the_matrix():
    text = (settings.BASE_DIR / "docs" / "api.md").read_text()
    head = "| scope | for | " + " | ".join(ROLES) + " |"
    lines = [line.strip("| ").split(" | ") for line in text.partition(head)[2].splitlines()[2:]]
    documented = {line[0].strip("`"): line[1:] for line in lines if len(line) > 2}
    assert documented == {
        scope.name: [scope.description, *("yes" if allows(role, scope) else "–" for role in ROLES)]
        for scope in SCOPES.values()
    }


def allows(role, scope):
    return not scope.permission or scope.permission in ROLES[role].permissions
