"""The audit log records every change by the API, the admin and commands, and keeps it."""

import json
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.test import Client
from django.utils import timezone

from delivery.actions import deliveries, installations
from delivery.models import Delivery
from delivery.operations import retention
from integrations.access import audit
from integrations.installations import install
from integrations.models import ApiToken, AuditEntry, Installation, NeverChanged, Source
from tests.support.admin_pages import change_form
from tests.support.factories import (
    CONFIG,
    make_delivery,
    make_installation,
    make_source,
    make_token,
    make_user,
)

pytestmark = pytest.mark.django_db

CANARY = "canary-5b1d9c"


def entry(action):
    return AuditEntry.objects.get(action=action)


@pytest.fixture
def installation():
    installation = make_installation()
    AuditEntry.objects.all()._raw_delete("default")
    return installation


def test_an_install_by_the_api_says_who_from_where_and_what(client):
    token = make_token()
    client.post(
        "/v1/admin/integration-catalog/heap/install",
        json.dumps({"name": "Heap", "config": {**CONFIG, "api_key": CANARY}}),
        content_type="application/json",
        headers={
            "authorization": f"Bearer {token}",
            "user-agent": "curl/8",
            "x-request-id": "my-own-id",
        },
        REMOTE_ADDR="203.0.113.9",
    )
    found = entry("installation.created")
    assert (found.actor, found.token, found.via) == ("admin", "Test", "api")
    assert (found.object_type, found.object_name) == ("installation", "Heap")
    assert found.object_id == str(Installation.objects.get().pk)
    assert (found.ip_address, found.user_agent) == ("203.0.113.9", "curl/8")
    assert found.request_id == "my-own-id"
    assert found.changes["config.app_id"] == {"old": None, "new": "1234567890"}
    assert found.changes["config.api_key"] == {"old": None, "new": "***"}
    assert CANARY not in str(vars(found))


def test_who_is_behind_a_trusted_proxy_is_who_is_named(settings):
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    client = Client()  # created now, because the middleware reads the setting when it starts
    client.force_login(make_user())
    client.post(
        f"/admin/integrations/installation/{make_installation().pk}/pause/",
        headers={"x-forwarded-for": "198.51.100.7"},
    )
    found = entry("installation.paused")
    assert (found.ip_address, found.via) == ("198.51.100.7", "admin")


def test_a_change_is_told_as_old_and_new_and_a_secret_only_as_changed(installation):
    config = {**installation.config, "app_id": "42", "api_key": CANARY}
    install.reconfigure(installation, name="Heap EU", config=config, lane_count=2)
    changes = entry("installation.updated").changes
    assert changes == {
        "config.api_key": {"old": "***", "new": "***"},
        "config.app_id": {"old": "1234567890", "new": "42"},
        "lane_count": {"old": 1, "new": 2},
        "name": {"old": "Heap", "new": "Heap EU"},
    }


def test_a_secret_that_stays_is_no_change(installation):
    install.reconfigure(installation, name="Heap", config={**installation.config, "api_key": ""})
    assert entry("installation.updated").changes == {}


def test_pausing_resuming_and_delivering_again_are_in_it(installation):
    make_delivery(installation, state="failed")
    installations.pause_installation(installation)
    installations.resume_installation(installation)
    deliveries.deliver_again(Delivery.objects.all(), timezone.now())
    assert [each.action for each in AuditEntry.objects.order_by("pk")] == [
        "installation.paused", "installation.resumed", "delivery.queued_again",
    ]  # fmt: skip
    assert entry("delivery.queued_again").object_id == str(Delivery.objects.get().pk)
    assert Delivery.objects.get().trigger == "hand"
    assert entry("installation.paused").via == "command"


def test_what_did_not_happen_is_not_in_it(installation):
    make_delivery(installation, state="queued")
    deliveries.deliver_again(Delivery.objects.all(), timezone.now())
    assert not AuditEntry.objects.exists()


# --- the admin's pages -------------------------------------------------------------------------


def test_a_source_that_is_changed_in_the_admin_is_in_it(client):
    client.force_login(make_user())
    source = make_source()
    address = f"/admin/integrations/source/{source.pk}/change/"
    changes = {"allowed_origins": "https://a.example", "new_signing_secret": "on"}
    change_form(client, address, **changes)
    found = entry("source.updated")
    assert found.changes["allowed_origins"] == {"old": "", "new": "https://a.example"}
    assert found.changes["sealed_signing_secret"] == {"old": "", "new": "***"}
    assert Source.objects.get().sealed_signing_secret not in str(vars(found))


def test_a_role_and_a_password_that_are_changed_in_the_admin_are_in_it(client):
    client.force_login(make_user())
    user = make_user("ada", role="source_viewer")
    client.post(
        f"/admin/auth/user/{user.pk}/password/",
        {"password1": "a-new-one-5b1", "password2": "a-new-one-5b1", "usable_password": "true"},
    )
    assert entry("user.updated").changes == {"password": {"old": "***", "new": "***"}}
    change_form(client, f"/admin/auth/user/{user.pk}/change/", groups=[])
    newest = AuditEntry.objects.filter(action="user.updated").last()
    assert newest.changes["groups"] == {"old": ["source_viewer"], "new": []}


def test_a_token_is_in_it_and_its_text_is_not(client):
    client.force_login(make_user())
    form = {"name": "CI", "scopes": ["admin"]}
    answer = client.post("/admin/integrations/apitoken/add/", form, follow=True)
    text = re.search(r"pst_[\w-]+", answer.content.decode())[0]
    found = entry("token.created")
    assert found.changes["digest"] == {"old": None, "new": "***"}
    assert "created_at" not in found.changes  # no user changes it
    assert text not in str(vars(found))
    assert ApiToken.objects.get().digest not in str(vars(found))


def test_it_is_told_in_words_with_the_name_of_what_it_is_about(client, installation):
    delivery = make_delivery(installation, state="failed")
    client.post("/admin/login/", {"username": make_user().username, "password": "secret"})
    deliveries.deliver_again(Delivery.objects.all(), timezone.now())
    html = client.get("/admin/integrations/auditentry/").content.decode()
    assert "Logged in" in html
    assert f"Delivery {delivery.pk}" in html


# --- entries cannot be changed ------------------------------------------------------------------


def test_nothing_in_it_can_be_changed_or_deleted():
    made = audit.record("source.created", "Shop")
    with pytest.raises(NeverChanged):
        made.save()
    with pytest.raises(NeverChanged):
        made.delete()
    with pytest.raises(NeverChanged):
        AuditEntry.objects.update(actor="nobody")
    with pytest.raises(NeverChanged):
        AuditEntry.objects.all().delete()
    assert AuditEntry.objects.get().actor == ""


def test_it_keeps_the_name_of_a_user_who_is_gone(client):
    client.force_login(make_user("ada"))
    client.post(f"/admin/integrations/installation/{make_installation().pk}/pause/")
    User.objects.all().delete()
    found = entry("installation.paused")
    assert (found.user, found.actor) == (None, "ada")


def test_it_is_purged_by_age_alone():
    now = timezone.now()
    old = audit.record("source.created", "Shop")
    QuerySet.update(AuditEntry.objects.filter(pk=old.pk), at=now - timedelta(days=91))
    young = audit.record("source.updated", "Shop")
    retention.purge_old_rows(now)
    assert list(AuditEntry.objects.all()) == [young]
