"""Requests from web pages: CORS, beacons, and SDKs that need no host but ours to start."""

import json

import pytest
from django.core.exceptions import ValidationError

from delivery.models import Event
from integrations.models import Source, check_origins
from tests.delivery.ingest.test_endpoints import TRACK, basic, post

PAGE = "https://shop.example"
KEY = {"authorization": basic("wk_shop")}


@pytest.mark.parametrize(
    "address", ["/v1/t", "/v1/track", "/v1/batch", "/api/s/track", "/sourceConfig/", "/v1/m"]
)
def test_a_preflight_allows_whatever_is_asked_for_and_is_remembered(client, address):
    requested = "anonymousid,authorization,rsa-retry-attempt,x-retry-count"
    headers = {"origin": PAGE, "access-control-request-headers": requested}
    answer = client.options(address, headers=headers)
    assert answer.status_code == 204
    assert answer["Access-Control-Allow-Origin"] in ("*", PAGE)
    assert answer["Access-Control-Allow-Headers"] == requested
    assert "POST" in answer["Access-Control-Allow-Methods"]
    assert int(answer["Access-Control-Max-Age"]) >= 7_200
    assert "Access-Control-Request-Headers" in answer["Vary"]


def test_a_page_may_read_the_answer_and_when_to_come_again(client, source):
    answer = post(client, "/v1/t", TRACK, origin=PAGE, **KEY)
    assert answer.status_code == 200
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert answer["Access-Control-Expose-Headers"] == "Retry-After"


def test_a_page_may_read_an_error_too(client, source):
    answer = post(client, "/v1/t", {}, origin=PAGE, **KEY)
    assert (answer.status_code, answer["Access-Control-Allow-Origin"]) == (400, "*")


@pytest.mark.parametrize(
    ("listed", "origin"),
    [
        ("", "https://anywhere.example"),
        ("https://a.example\nhttps://shop.example", PAGE),
        ("https://shop.example:8443", "https://shop.example:8443"),
        ("https://*.shop.example", "https://www.shop.example"),
        ("HTTPS://Shop.example", PAGE),
    ],
)
def test_pages_of_a_listed_origin_may_send(client, source, listed, origin):
    Source.objects.update(allowed_origins=listed)
    assert post(client, "/v1/t", TRACK, origin=origin, **KEY).status_code == 200


@pytest.mark.parametrize(
    ("listed", "origin"),
    [
        ("https://shop.example", "https://evil.example"),
        ("https://shop.example", "http://shop.example"),
        ("https://shop.example", "https://shop.example.evil.example"),
        ("https://*.shop.example", PAGE),
        ("https://*.shop.example", "https://evilshop.example"),
        ("https://shop.example", "null"),
        ("https://shop.example", ""),
    ],
)
def test_pages_of_other_origins_may_not(client, source, listed, origin):
    Source.objects.update(allowed_origins=listed)
    answer = post(client, "/v1/t", TRACK, origin=origin, **KEY)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert "Access-Control-Allow-Origin" not in answer
    assert not Event.objects.exists()


def test_servers_are_not_asked_for_an_origin(client, source):
    Source.objects.update(allowed_origins=PAGE)
    assert post(client, "/v1/t", TRACK, **KEY).status_code == 200


@pytest.mark.parametrize("text", ["shop.example", "https://shop.example/", "*", "https://a b"])
def test_what_is_no_origin_cannot_be_listed(text):
    with pytest.raises(ValidationError, match="not an origin"):
        check_origins(text)


def test_a_beacon_is_plain_text_with_its_key_in_the_address(client, source):
    body = json.dumps({"batch": [TRACK | {"type": "track"}]}).encode()
    headers = {"origin": PAGE, "cookie": "sessionid=other"}
    answer = client.generic(
        "POST",
        "/beacon/v1/batch?writeKey=wk_shop",
        body,
        "text/plain;charset=UTF-8",
        headers=headers,
    )
    assert answer.status_code == 200
    assert Event.objects.count() == 1


@pytest.mark.parametrize(
    ("address", "integration"),
    [
        ("/v1/projects/wk_shop/settings", "Segment.io"),
        ("/cio/v1/projects/wk_shop/settings", "Customer.io Data Pipelines"),
    ],
)
def test_segments_browser_sdks_start_from_our_host_alone(client, source, address, integration):
    answer = client.get(address, headers={"host": "localhost:8084", "origin": PAGE})
    assert answer.status_code == 200
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert answer.json()["integrations"] == {
        integration: {"apiKey": "wk_shop", "apiHost": "localhost:8084/v1", "protocol": "http"}
    }
    assert answer.json()["metrics"] == {"sampleRate": 0}


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])  # of IPv4, of IPv6
def test_behind_a_trusted_proxy_the_sdk_is_told_to_use_https(client, source, settings, address):
    settings.TRUSTED_PROXIES = ["127.0.0.0/8"]
    client.handler.load_middleware()
    headers = {"x-forwarded-proto": "https"}
    answer = client.get("/v1/projects/wk_shop/settings", headers=headers, REMOTE_ADDR=address)
    [ours] = answer.json()["integrations"].values()
    assert ours["protocol"] == "https"


def test_anybody_else_cannot_claim_to_be_a_proxy(client, source, settings):
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    client.handler.load_middleware()
    answer = client.get("/v1/projects/wk_shop/settings", headers={"x-forwarded-proto": "https"})
    [ours] = answer.json()["integrations"].values()
    assert ours["protocol"] == "http"


@pytest.mark.parametrize(
    ("query", "headers"), [("?p=npm&writeKey=wk_shop", {}), ("?p=npm", KEY), ("?writeKey=no", KEY)]
)
def test_rudderstacks_browser_sdk_starts_from_our_host_alone(client, source, query, headers):
    answer = client.get(f"/sourceConfig/{query}", headers={"origin": PAGE, **headers})
    assert answer.status_code == 200
    config = answer.json()["source"]
    assert (config["writeKey"], config["enabled"], config["destinations"]) == ("wk_shop", True, [])
    assert config["config"]["statsCollection"]["errors"] == {"enabled": False}


@pytest.mark.parametrize("address", ["/v1/projects/wk_other/settings", "/sourceConfig/?writeKey=x"])
def test_an_unknown_key_starts_nothing(client, source, address):
    answer = client.get(address)
    assert answer.status_code == 401
    assert answer.json().keys() >= {"code", "message"}


def test_another_method_is_answered_in_words(client):
    answer = client.get("/v1/track")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
