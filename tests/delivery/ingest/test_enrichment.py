"""Context that is added to a message without touching its body: address, user agent, cookie."""

import json

import pytest

from delivery.ingest import enrichment
from delivery.models import Event
from delivery.transform.stored_messages import STORED_MESSAGE_COLUMNS, decode_stored_message
from integrations.models import Source
from tests.delivery.ingest.test_endpoints import TRACK, basic, post

PAGE = {"origin": "https://shop.example", "user-agent": "Mozilla/5.0 (Test)"}
SERVER = {"user-agent": "analytics-python/2.4.0"}
COOKIE = "_psid"


def send(client, message=TRACK, **headers):
    return post(client, "/v1/track", message, authorization=basic("wk_shop"), **headers)


def seen():
    """Return the newest event as destinations see it."""
    event = Event.objects.select_related("body").latest("pk")
    return decode_stored_message(
        event.body.text, *(getattr(event, each) for each in STORED_MESSAGE_COLUMNS[1:])
    )


def test_what_a_page_sends_gets_its_address_and_user_agent_and_the_body_stays(client, source):
    send(client, **PAGE)
    assert seen().context == {"ip": "127.0.0.1", "userAgent": "Mozilla/5.0 (Test)"}
    assert json.loads(Event.objects.get().body.text) == TRACK


def test_what_the_message_says_itself_counts(client, source):
    send(client, TRACK | {"context": {"ip": "192.0.2.9", "locale": "de"}}, **PAGE)
    assert seen().context == {
        "ip": "192.0.2.9",
        "locale": "de",
        "userAgent": "Mozilla/5.0 (Test)",
    }


def test_the_address_of_a_server_says_nothing_about_its_users(client, source):
    send(client, **SERVER)
    assert seen().context == {}
    assert Event.objects.get().added_context == ""


def test_a_server_that_asks_for_the_address_of_the_request_gets_it(client, source):
    send(client, TRACK | {"context": {"direct": True}}, **SERVER)
    assert seen().context["ip"] == "127.0.0.1"


def test_the_context_of_a_source_lies_under_that_of_its_messages(client, source):
    Source.objects.update(default_context={"app": {"name": "Shop"}, "locale": "en"})
    send(client, TRACK | {"context": {"locale": "de"}}, **SERVER)
    assert seen().context == {"app": {"name": "Shop"}, "locale": "de"}


def test_a_context_that_is_no_object_gives_way(client, source):
    send(client, TRACK | {"context": 5}, **PAGE)
    assert seen().context["ip"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("192.0.2.129", "192.0.2.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("::ffff:192.0.2.129", "192.0.2.0"),
        ("", ""),
        ("unix:", ""),
    ],
)
def test_an_address_can_be_kept_without_its_end(address, kept):
    assert enrichment.client_ip({"REMOTE_ADDR": address}, anonymise=True) == kept


def test_whether_addresses_are_kept_whole_is_a_setting(client, source, settings):
    settings.ANONYMISE_IP = True
    send(client, **PAGE)
    assert seen().context["ip"] == "127.0.0.0"


@pytest.mark.parametrize(
    ("forwarded", "client_is"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("198.51.100.7, 192.0.2.1", "192.0.2.1"),
        ("198.51.100.7, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("nonsense", "127.0.0.1"),
        ("192.0.2.1, nonsense", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_the_client_is_whom_the_last_trusted_proxy_saw(
    client, source, settings, forwarded, client_is
):
    settings.TRUSTED_PROXIES = ["127.0.0.1", "10.0.0.0/8"]
    client.handler.load_middleware()
    send(client, **PAGE, **{"x-forwarded-for": forwarded})
    assert seen().context["ip"] == client_is


def test_without_trusted_proxies_nobody_is_believed(client, source):
    send(client, **PAGE, **{"x-forwarded-for": "192.0.2.1"})
    assert seen().context["ip"] == "127.0.0.1"


# --- the cookie ----------------------------------------------------------------------------------


def test_a_source_that_asks_for_it_gives_each_browser_a_cookie(client, source):
    Source.objects.update(visitor_cookie=True)
    cookie = send(client, **PAGE).cookies[COOKIE]
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Lax")
    assert (cookie["max-age"], cookie["path"]) == (34_560_000, "/")
    assert seen().anonymous_id == cookie.value


def test_the_cookie_is_kept_and_is_the_visitor_of_messages_that_name_none(client, source):
    Source.objects.update(visitor_cookie=True)
    first = send(client, **PAGE).cookies[COOKIE].value
    again = send(client, {"event": "A"}, **PAGE)
    assert again.status_code == 200
    assert again.cookies[COOKIE].value == first
    assert seen().anonymous_id == first
    send(client, {"event": "A", "anonymousId": "own"}, **PAGE)
    assert seen().anonymous_id == "own"


def test_a_cookie_that_is_not_ours_is_replaced(client, source):
    Source.objects.update(visitor_cookie=True)
    client.cookies[COOKIE] = "x" * 36
    assert send(client, **PAGE).cookies[COOKIE].value != "x" * 36


def test_a_page_may_send_the_cookie_along(client, source):
    Source.objects.update(visitor_cookie=True)
    preflight = client.options("/v1/t", headers={"origin": PAGE["origin"]})
    for answer in (preflight, send(client, **PAGE)):
        assert answer["Access-Control-Allow-Origin"] == PAGE["origin"]
        assert answer["Access-Control-Allow-Credentials"] == "true"
        assert "Origin" in answer["Vary"]


def test_a_pixel_has_the_cookie_too(client, source):
    Source.objects.update(visitor_cookie=True)
    answer = client.get("/v1/pixel/page?wk=wk_shop")
    assert "X-Penstock-Refused" not in answer
    assert seen().anonymous_id == answer.cookies[COOKIE].value


@pytest.mark.parametrize(("asks", "headers"), [(False, PAGE), (True, SERVER)])
def test_nobody_else_gets_one(client, source, asks, headers):
    Source.objects.update(visitor_cookie=asks)
    answer = send(client, **headers)
    assert COOKIE not in answer.cookies
    assert seen().anonymous_id == ""
