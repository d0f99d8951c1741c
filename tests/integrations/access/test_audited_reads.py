"""The audit log has what leaves Penstock, who left, and who may revoke what."""

import json

import pytest

from integrations.models import ApiToken, AuditEntry
from tests.conftest import make_api_caller
from tests.support.factories import make_delivery, make_installation, make_token, make_user

pytestmark = pytest.mark.django_db

MESSAGE = {"type": "track", "event": "Signed Up", "userId": "ada"}
LOGIN, LOGOUT = "/v1/admin/auth/login", "/v1/admin/auth/logout"


@pytest.fixture
def boss(client):
    user = make_user("boss", role="org_admin")
    client.force_login(user)
    return user


def recorded(action):
    """Return (actor, channel, name of the object) of the one entry about this action."""
    found = AuditEntry.objects.get(action=action)
    return found.actor, found.via, found.object_name


def test_exports_are_recorded(client, boss):
    make_delivery(state="failed")
    export = "/admin/delivery/delivery/export/"
    b"".join(client.get(export, {"q": "state:failed", "format": "csv"}))
    assert recorded("delivery.exported") == ("boss", "admin", "state:failed")
    AuditEntry.objects.all()._raw_delete("default")
    bearer = {"authorization": f"Bearer {make_token(boss)}"}
    client.get("/v1/admin/deliveries/export", {"format": "ndjson"}, headers=bearer)
    assert recorded("delivery.exported") == ("boss", "api", "all deliveries")


def test_a_logout_of_the_admin_is_recorded(client, boss):
    client.post("/admin/logout/")
    assert recorded("auth.logout") == ("boss", "admin", "boss")


def test_a_logout_of_the_api_is_recorded_once(client):
    make_user("boss", role="org_admin")
    names = json.dumps({"username": "boss", "password": "secret"})
    token = client.post(LOGIN, names, content_type="application/json").json()["access_token"]
    for _ in range(2):
        client.post(LOGOUT, headers={"authorization": f"Bearer {token}"})
    assert recorded("auth.logout") == ("boss", "api", "boss")


def test_a_test_event_is_recorded(client, boss, sandbox):
    installation = make_installation(config={"app_id": "1", "region": "sandbox"})
    call = make_api_caller(client, make_token(boss))
    address = f"/v1/admin/installations/{installation.pk}/test-event"
    assert call("POST", address, {"message": MESSAGE})[0] == 200
    assert recorded("installation.test_event_sent") == ("boss", "api", "Heap")


def test_a_test_alert_is_recorded(client, boss):
    call = make_api_caller(client, make_token(boss))
    assert call("POST", "/v1/admin/incidents/test")[0] == 200
    assert recorded("incident.test_sent") == ("boss", "api", "a test alert")


@pytest.mark.parametrize("interface", ["api", "admin"])
def test_an_org_admin_revokes_no_token_of_a_superuser(client, boss, interface):
    make_token(make_user("root"), token="pst_root-0123456789")
    above = ApiToken.objects.get()
    if interface == "api":
        call = make_api_caller(client, make_token(boss))
        assert call("DELETE", f"/v1/admin/tokens/{above.pk}")[0] == 403
    else:
        page = "/admin/integrations/apitoken/"
        form = {"action": "revoke", "_selected_action": [above.pk]}
        html = client.post(page, form, follow=True).content.decode()
        assert "Nothing was revoked" in html
    above.refresh_from_db()
    assert above.revoked_at is None
