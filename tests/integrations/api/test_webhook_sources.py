"""Webhook sources by the management API: create, change, delete, and never return the secret."""

import hmac
import json

import pytest

from delivery.models import Event
from integrations.models import AuditEntry, WebhookSource
from tests.support import factories

pytestmark = pytest.mark.django_db

WEBHOOKS = "/v1/admin/webhook-sources"
SECRET = "whsec-5b1d9c"


@pytest.fixture
def shop():
    return factories.make_source()


@pytest.fixture
def billing(api, shop):
    body = {
        "name": "Billing",
        "source": shop.pk,
        "source_type": "hmac",
        "secret": SECRET,
        "signature_header": "X-Hub-Signature",
        "mappings": {"userId": "$.customer"},
    }
    status, made = api("POST", WEBHOOKS, body)
    assert status == 201, made
    return made


def call(client, webhook, secret, **body):
    text = json.dumps(body).encode()
    mac = hmac.new(secret.encode(), text, "sha256").hexdigest()
    headers = {"x-hub-signature": mac}
    return client.post(
        webhook["address"], text, content_type="application/json", headers=headers
    ).status_code


def test_what_is_made_takes_signed_calls_as_it_was_told(client, billing):
    assert call(client, billing, "another", event="Paid", customer="ada") == 401
    assert call(client, billing, SECRET, event="Paid", customer="ada") == 200
    event = Event.objects.get()
    assert (event.name, event.user_id, event.source.name) == ("Paid", "ada", "Shop")


def test_it_is_listed_and_shown_with_everything_but_its_secret(api, billing, shop):
    status, shown = api("GET", f"{WEBHOOKS}/{billing['id']}")
    assert (status, shown) == (200, billing)
    assert api("GET", WEBHOOKS, source=str(shop.pk))[1]["data"] == [shown]
    assert api("GET", WEBHOOKS, source_type="stripe")[1]["data"] == []
    assert shown["is_signed"]
    everything = str(shown) + str(list(AuditEntry.objects.values()))
    assert SECRET not in everything
    assert AuditEntry.objects.get(action="webhook_source.created").changes["sealed_secret"] == {
        "old": None, "new": "***",
    }  # fmt: skip


def test_what_is_changed_is_changed_and_the_rest_stays(api, client, billing):
    address = f"{WEBHOOKS}/{billing['id']}"
    status, changed = api("PATCH", address, {"event_type_path": "$.what", "secret": "new-5b1"})
    assert (status, changed) == (200, {**billing, "event_type_path": "$.what"})
    assert call(client, billing, SECRET, what="Paid", customer="ada") == 401
    assert call(client, billing, "new-5b1", what="Paid", customer="ada") == 200
    assert Event.objects.get().name == "Paid"


def test_a_change_of_what_was_changed_meanwhile_is_refused(api, billing):
    address = f"{WEBHOOKS}/{billing['id']}"
    api("GET", address)
    tag = {"If-Match": api.headers["ETag"]}
    assert api("PATCH", address, {"secret": "new-5b1"}, tag)[0] == 200
    assert api("PATCH", address, {"name": "Other"}, tag)[0] == 412
    assert api("DELETE", address, None, tag)[0] == 412
    assert WebhookSource.objects.get().name == "Billing"


def test_a_deleted_one_takes_no_calls_and_what_it_sent_stays(api, client, billing):
    assert call(client, billing, SECRET, event="Paid", customer="ada") == 200
    assert api("DELETE", f"{WEBHOOKS}/{billing['id']}")[0] == 204
    assert call(client, billing, SECRET, event="Paid", customer="eve") == 401
    assert Event.objects.count() == 1
    assert api("GET", f"{WEBHOOKS}/{billing['id']}")[0] == 404
    assert AuditEntry.objects.filter(action="webhook_source.deleted").exists()


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"source": 999}, {"source"}),
        ({"source_type": "github"}, {"source_type"}),
        ({"source_type": "stripe", "secret": None}, {"secret"}),
        ({"source_type": "stripe"}, {"secret"}),
        ({"mappings": {"userId": "$..a"}}, {"mappings"}),
        ({"mappings": []}, {"mappings"}),
        ({"event_type_path": "$["}, {"event_type_path"}),
        ({"name": " "}, {"name"}),
        ({"key": "wh_mine"}, {"key"}),
    ],
)
def test_what_cannot_be_one_is_refused_field_by_field(api, shop, body, wrong):
    whole = {"name": "Any", "source": shop.pk, "source_type": "none", **body}
    status, answer = api("POST", WEBHOOKS, whole)
    assert (status, set(answer["error"]["fields"])) == (422, wrong)
    assert not WebhookSource.objects.exists()


def test_an_unsigned_one_becomes_signed_only_with_a_secret(api, shop):
    body = {"name": "Any", "source": shop.pk, "source_type": "none"}
    address = f"{WEBHOOKS}/{api('POST', WEBHOOKS, body)[1]['id']}"
    status, answer = api("PATCH", address, {"source_type": "shopify"})
    assert (status, set(answer["error"]["fields"])) == (422, {"secret"})
    assert api("PATCH", address, {"source_type": "shopify", "secret": SECRET})[0] == 200


def test_a_taken_name_is_a_conflict(api, billing, shop):
    body = {"name": "Billing", "source": shop.pk, "source_type": "none"}
    assert api("POST", WEBHOOKS, body)[0] == 409
