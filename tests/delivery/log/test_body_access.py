"""Access to bodies of events, requests and responses, checked at every address."""

import json

import pytest
from django.urls import get_resolver
from django.urls.resolvers import URLPattern

from delivery.models import AttemptBody, Event, Rejection
from integrations.models import AuditEntry, Source
from tests.support.factories import (
    make_attempt,
    make_delivery,
    make_event,
    make_installation,
    make_token,
    make_user,
)

pytestmark = pytest.mark.django_db

SECRET = "canary-5b1f"
ID = 424_242  # of every row that holds the secret
REVEALING = {"delivery", "event", "attempt", "rejection"}
# Parts of addresses that would end or change the session.
ENDING = ("logout", "login", "refresh", "password_change", "i18n", "jsi18n")


def addresses(patterns=None, before=""):
    """Yield every address of the admin and the API, with its parameters as declared."""
    for each in get_resolver().url_patterns if patterns is None else patterns:
        address = before + str(each.pattern).replace("^", "").replace("$", "")
        if isinstance(each, URLPattern):
            if address.startswith(("admin/", "v1/admin/")):
                yield f"/{address}"
        else:
            yield from addresses(each.url_patterns, address)


def filled(address, installation):
    """Yield the address with each id that its parameter may stand for."""
    for pk in {ID, installation.pk}:
        yield (
            address.replace("<path:object_id>", str(pk))
            .replace("<int:pk>", str(pk))
            .replace("<id>", str(pk))
            .replace("<int:revision>", "1")
            .replace("<int:number>", "1")
            .replace("<int:key>", "1")
            .replace("<slug:key>", "heap")
            .replace("<str:turn>", "pause")
        )


@pytest.fixture
def installation():
    """An installation, and one row of each kind that has a body, with the secret in every body."""
    installation = make_installation()
    context, notes = json.dumps({"ip": SECRET}), json.dumps([SECRET])
    body = {"type": "track", "event": "Order Completed", "userId": "ada", "properties": {}}
    body["properties"]["card"] = SECRET
    event = make_event(id=ID, body=body, added_context=context, notes=notes)
    delivery = make_delivery(installation, event, id=ID, state="failed", notes=notes)
    attempt = make_attempt(delivery, id=ID, request={"events": [body]}, answer=SECRET)
    headers = json.dumps({"X-Echo": SECRET})
    bodies = AttemptBody.objects.filter(pk=attempt.pk)
    bodies.update(request_headers=headers, response_headers=headers)
    Rejection.objects.create(
        id=ID, source=Source.objects.get(), reason="event: is missing", text=json.dumps(body)
    )
    return installation


@pytest.fixture
def ask(client, settings):
    """Return a function that makes calls as a role and returns whether they show the secret."""
    client.raise_request_exception = False
    settings.API_RATE_LIMIT = 0

    def as_role(role):
        user = make_user(role, role=role)
        client.force_login(user)
        bearer = {"authorization": f"Bearer {make_token(user)}"}

        def ask(method, address):
            data = {
                "event_id": ID,
                "blueprint": {"version": 1, "actions": [], "otherwise": "pass"},
            }
            if address.startswith("/v1/"):
                kind = "application/json"
                answer = client.generic(method, address, json.dumps(data), kind, headers=bearer)
            else:
                data["blueprint"] = json.dumps(data["blueprint"])
                answer = client.get(address) if method == "GET" else client.post(address, data)
            assert answer.status_code < 429, (method, address)  # no rate limit, no server error
            return SECRET.encode() in answer.getvalue()

        return ask

    return as_role


def walk(ask, installation, *methods, only=""):
    """Return the calls that show the secret, as (method, address)."""
    return {
        (method, each)
        for address in addresses()
        if not any(word in address for word in ENDING) and only in address
        for each in filled(address, installation)
        if "<" not in each
        for method in methods
        if ask(method, each)
    }


SHOWING = {
    f"/admin/delivery/delivery/{ID}/change/",
    f"/admin/delivery/delivery/{ID}/raw/",
    f"/admin/delivery/event/{ID}/change/",
    f"/admin/delivery/event/{ID}/raw/",
    f"/admin/delivery/attempt/{ID}/change/",
    f"/admin/delivery/rejection/{ID}/change/",
    f"/v1/admin/deliveries/{ID}",
    f"/v1/admin/events/{ID}",
    f"/v1/admin/attempts/{ID}",
    "/v1/admin/rejections",
}


def test_an_operator_sees_bodies(ask, installation):
    shown = {address for _, address in walk(ask("source_editor"), installation, "GET")}
    assert shown >= SHOWING
    editor = f"/admin/integrations/installation/{installation.pk}/blueprint/"
    assert editor in shown  # its completion shows examples of fields


def test_an_operator_previews_a_stored_event(ask, installation):
    ask, pk = ask("source_editor"), installation.pk
    assert ask("POST", f"/v1/admin/installations/{pk}/preview")
    assert ask("POST", f"/admin/integrations/installation/{pk}/blueprint/preview/")


def test_nothing_shows_a_viewer_a_body(ask, installation):
    ask = ask("source_viewer")
    assert walk(ask, installation, "GET", "POST") == set()
    assert AuditEntry.objects.filter(action__endswith=".revealed").count() == 0


@pytest.mark.parametrize("role", ["source_viewer", "data_governance_admin"])
def test_who_does_not_see_bodies_still_sees_the_rest(client, ask, installation, role):
    ask(role)
    for kind in REVEALING:
        answer = client.get(f"/admin/delivery/{kind}/{ID}/change/")
        assert answer.status_code == 200
        assert "Only operators can see bodies" in answer.content.decode(), kind
    page = client.get(f"/admin/delivery/delivery/{ID}/change/").content.decode()
    assert "HTTP 200" in page
    assert "Order Completed" in page


def test_the_api_says_why_there_is_nothing(client, installation):
    bearer = {"authorization": f"Bearer {make_token(make_user('eve', role='source_viewer'))}"}

    def got(address):
        return client.get(f"/v1/admin/{address}", headers=bearer).json()

    delivery, event, attempt = (
        got(f"{each}/{ID}") for each in ("deliveries", "events", "attempts")
    )
    [rejection] = got("rejections")["data"]
    for each in (delivery, event, attempt, rejection):
        assert each["hidden"].startswith("Only operators can see bodies")
    assert (delivery["event"]["body"], event["body"], rejection["message"]) == (None, None, None)
    assert (attempt["request"], attempt["response"], attempt["status"]) == (None, None, 200)
    assert delivery["attempts"][0]["request"]["method"] == "POST"
    assert delivery["payloads"] == []


def test_who_may_reveal_asks_for_each_and_is_written_down(ask, installation):
    ask = ask("data_governance_admin")
    assert walk(ask, installation, "GET") == set()
    for word in ("preview", "test"):
        assert walk(ask, installation, "POST", only=word) == set()
    pages = {("POST", f"/admin/delivery/{kind}/{ID}/reveal/") for kind in REVEALING}
    kinds = ("deliveries", "events", "attempts", "rejections")
    calls = {("POST", f"/v1/admin/{kind}/{ID}/reveal") for kind in kinds}
    assert walk(ask, installation, "POST", only="reveal") == pages | calls
    entries = AuditEntry.objects.filter(action__endswith=".revealed")
    assert sorted(entries.values_list("action", "object_id", "actor")) == sorted(
        (f"{kind}.revealed", str(ID), "data_governance_admin") for kind in REVEALING for _ in "ab"
    )


def test_a_revealed_page_offers_no_file_that_is_refused(client, installation):
    for role, offered in (("data_governance_admin", False), ("source_editor", True)):
        client.force_login(make_user(role, role=role))
        ask = client.post if role == "data_governance_admin" else client.get
        address = f"/admin/delivery/event/{ID}/"
        page = ask(f"{address}{'change' if offered else 'reveal'}/").content.decode()
        assert SECRET in page
        assert ("Download JSON" in page) is offered


def test_a_list_cannot_be_asked_for_what_a_body_holds(client, installation):
    client.force_login(make_user("eve", role="source_viewer"))
    for address in (f"rejection/?text__contains={SECRET}", f"event/?body__text__contains={SECRET}"):
        answer = client.get(f"/admin/delivery/{address}")
        assert answer.status_code == 400, address
    assert client.get("/admin/delivery/rejection/").status_code == 200


def test_a_viewer_pastes_a_message_instead_of_taking_a_stored_one(client, installation):
    client.force_login(make_user("eve", role="source_viewer"))
    address = f"/admin/integrations/installation/{installation.pk}/blueprint/"
    assert f'value="{Event.objects.get().pk}"' not in client.get(address).content.decode()
    bearer = {"authorization": f"Bearer {make_token(make_user('kim', role='source_viewer'))}"}
    answer = client.post(
        f"/v1/admin/installations/{installation.pk}/preview",
        {"event_id": ID},
        content_type="application/json",
        headers=bearer,
    )
    assert answer.status_code == 403
    assert "Send a message instead" in answer.json()["error"]["message"]
