"""Segment's SDKs for Android and Kotlin against the web server that `manage.py up` starts."""

import json
import socket
from contextlib import closing
from datetime import datetime, timedelta

import pytest

from tests.config.test_web_server import TOKEN, WRITE_KEY, running
from tests.support import databases, mobile_sdks
from tests.support.fake_vendor import FakeVendor
from tests.support.mobile_sdks import SDKS
from tests.support.processes import manage

# One group, so that the server is started once.
pytestmark = pytest.mark.xdist_group("test_mobile_sdks")

ANONYMOUS = "5f3a9c1e-8d2b-4c77-9a51-0c8f1a2b3c4d"
CONTEXT = {
    "app": {"name": "Shop", "version": "7.1", "namespace": "com.example.shop", "build": "710"},
    "device": {"id": ANONYMOUS, "manufacturer": "Google", "model": "Pixel 8", "name": "shiba"},
    "library": {"name": "analytics-android", "version": "4.11.3"},
    "locale": "de-DE",
    "network": {"wifi": True, "bluetooth": False, "cellular": False, "carrier": "unknown"},
    "os": {"name": "Android", "version": "15"},
    "screen": {"density": 2.625, "height": 2205, "width": 1080},
    "timezone": "Europe/Berlin",
    "traits": {"anonymousId": ANONYMOUS},
    "userAgent": "undefined",
}


DELIVER = """
from delivery.models import Lane
from delivery.worker import drain
from integrations.models import Installation
drain.IDLE_STAY = 0
heap = Installation.objects.get()
heap.config = {**heap.config, "region": "sandbox"}
heap.save()
for lane in Lane.objects.all():
    drain.drain_lane(lane.pk)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(
        databases.new_sqlite(tmp_path_factory.mktemp("web")), "config.rsgi:application"
    ) as it:
        yield it


def batch(sdk, prefix, tracks=1):
    """Return one message of each type and further tracks, as the SDK writes them."""
    common = {
        "channel": "mobile",
        "timestamp": "2026-11-28T09:59:58.123Z",
        "context": CONTEXT,
        "anonymousId": ANONYMOUS,
        "integrations": {},
    }
    if sdk is not mobile_sdks.ANDROID:
        del common["channel"]
        common["_metadata"] = {"bundled": [], "unbundled": ["Heap"], "bundledIds": []}
    kinds = [
        {"type": "track", "event": "Order Completed", "properties": {"total": 9.5, "ok": True}},
        {"type": "identify", "userId": "ada", "traits": {"email": "ada@example.com"}},
        {"type": "screen", "name": "Cart", "category": "Shop", "properties": {}},
        {"type": "group", "groupId": "acme", "traits": {"plan": "pro"}},
        {"type": "alias", "userId": "ada", "previousId": ANONYMOUS},
        {"type": "track", "event": "Seen by its own SDK", "integrations": {"Heap": False}},
    ]
    kinds += [{"type": "track", "event": f"Ünlaut 🛒 {n} \ud83d"} for n in range(tracks)]
    return [{**common, "messageId": f"{prefix}-{n}", **each} for n, each in enumerate(kinds)]


def api(server, path):
    head = {"Authorization": f"Bearer {TOKEN}"}
    status, _, body = server.ask("GET", f"/v1/admin/{path}", headers=head)
    assert status == 200, body
    return json.loads(body)


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
def test_every_message_of_a_batch_is_stored_as_it_was_sent(server, sdk):
    messages = batch(sdk, sdk.name)
    status, _, body = mobile_sdks.upload(sdk, server.port, WRITE_KEY, messages)
    assert (status, json.loads(body)) == (200, {"success": True, "accepted": len(messages)})
    stored = api(server, "events?limit=50")["data"]
    ids = {each["message_id"]: each["id"] for each in stored}
    for message in messages:
        event = api(server, f"events/{ids[message['messageId']]}")
        # Half of a surrogate pair, which an app gets by cutting a text, is replaced.
        assert event["body"] == json.loads(json.dumps(message).replace(r'\ud83d"', r'\ufffd"'))
        assert event["type"] == message["type"]
        assert event["anonymous_id"] == ANONYMOUS
        assert (event["user_id"] or "") == message.get("userId", "")
        # It happened 1.877 s before it was sent, by the phone's clock.
        times = [datetime.fromisoformat(event[name]) for name in ("received_at", "timestamp")]
        assert times[0] - times[1] == timedelta(seconds=1.877)
        is_off = message["integrations"] == {"Heap": False}
        assert len(event["deliveries"]) == (0 if is_off else 1)


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
def test_the_largest_batch_of_an_sdk_is_taken(server, sdk):
    filler = [
        {**each, "properties": {"x": "".join(chr(33 + (n * i) % 90) for i in range(3_000))}}
        for n, each in enumerate(batch(sdk, f"{sdk.name}-large", 120))
    ]
    assert 400_000 < len(sdk.batch(filler, WRITE_KEY)) < 600_000
    status, _, body = mobile_sdks.upload(sdk, server.port, WRITE_KEY, filler)
    assert (status, json.loads(body)["accepted"]) == (200, len(filler))


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
def test_a_wrong_key_is_a_401_and_stores_nothing(server, sdk):
    messages = batch(sdk, f"{sdk.name}-wrong")
    status, _, body = mobile_sdks.upload(sdk, server.port, "wk_unknown", messages)
    assert (status, json.loads(body)["code"]) == (401, "invalid_write_key")
    assert messages[0]["messageId"] not in {
        each["message_id"] for each in api(server, "events?limit=100")["data"]
    }


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
def test_the_settings_that_it_fetches_first_send_it_here(server, sdk):
    path = sdk.settings_path.format(key=WRITE_KEY)
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sdk.fetch_headers)]
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=60)) as wire:
        wire.sendall("\r\n".join([*lines, "", ""]).encode())
        status, _, body = mobile_sdks.fetch(wire)
    settings = json.loads(body)
    assert status == 200
    assert settings["integrations"]["Segment.io"]["apiKey"] == WRITE_KEY
    assert settings["integrations"]["Segment.io"]["apiHost"] == "127.0.0.1/v1"
    # analytics-kotlin refuses the whole document if one of these is no object.
    for name in ("integrations", "plan", "edgeFunction", "middlewareSettings", "metrics"):
        assert isinstance(settings.get(name, {}), dict)


def test_what_they_send_is_delivered(server):
    for sdk in SDKS:
        messages = batch(sdk, f"{sdk.name}-delivered")
        assert mobile_sdks.upload(sdk, server.port, WRITE_KEY, messages)[0] == 200
    with FakeVendor() as heap:
        manage({**server.env, "PENSTOCK_SANDBOX_URL": heap.url}, "shell", "-c", DELIVER)
        events = [e for _, _, body in heap.received for e in body.get("events", [])]
    keys = {event["idempotency_key"] for event in events}
    names = {event["event"] for event in events}
    assert {"Order Completed", "Ünlaut 🛒 0 �"} <= names
    assert "Seen by its own SDK" not in names
    for sdk in SDKS:
        assert any(f"{sdk.name}-delivered-0" in key for key in keys)
