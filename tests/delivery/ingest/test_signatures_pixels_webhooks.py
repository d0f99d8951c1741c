"""Signed requests, pixels and webhooks."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from django.db import OperationalError
from django.utils import timezone

from delivery.ingest import pixel, signatures, views
from delivery.ingest import store as ingest_store
from delivery.models import Event, EventBody, Rejection, Signature
from integrations.jsonpath import NOT_FOUND, find_value
from integrations.models import Source, WebhookSource
from tests.delivery.ingest.test_endpoints import TRACK, post
from tests.support.admin_pages import change_form
from tests.support.factories import make_source, make_user


@pytest.fixture
def secret(source):
    secret = source.new_signing_secret()
    source.save()
    return secret


def digest(secret, data):
    return hmac.new(secret.encode(), data, sha256).digest()


def signed(secret, body, *, at=None, source="Shop"):
    stamp = str(int((at or timezone.now()).timestamp() * 1_000))
    signature = "sha256=" + digest(secret, stamp.encode() + b"." + body).hex()
    return {"x-signature": signature, "x-timestamp": stamp, "x-source": source}


# --- signed requests -----------------------------------------------------------------------------

ONE = json.dumps(TRACK | {"type": "track"}).encode()
BATCH = json.dumps({"batch": [TRACK | {"type": "track"}]}).encode()


@pytest.mark.parametrize(("address", "body"), [("/v1/events", ONE), ("/v1/batch", BATCH)])
def test_a_signed_request_needs_no_write_key(client, secret, address, body):
    answer = post(client, address, body, **signed(secret, body))
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert Event.objects.get().name == "Signed Up"


def test_the_source_may_be_named_by_its_id(client, source, secret):
    headers = signed(secret, ONE, source=str(source.pk))
    assert post(client, "/v1/events", ONE, **headers).status_code == 200


def test_the_source_of_a_signed_request_may_be_that_of_its_write_key(client, source, secret):
    headers = signed(secret, ONE)
    del headers["x-source"]
    assert post(client, "/v1/events?writeKey=wk_shop", ONE, **headers).status_code == 200


def test_an_event_names_its_type(client, secret):
    body = json.dumps(TRACK).encode()
    answer = post(client, "/v1/events", body, **signed(secret, body))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_message")
    assert "type" in answer.json()["message"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"x-signature": "sha256=00"}, "invalid_signature"),
        ({"x-signature": "00"}, "invalid_signature"),
        ({"x-timestamp": ""}, "invalid_signature"),
        ({"x-timestamp": "soon"}, "invalid_signature"),
        ({"x-timestamp": "9" * 30}, "invalid_signature"),
        ({"x-source": "Nobody"}, "invalid_signature"),
        ({"x-source": "9" * 30}, "invalid_signature"),
        ({"x-source": "Unsigned"}, "invalid_signature"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_stored(client, secret, change, code):
    make_source("Unsigned")
    answer = post(client, "/v1/events", ONE, **signed(secret, ONE) | change)
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert not Event.objects.exists()
    assert not Rejection.objects.exists()


def test_another_body_does_not_fit(client, secret):
    answer = post(client, "/v1/events", ONE + b" ", **signed(secret, ONE))
    assert answer.status_code == 401


def test_a_write_key_does_not_make_a_wrong_signature_right(client, secret):
    headers = signed("another", ONE)
    assert post(client, "/v1/events?writeKey=wk_shop", ONE, **headers).status_code == 401


@pytest.mark.parametrize(("minutes", "status"), [(-6, 401), (-4, 200), (4, 200), (6, 401)])
def test_a_signature_holds_five_minutes_either_way(client, secret, minutes, status):
    headers = signed(secret, ONE, at=timezone.now() + timedelta(minutes=minutes))
    answer = post(client, "/v1/events", ONE, **headers)
    assert answer.status_code == status
    assert status == 200 or answer.json()["code"] == "expired_signature"


def test_a_signed_request_is_taken_once(client, secret):
    headers = signed(secret, ONE)
    post(client, "/v1/events", ONE, **headers)
    answer = post(client, "/v1/events", ONE, **headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "replayed")
    assert Event.objects.count() == 1


@pytest.mark.django_db(transaction=True)  # real transactions, as in production, not savepoints
def test_what_could_not_be_stored_may_come_again(client, secret, monkeypatch):
    def away(*args):
        raise OperationalError("the disk is full")

    headers = signed(secret, ONE)
    with monkeypatch.context() as broken:
        broken.setattr("delivery.ingest.store.fan_out", away)
        assert post(client, "/v1/events", ONE, **headers).status_code == 503
    assert post(client, "/v1/events", ONE, **headers).status_code == 200


def test_signatures_are_forgotten_when_they_would_be_refused_anyway(client, secret):
    Signature.objects.create(text="old", received_at=timezone.now() - timedelta(minutes=12))
    Signature.objects.create(text="new", received_at=timezone.now() - timedelta(minutes=10))
    post(client, "/v1/events", ONE, **signed(secret, ONE))
    assert not Signature.objects.filter(text="old").exists()
    assert Signature.objects.filter(text="new").exists()


def test_a_signing_secret_is_shown_once_and_kept_sealed(client, source):
    client.force_login(make_user())
    address = f"/admin/integrations/source/{source.pk}/change/"
    shown = change_form(client, address, new_signing_secret="on").content.decode()
    source.refresh_from_db()
    assert source.signing_secret in shown
    assert source.signing_secret not in source.sealed_signing_secret
    page = client.get(address).content.decode()
    assert source.signing_secret not in page
    change_form(client, address, name="Store")
    assert Source.objects.get().signing_secret == source.signing_secret


# --- pixels --------------------------------------------------------------------------------------

PIXEL = "/v1/pixel/track?wk=wk_shop&e=Mail%20Opened&uid=ada"


def test_a_pixel_is_an_image_that_is_never_kept_and_an_event(client, source):
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    query = f"{PIXEL}&aid=v1&mid=m-1&ts={at.timestamp() * 1_000:.0f}&p.mail=Welcome&p.n=0&cb=17"
    answer = client.get(query, headers={"referer": "https://mail.example/inbox"})
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/gif")
    assert answer.content.startswith(b"GIF89a")
    assert answer["Cache-Control"] == "no-store, no-cache, must-revalidate"
    assert (answer["Pragma"], answer["Expires"]) == ("no-cache", "0")
    assert "X-Penstock-Refused" not in answer
    event = Event.objects.get()
    assert (event.name, event.user_id, event.anonymous_id) == ("Mail Opened", "ada", "v1")
    assert (event.message_id, event.timestamp) == ("m-1", at)
    body = json.loads(event.body.text)
    assert body["properties"] == {"mail": "Welcome", "n": "0"}
    assert body["context"]["page"] == {"url": "https://mail.example/inbox"}
    assert "cb" not in body


@pytest.mark.parametrize(
    ("kind", "query", "expected"),
    [
        ("page", "e=Home&p.url=/", {"name": "Home", "properties": {"url": "/"}}),
        ("identify", "t.plan=pro", {"traits": {"plan": "pro"}}),
        ("group", "gid=g1&t.name=Ada", {"groupId": "g1", "traits": {"name": "Ada"}}),
    ],
)
def test_each_type_has_its_pixel(client, source, kind, query, expected):
    client.get(f"/v1/pixel/{kind}?wk=wk_shop&uid=ada&{query}")
    body = json.loads(EventBody.objects.get().text)
    assert {name: body[name] for name in expected} == expected
    assert Event.objects.get().type == kind


@pytest.mark.parametrize(
    ("query", "code", "kept"),
    [
        ("wk=wrong&e=A&uid=a", "invalid_write_key", 0),
        ("e=A&uid=a", "invalid_write_key", 0),
        ("wk=wk_shop&e=A", "invalid_message", 1),
    ],
)
def test_a_pixel_that_is_refused_is_an_image_all_the_same(client, source, query, code, kept):
    answer = client.get(f"/v1/pixel/track?{query}")
    assert (answer.status_code, answer.content) == (200, pixel.PIXEL_GIF)
    assert answer["X-Penstock-Refused"].startswith(code)
    assert Rejection.objects.count() == kept
    assert not Event.objects.exists()


def test_a_pixel_that_could_not_be_stored_is_an_image_and_an_error(client, source, monkeypatch):
    def away(*args, **kwargs):
        raise OperationalError("the database is away")

    monkeypatch.setattr(views, "store_messages", away)
    answer = client.get(PIXEL)
    assert (answer.status_code, answer.content) == (503, pixel.PIXEL_GIF)


def test_who_only_looks_for_a_pixel_is_no_event(client, source):
    assert client.head(PIXEL)["Content-Type"] == "image/gif"
    assert not Event.objects.exists()


# --- webhooks ------------------------------------------------------------------------------------


def make_webhook(source, kind, **fields):
    webhook = WebhookSource(name=kind, source=source, source_type=kind, **fields)
    webhook.secret = "whsec"
    webhook.save()
    return f"/v1/webhook?source={webhook.key}"


def stripe(body, at=None):
    stamp = str(int((at or timezone.now()).timestamp()))
    good = digest("whsec", stamp.encode() + b"." + body).hex()
    return {"stripe-signature": f"t={stamp},v1=00,v1={good},v0=00"}


def test_stripe(client, source):
    address = make_webhook(source, "stripe")
    invoice = {"id": "in_1", "customer": "cus_1", "amount_paid": 4_900}
    call = {"id": "evt_1", "type": "invoice.paid", "created": 1_763_722_800}
    body = json.dumps(call | {"data": {"object": invoice}}).encode()
    for _ in range(2):  # Stripe repeats a call when the response is late
        assert post(client, address, body, **stripe(body)).status_code == 200
    event = Event.objects.get()
    assert (event.name, event.user_id, event.message_id) == ("invoice.paid", "cus_1", "evt_1")
    assert event.timestamp == datetime.fromtimestamp(1_763_722_800, UTC)
    assert json.loads(event.body.text)["properties"] == invoice
    assert post(client, address, body + b" ", **stripe(body)).status_code == 401
    late = stripe(body, timezone.now() - timedelta(minutes=6))
    assert post(client, address, body, **late).status_code == 401
    assert post(client, address, body).status_code == 401


def test_shopify(client, source):
    address = make_webhook(source, "shopify")
    body = json.dumps({"id": 1, "customer": {"id": 2**60 + 1}, "total_price": "9.90"}).encode()
    headers = {
        "x-shopify-hmac-sha256": base64.b64encode(digest("whsec", body)).decode(),
        "x-shopify-topic": "orders/paid",
        "x-shopify-webhook-id": "w-1",
    }
    assert post(client, address, body, **headers).status_code == 200
    event = Event.objects.get()
    assert (event.name, event.user_id, event.message_id) == ("orders/paid", str(2**60 + 1), "w-1")
    assert post(client, address, b"{}", **headers).status_code == 401


def test_hubspot_sends_a_list(client, source):
    address = make_webhook(source, "hubspot")
    entry = {"subscriptionType": "contact.creation", "occurredAt": 1_763_722_800_000}
    body = json.dumps([entry | {"objectId": n} for n in (7, 8)]).encode()
    stamp = str(int(timezone.now().timestamp() * 1_000))
    data = b"POST" + f"http://testserver{address}".encode() + body + stamp.encode()
    headers = {
        "x-hubspot-signature-v3": base64.b64encode(digest("whsec", data)).decode(),
        "x-hubspot-request-timestamp": stamp,
    }
    for _ in range(2):
        assert post(client, address, body, **headers).status_code == 200
    assert sorted(Event.objects.values_list("user_id", flat=True)) == ["7", "8"]
    assert Event.objects.first().name == "contact.creation"
    assert post(client, address + "&x=1", body, **headers).status_code == 401


@pytest.mark.parametrize("prefix", ["", "sha256="])
def test_any_other_third_party_that_signs(client, source, prefix):
    address = make_webhook(source, "hmac", signature_header="X-Hub-Signature-256")
    body = json.dumps({"event": "Pushed", "userId": "ada", "data": {"n": 1}}).encode()
    headers = {"x-hub-signature-256": prefix + digest("whsec", body).hex()}
    assert post(client, address, body, **headers).status_code == 200
    assert json.loads(EventBody.objects.get().text)["properties"] == {"n": 1}
    assert post(client, address, body).status_code == 401
    assert post(client, address, body, **{"x-hub-signature-256": "ü"}).status_code == 401


def test_a_mapping_says_where_each_field_is(client, source):
    mappings = {
        "type": "identify",
        "userId": ["$.who.none", "$['who'].id"],
        "traits": "$.who",
        "traits.plan": "$.plans[-1].name",
        "context.ip": "header:X-Their-Client",
    }
    address = make_webhook(source, "none", event_type_path="$.what", mappings=mappings)
    body = {"what": "x", "who": {"id": 5}, "plans": [{"name": "free"}, {"name": "pro"}]}
    answer = post(client, address, body, **{"x-their-client": "192.0.2.1"})
    assert answer.json() == {"success": True, "accepted": 1}
    event = Event.objects.get()
    stored = json.loads(event.body.text)
    assert (event.type, event.user_id) == ("identify", "5")
    assert stored["traits"] == {"id": 5, "plan": "pro"}
    assert stored["context"]["ip"] == "192.0.2.1"
    assert stored["context"]["library"]["name"] == "penstock-webhook"


def test_a_call_that_makes_no_message_is_kept_and_not_asked_for_again(client, source):
    answer = post(client, make_webhook(source, "none"), {"event": "A"})
    assert (answer.status_code, answer.json()["rejected"][0]["index"]) == (200, 0)
    assert Rejection.objects.get().source == source


@pytest.mark.parametrize("body", [b"{", b"", b"[" * 100 + b"]" * 100])
def test_a_call_that_is_no_json_is_a_400_and_kept(client, source, body):
    assert post(client, make_webhook(source, "none"), body).status_code == 400
    assert Rejection.objects.count() == 1


@pytest.mark.parametrize("query", ["", "?source=", "?source=wh_other", "?source=%00"])
def test_an_unknown_address_is_refused(client, source, query):
    answer = post(client, f"/v1/webhook{query}", {})
    assert (answer.status_code, answer.json()["code"]) == (401, "unknown_webhook")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", {"a": [{"b c": 1}, 2], "x-y": None}),
        ("$.a[0]['b c']", 1),
        ('$.a[0]["b c"]', 1),
        ("$.a[-1]", 2),
        ("$.a[2]", NOT_FOUND),
        ("$.a[-3]", NOT_FOUND),
        ("$.a.b", NOT_FOUND),
        ("$.x-y", None),
        ("$.x-y.z", NOT_FOUND),
        ("$[0]", NOT_FOUND),
    ],
)
def test_a_path_names_one_place(path, found):
    assert find_value(path, {"a": [{"b c": 1}, 2], "x-y": None}) == found


@pytest.mark.parametrize("path", ["a", "$.", "$..a", "$.*", "$[*]", "$[?@.a]", "$.a[", "$a", ""])
def test_what_names_no_single_place_is_refused(path):
    with pytest.raises(ValueError, match="must begin|cannot be parsed"):
        find_value(path, {})


def test_a_webhook_is_made_in_the_admin_and_its_secret_stays_there(client, source):
    client.force_login(make_user())
    form = {"name": "Stripe", "source": source.pk, "source_type": "stripe", "mappings": "{}"}
    form |= {"signature_header": "X-Signature", "event_type_path": ""}
    page = client.post("/admin/integrations/webhooksource/add/", form)
    assert "Required, because it verifies who calls." in page.content.decode()
    wrong = form | {"secret": "whsec", "mappings": '{"userId": "$..a"}'}
    page = client.post("/admin/integrations/webhooksource/add/", wrong)
    assert "cannot be parsed" in page.content.decode()
    client.post("/admin/integrations/webhooksource/add/", form | {"secret": "whsec"})
    webhook = WebhookSource.objects.get()
    assert webhook.secret == "whsec"
    address = f"/admin/integrations/webhooksource/{webhook.pk}/change/"
    page = client.get(address).content.decode()
    # The URL is at the top of the page, because it is what users come for.
    assert webhook.key in page.partition('name="source_type"')[0]
    assert "whsec" not in page
    change_form(client, address, name="Stripe EU")
    webhook.refresh_from_db()
    assert (webhook.name, webhook.secret) == ("Stripe EU", "whsec")


def test_the_window_of_a_signature_is_remembered_whole():
    assert ingest_store.SIGNATURE_RETENTION > 2 * signatures.SIGNATURE_TOLERANCE
