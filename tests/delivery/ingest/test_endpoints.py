"""The endpoints, as SDKs see them."""

import base64
import gzip
import http.client
import json
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from segment.analytics import Client

from delivery.ingest import authentication, views
from delivery.models import Delivery, Event, EventBody, Rejection, Tally
from delivery.transform.stored_messages import STORED_MESSAGE_COLUMNS, decode_stored_message
from integrations.blueprints.message_view import build_message_view, format_iso
from integrations.catalog import catalog
from integrations.installations.install import install
from integrations.models import Source
from tests.support.recordings import RECORDING_NAMES, WRITE_KEYS, load_recording

TRACK = {"event": "Signed Up", "userId": "ada", "messageId": "message-1"}


def post(client, address, data, **headers):
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return client.generic("POST", address, body, headers=headers)


def basic(key):
    return f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}"


def test_a_track_is_stored_and_answered_with_exactly_200(client, source):
    answer = post(client, "/v1/track", TRACK, authorization=basic("wk_shop"))
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    event = Event.objects.get()
    assert (event.type, event.name, event.user_id) == ("track", "Signed Up", "ada")
    assert json.loads(event.body.text) == TRACK


@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group", "alias"])
def test_each_type_has_its_addresses(client, source, kind):
    message = {"userId": "a", "event": "E", "groupId": "g", "previousId": "p"}
    for address in (f"/v1/{kind}", f"/v1/{kind[0]}", f"/api/s/{kind}", f"/api/s/s2s/{kind}"):
        answer = post(client, address, message, authorization=basic("wk_shop"))
        assert answer.status_code == 200
    assert list(Event.objects.values_list("type", flat=True)) == [kind] * 4


@pytest.mark.parametrize("address", ["/v1/batch", "/v1/import", "/v1/b", "/beacon/v1/batch"])
def test_a_batch_is_stored(client, source, address):
    batch = {"batch": [TRACK | {"type": "track", "messageId": f"m{n}"} for n in range(3)]}
    answer = post(client, address, batch, authorization=basic("wk_shop"))
    assert (answer.status_code, answer.json()) == (200, {"success": True, "accepted": 3})
    assert Event.objects.count() == 3


def test_what_sdks_report_about_themselves_is_no_event(client, source):
    answer = post(client, "/v1/m", {"series": []})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert not Event.objects.exists()


def test_by_default_a_message_has_64_kb_and_a_request_2500_messages_and_5_mb(client, source):
    def send(batch):
        return post(client, "/v1/batch", {"batch": batch}, authorization=basic("wk_shop"))

    small, large = (
        {"type": "track", "event": "A", "userId": "a"},
        {"type": "track", "x": "y" * 65_536},
    )
    assert send([small, large]).json()["rejected"][0]["index"] == 1
    assert send([small] * 2_501).json()["code"] == "too_many_messages"
    assert send([small | {"x": "y" * 50_000}] * 100).status_code == 413
    assert Event.objects.count() == 1


@pytest.mark.parametrize(
    ("headers", "query", "body"),
    [
        ({"authorization": basic("wk_shop")}, "", {}),
        ({"authorization": "Bearer wk_shop"}, "", {}),
        ({"x-write-key": "wk_shop:secret"}, "", {"writeKey": "wk_shop:***"}),
        ({}, "?writeKey=wk_shop", {}),
        ({}, "", {"writeKey": "wk_shop"}),
    ],
)
def test_the_write_key_may_stand_in_any_of_the_places_sdks_put_it(
    client, source, headers, query, body
):
    assert post(client, f"/v1/track{query}", TRACK | body, **headers).status_code == 200


def test_the_write_key_may_stand_in_the_first_message_of_a_batch(client, source):
    batch = {"batch": [TRACK | {"type": "track", "writeKey": "wk_shop"}]}
    assert post(client, "/v1/batch", batch).status_code == 200
    assert "wk_shop" not in EventBody.objects.get().text


@pytest.mark.parametrize("headers", [{}, {"authorization": basic("wrong")}])
def test_without_a_known_write_key_nothing_is_stored(client, source, headers):
    answer = post(client, "/v1/track", TRACK, **headers)
    assert answer.status_code == 401
    assert answer.json().keys() >= {"code", "message"}
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""]
)
def test_the_body_is_json_whatever_its_type_says(client, source, content_type):
    body = json.dumps(TRACK).encode()
    headers = {"authorization": basic("wk_shop")}
    answer = client.generic("POST", "/v1/track", body, content_type, headers=headers)
    assert answer.status_code == 200


def test_gzip_is_unpacked(client, source):
    body = gzip.compress(json.dumps(TRACK).encode())
    headers = {"authorization": basic("wk_shop"), "content-encoding": "gzip"}
    assert post(client, "/v1/track", body, **headers).status_code == 200
    assert json.loads(EventBody.objects.get().text) == TRACK


@pytest.mark.parametrize("body", [b"", b"{", b'{"batch":7}'])
def test_what_cannot_be_read_is_a_400_with_code_and_message(client, source, body):
    answer = post(client, "/v1/batch", body, authorization=basic("wk_shop"))
    assert answer.status_code == 400
    assert answer.json().keys() >= {"code", "message"}


def test_a_request_over_the_limit_is_a_413(client, source, settings):
    settings.MAX_REQUEST_BYTES = 100
    answer = post(client, "/v1/track", TRACK | {"x": "y" * 100}, authorization=basic("wk_shop"))
    assert answer.status_code == 413
    assert "100" in answer.json()["message"]


def test_a_bad_message_of_a_batch_is_named_and_kept_and_the_good_ones_are_stored(client, source):
    batch = {"batch": [TRACK | {"type": "track"}, {"type": "track", "userId": "ada"}]}
    answer = post(client, "/v1/batch", batch, authorization=basic("wk_shop"))
    assert answer.status_code == 200
    [rejected] = answer.json()["rejected"]
    assert rejected["index"] == 1
    assert "event" in rejected["message"]
    rejection = Rejection.objects.get()
    assert json.loads(rejection.text) == {"type": "track", "userId": "ada"}
    assert Event.objects.count() == 1


def test_a_bad_single_message_is_a_400_and_kept(client, source):
    answer = post(client, "/v1/track", {"userId": "ada"}, authorization=basic("wk_shop"))
    assert answer.status_code == 400
    assert Rejection.objects.count() == 1


@pytest.mark.parametrize("body", [b'{"batch":[', b'{"messages":[]}', b'{"batch":[1,2,3]}'])
def test_a_request_that_is_refused_as_a_whole_is_kept_too(client, source, settings, body):
    settings.MAX_BATCH_MESSAGES = 2
    answer = post(client, "/v1/batch", body, authorization=basic("wk_shop"))
    assert answer.status_code == 400
    rejection = Rejection.objects.get()
    assert (rejection.source, rejection.text) == (source, body.decode())
    assert answer.json()["message"].startswith(rejection.reason[:100])


@pytest.mark.parametrize("body", [b'{"writeKey":"wk_shop","event":"x"}', b'{"writeKey":"wk_shop",'])
def test_a_rejected_message_is_kept_without_its_write_key(client, source, body):
    headers = {} if body.endswith(b"}") else {"authorization": basic("wk_shop")}
    assert post(client, "/v1/track", body, **headers).status_code == 400
    assert Rejection.objects.get().text == body.decode().replace("wk_shop", "***")


def test_what_comes_without_a_known_write_key_is_not_kept(client, source):
    post(client, "/v1/batch", b"{", authorization=basic("wrong"))
    assert not Rejection.objects.exists()


def test_nul_in_an_id_is_stored(client, source):
    ids = {"messageId": "a\x00b", "userId": "ada\x00", "event": "\x00"}
    refused = {"type": "tr\x00ck", "userId": "a"}
    batch = {"batch": [TRACK | ids | {"type": "track"}, refused]}
    assert post(client, "/v1/batch", batch, authorization=basic("wk_shop")).status_code == 200
    assert Event.objects.get().user_id == "ada�"
    assert json.loads(EventBody.objects.get().text)["userId"] == "ada\x00"
    assert Rejection.objects.count() == 1


def test_a_write_key_with_a_nul_is_unknown(client, source):
    answer = post(client, "/v1/track", TRACK | {"writeKey": "wk_shop\x00"})
    assert answer.status_code == 401


def test_a_corrected_time_is_stored_noted_and_the_original_one_is_kept(client, source):
    """The clock is an hour slow, and the call was made ten seconds before it was sent."""
    sent = timezone.now() - timedelta(hours=1)
    called = (sent - timedelta(seconds=10)).isoformat()
    call = TRACK | {"timestamp": called, "sentAt": sent.isoformat()}
    post(client, "/v1/track", call, authorization=basic("wk_shop"))
    event = Event.objects.select_related("body").get()
    assert abs(event.timestamp - event.received_at + timedelta(seconds=10)) < timedelta(seconds=5)
    assert "corrected" in json.loads(event.notes)[0]
    view = build_message_view(
        decode_stored_message(
            event.body.text, *(getattr(event, each) for each in STORED_MESSAGE_COLUMNS[1:])
        )
    )
    assert view["originalTimestamp"] == called
    assert view["timestamp"] == format_iso(event.timestamp)


def test_addresses_are_not_redirected(client, source):
    answer = post(client, "/v1/track/", TRACK, authorization=basic("wk_shop"))
    assert answer.status_code == 200


def test_the_same_message_id_is_one_event_and_one_delivery(client, source):
    install(catalog()["heap"], name="Heap", config={"app_id": "1"})
    for _ in range(2):
        twice = {"batch": [TRACK | {"type": "track"}] * 2}
        assert post(client, "/v1/batch", twice, authorization=basic("wk_shop")).status_code == 200
    assert Event.objects.count() == Delivery.objects.count() == 1
    assert [tally.events for tally in Tally.objects.all()] == [1]


def test_of_two_messages_with_one_id_the_first_is_stored_whole(client, source):
    batch = {"batch": [TRACK | {"type": "track", "event": name} for name in ("One", "Two")]}
    post(client, "/v1/batch", batch, authorization=basic("wk_shop"))
    event = Event.objects.get()
    assert (event.name, json.loads(event.body.text)["event"]) == ("One", "One")


def test_events_are_numbered_in_the_order_in_which_they_happened(client, source):
    minutes = {"z": 3, "a": 2, "m": 1}
    batch = [
        TRACK | {"type": "track", "messageId": name, "timestamp": f"2026-11-21T12:{59 - ago}:00Z"}
        for name, ago in reversed(minutes.items())
    ]
    post(client, "/v1/batch", {"batch": batch}, authorization=basic("wk_shop"))
    assert list(Event.objects.order_by("pk").values_list("message_id", flat=True)) == [
        "z",
        "a",
        "m",
    ]


@pytest.mark.django_db(transaction=True)  # real transactions, as in production, not savepoints
def test_what_cannot_be_stored_whole_is_not_stored_at_all(client, source, monkeypatch):
    def broken(*args):
        raise OperationalError("the disk is full")

    monkeypatch.setattr("delivery.ingest.store.fan_out", broken)
    answer = post(client, "/v1/track", TRACK, authorization=basic("wk_shop"))
    assert answer.status_code == 503
    assert not Event.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_what_the_database_refuses_at_the_end_is_not_stored_at_all(client, source):
    """The statements are collected and sent together."""
    install(catalog()["heap"], name="Heap", config={"app_id": "1"})
    post(client, "/v1/track", TRACK, authorization=basic("wk_shop"))
    taken = Delivery.objects.get()
    Delivery.objects.filter(pk=taken.pk).update(event_id=taken.event_id + 1)
    again = TRACK | {"messageId": "message-2"}
    assert post(client, "/v1/track", again, authorization=basic("wk_shop")).status_code == 503
    assert Event.objects.count() == EventBody.objects.count() == Tally.objects.count() == 1
    later = TRACK | {"messageId": "message-3"}
    status = 503 if connection.vendor == "sqlite" else 200  # SQLite assigns the same id again
    assert post(client, "/v1/track", later, authorization=basic("wk_shop")).status_code == status


def test_the_same_message_id_of_another_source_is_another_event(client, source):
    Source.objects.create(name="App", write_key="wk_app")
    for key in ("wk_shop", "wk_app"):
        post(client, "/v1/track", TRACK, authorization=basic(key))
    assert Event.objects.count() == 2


def test_every_event_is_offered_to_every_installation_and_counted(client, source):
    for name in ("One", "Two"):
        install(catalog()["heap"], name=name, config={"app_id": "1"})
    post(client, "/v1/track", TRACK, authorization=basic("wk_shop"))
    assert Delivery.objects.count() == 2
    tally = Tally.objects.get()
    assert list(json.loads(tally.unwanted).values()) == [0, 0]


def test_when_nothing_can_be_stored_the_sdk_is_asked_to_come_again(
    client, source, monkeypatch, caplog
):
    def down(*args, **kwargs):
        raise OperationalError("the database is away")

    monkeypatch.setattr(views, "store_messages", down)
    page = {"authorization": basic("wk_shop"), "origin": "https://shop.example"}
    answer = post(client, "/v1/track", TRACK, **page)
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert answer["Access-Control-Expose-Headers"] == "Retry-After"
    assert answer.json().keys() >= {"code", "message"}
    assert "Could not store the request: the database is away" in caplog.text
    assert "Traceback" not in caplog.text


def test_ingest_takes_no_more_statements_for_more_messages(
    client, source, django_assert_max_num_queries
):
    install(catalog()["heap"], name="Heap", config={"app_id": "1"})
    batch = {"batch": [TRACK | {"type": "track", "messageId": f"m{n}"} for n in range(500)]}
    post(client, "/v1/track", TRACK, authorization=basic("wk_shop"))
    with django_assert_max_num_queries(16):
        post(client, "/v1/batch", batch, authorization=basic("wk_shop"))
    assert Event.objects.count() == 501


def test_a_source_is_read_anew_every_few_seconds(client, source, monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr(authentication.time, "monotonic", lambda: now[0])
    page = {"authorization": basic("wk_shop"), "origin": "https://shop.example"}
    assert post(client, "/v1/track", TRACK, **page).status_code == 200
    Source.objects.update(allowed_origins="https://other.example")
    now[0] += authentication.SOURCE_CACHE_SECONDS - 0.1
    assert post(client, "/v1/track", TRACK, **page).status_code == 200
    now[0] += 0.2
    assert post(client, "/v1/track", TRACK, **page).status_code == 403


def test_a_source_made_a_moment_ago_is_known_at_once(client, source):
    assert post(client, "/v1/track", TRACK, authorization=basic("wk_new")).status_code == 401
    Source.objects.create(name="New", write_key="wk_new")
    assert post(client, "/v1/track", TRACK, authorization=basic("wk_new")).status_code == 200


# --- real SDKs -----------------------------------------------------------------------------------

needs_recordings = pytest.mark.skipif(not RECORDING_NAMES, reason="there are no recordings of SDKs")


@needs_recordings
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", RECORDING_NAMES or ["none"])
def test_what_a_real_sdk_sent_is_what_is_stored(live_server, name):
    for number, key in enumerate(WRITE_KEYS):
        Source.objects.create(name=f"Recorded {number}", write_key=key)
    sent = {}
    connection = http.client.HTTPConnection(live_server.thread.host, live_server.thread.port)
    for request in load_recording(name):
        headers = request.headers | {"Host": "127.0.0.1"}
        connection.request(request.method, request.target, request.body, headers)
        answer = connection.getresponse()
        ANSWERED[request.method](request, answer)
        if request.method == "POST":
            for message in request.messages():
                sent.setdefault(message["messageId"], message)
    connection.close()
    stored = EventBody.objects.values_list("event__message_id", "text")
    assert {message_id: json.loads(text) for message_id, text in stored} == _masked(sent)


def _stored(request, answer):
    assert answer.status == 200, request.target
    body = json.load(answer)
    assert (body["success"], body.get("rejected")) == (True, None)
    _readable(request, answer)


def _allowed(request, answer):
    assert (answer.status, answer.read()) == (204, b"")
    requested = request.headers["Access-Control-Request-Headers"]
    assert answer.headers["Access-Control-Allow-Headers"] == requested
    assert (
        request.headers["Access-Control-Request-Method"]
        in (answer.headers["Access-Control-Allow-Methods"])
    )
    _readable(request, answer)


def _started(request, answer):
    assert answer.status == 200
    assert json.load(answer).keys() & {"integrations", "source"}
    _readable(request, answer)


def _readable(request, answer):
    origin = request.headers.get("Origin")
    if origin:
        assert answer.headers["Access-Control-Allow-Origin"] in ("*", origin)


ANSWERED = {"POST": _stored, "OPTIONS": _allowed, "GET": _started}


@pytest.mark.django_db(transaction=True)
def test_the_sdk_from_pypi_delivers_everything_it_was_told(live_server):
    Source.objects.create(name="SDK", write_key="wk_sdk")
    sdk = Client("wk_sdk", host=live_server.url, gzip=True, max_retries=0, on_error=_fail)
    for n in range(250):
        sdk.track(f"user-{n % 7}", "Signed Up", {"number": n, "nested": {"ok": True}})
    sdk.identify("user-1", {"email": "ada@example.com"})
    sdk.shutdown()
    assert Event.objects.filter(type="track").count() == 250
    stored = EventBody.objects.filter(event__type="track").values_list("text", flat=True)
    numbers = {json.loads(text)["properties"]["number"] for text in stored}
    assert numbers == set(range(250))
    assert json.loads(EventBody.objects.get(event__type="identify").text)["traits"] == {
        "email": "ada@example.com"
    }


def _fail(error, batch):
    raise AssertionError(f"the SDK failed: {error}")


def _masked(sent):
    """Return messages as they are stored: no write key, halves of surrogate pairs replaced."""
    text = json.dumps(sent, ensure_ascii=False)
    sent = json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return {
        message_id: message | ({"writeKey": "***"} if "writeKey" in message else {})
        for message_id, message in sent.items()
    }
