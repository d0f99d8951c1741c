"""Heap's sandbox over real HTTP: accepted and rejected requests, faults, and the panel."""

import gzip
import re
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import msgspec
import pytest
import requests

from integrations.destinations.heap.sandbox import Sandbox, serve
from integrations.destinations.heap.sandbox.bodies import (
    ACCOUNT_RULE,
    IDENTIFY_RULE,
    TRACK_RULE,
    USER_RULE,
    AccountEntry,
    IdentifyBody,
    TrackEntry,
    UserEntry,
)

APP = "3000610572"
ROOT = Path(__file__).parents[4]


class Clock:
    """A clock in Unix seconds that stands still until a test moves it."""

    def __init__(self):
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """Sends requests to a sandbox as a vendor's client would, and reads its panel."""

    def __init__(self, sandbox: Sandbox, clock: Clock):
        self.sandbox, self.clock, self.url = sandbox, clock, sandbox.url
        self.session = requests.Session()
        self.session.trust_env = False

    def post(self, path: str, body, **options) -> requests.Response:
        return self.session.post(self.url + path, json=body, timeout=60, **options)

    def get(self, path: str, **options) -> requests.Response:
        return self.session.get(self.url + path, timeout=60, **options)

    def track(self, *events, app_id=APP) -> requests.Response:
        return self.post("/api/track", {"app_id": app_id, "events": list(events)})

    def identify(self, user_id, identity, app_id=APP) -> requests.Response:
        body = {"app_id": app_id, "user_id": user_id, "identity": identity}
        return self.post("/api/v1/identify", body)

    def traits(self, identity, **properties) -> requests.Response:
        body = {"app_id": APP, "identity": identity, "properties": properties}
        return self.post("/api/add_user_properties", body)

    def fault(self, *faults) -> requests.Response:
        return self.post("/_sandbox/faults", list(faults))

    @property
    def state(self) -> dict:
        return self.get("/_sandbox/state").json()

    def events(self, **query) -> list[dict]:
        return self.get("/_sandbox/events", params=query).json()["events"]

    def users(self, **query) -> list[dict]:
        return self.get("/_sandbox/users", params=query).json()["users"]

    @property
    def page(self) -> str:
        return self.get("/_sandbox/").text


def event(key="k1", *, identity="ada", name="Signed Up", **fields) -> dict:
    ids = {} if "user_id" in fields else {"identity": identity}
    return {"event": name, "idempotency_key": key, **ids, **fields}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def heap(clock):
    with Sandbox(clock=clock) as sandbox:
        client = Client(sandbox, clock)
        yield client
        client.session.close()


# Accepted requests


def test_a_single_event_is_taken_and_answered_as_heap_answers(heap):
    answer = heap.post("/api/track", {"app_id": APP, **event(properties={"plan": "pro", "n": 0})})

    assert (answer.status_code, answer.text) == (200, "{}")
    assert answer.headers["Content-Type"] == "application/json"
    [kept] = heap.events()
    assert kept == {
        "seq": 1,
        "received_at": heap.clock.now,
        "app_id": APP,
        "event": "Signed Up",
        "identity": "ada",
        "user_id": None,
        "owner": "ada",
        "session_id": "",
        "timestamp": kept["timestamp"],
        "idempotency_key": "k1",
        "properties": {"plan": "pro", "n": 0},
    }


def test_the_events_of_a_bulk_request_are_kept_in_the_order_they_came(heap):
    answer = heap.track(*(event(f"k{i}", name=f"Step {i}") for i in range(1_000)))

    assert answer.status_code == 200
    kept = heap.events()
    assert [each["event"] for each in kept] == [f"Step {i}" for i in range(1_000)]
    assert [each["seq"] for each in kept] == list(range(1, 1_001))


def test_an_event_without_a_timestamp_happened_when_it_arrived(heap):
    heap.track(event("k1"), event("k2", timestamp="2017-03-10T22:21:56+00:00"))

    assert [each["timestamp"] for each in heap.events()] == [
        "2026-11-18T11:06:40.000+00:00",
        "2017-03-10T22:21:56+00:00",
    ]


def test_a_repeated_idempotency_key_is_answered_200_and_the_first_event_stays(heap):
    heap.track(event("k1", name="First"))
    again = heap.track(event("k1", name="Second"), event("k2"), event("k2"))

    assert again.status_code == 200
    assert [each["event"] for each in heap.events()] == ["First", "Signed Up"]
    assert heap.state["duplicates_ignored"] == 2
    assert heap.get("/_sandbox/keys").json() == {"k1": 2, "k2": 2}


def test_events_without_an_idempotency_key_are_all_kept(heap):
    heap.track({"event": "A", "identity": "ada"}, {"event": "A", "identity": "ada"})

    assert heap.state["events"] == 2
    assert heap.get("/_sandbox/keys").json() == {}


def test_each_app_id_is_a_world_of_its_own(heap):
    heap.track(event("k1"), app_id="1")
    heap.track(event("k1"), app_id="2")

    assert heap.state["duplicates_ignored"] == 0
    assert heap.state["users"] == 2
    assert {app: counts["events"] for app, counts in heap.state["by_app"].items()} == {
        "1": 1,
        "2": 1,
    }
    assert [each["app_id"] for each in heap.events(app_id="2")] == ["2"]
    assert heap.get("/_sandbox/keys").json() == {"k1": 2}
    assert heap.get("/_sandbox/keys?app_id=2").json() == {"k1": 1}


def test_arrays_are_joined_and_cut_at_1024_characters(heap):
    heap.track(event(properties={"sizes": ["S", 42, 3.0, 1.5], "long": ["x" * 600, "y" * 600]}))

    [kept] = heap.events()
    assert kept["properties"]["sizes"] == "S||42||3||1.5"
    assert kept["properties"]["long"] == ("x" * 600 + "||" + "y" * 600)[:1_024]


def test_user_properties_overwrite_and_create_the_user(heap):
    answer = heap.traits("ada", plan="free", city="Paris")
    heap.traits("ada", plan="pro")

    assert (answer.status_code, answer.text) == (200, "{}")
    [user] = heap.users()
    assert user["properties"] == {"plan": "pro", "city": "Paris"}
    assert (user["identity"], user["events"]) == ("ada", 0)


def test_user_properties_are_taken_in_bulk(heap):
    users = [{"identity": f"u{i}", "properties": {"n": i}} for i in range(1_000)]
    answer = heap.post("/api/add_user_properties", {"app_id": APP, "users": users})

    assert answer.status_code == 200
    assert heap.state["users"] == heap.state["user_updates"] == 1_000
    assert heap.users(identity="u7")[0]["properties"] == {"n": 7}


def test_account_properties_are_answered_ok_single_and_in_bulk(heap):
    path = "/api/add_account_properties"
    one = {"account_id": "acme", "properties": {"tier": "gold", "seats": 5}}
    answers = [
        heap.post(path, {"app_id": APP, **one}),
        heap.post(path, {"app_id": int(APP), "accounts": [{**one, "properties": {"seats": 6}}]}),
    ]

    assert [(each.status_code, each.text) for each in answers] == [(200, "OK")] * 2
    assert heap.get("/_sandbox/accounts").json()["accounts"] == [
        {"app_id": APP, "account_id": "acme", "properties": {"tier": "gold", "seats": 6}}
    ]


def test_a_gzip_body_is_unpacked(heap):
    body = gzip.compress(b'{"app_id": "1", "event": "A", "identity": "ada"}')
    headers = {"Content-Encoding": "gzip"}

    answers = [
        heap.session.post(f"{heap.url}/api/track", data=data, headers=headers, timeout=60)
        for data in (body, b"not gzip", body[:-4])
    ]

    assert [each.status_code for each in answers] == [200, 400, 413]
    assert heap.state["events"] == 1


# Identify


def test_identify_moves_the_visitors_events_to_the_identity(heap):
    heap.track(event("k1", user_id="42"), event("k2", identity="ada"))
    answer = heap.identify("42", "ada")
    heap.track(event("k3", user_id="42"))

    assert (answer.status_code, answer.text) == (200, "{}")
    [user] = heap.users()
    assert (user["identity"], user["user_ids"], user["events"]) == ("ada", ["42"], 3)
    assert [each["owner"] for each in heap.events()] == ["ada"] * 3
    assert [each["idempotency_key"] for each in heap.events(identity="ada")] == ["k1", "k2", "k3"]


def test_a_second_identity_for_a_user_id_is_ignored_in_silence(heap):
    heap.identify("42", "ada")
    answer = heap.identify("42", "bob")

    assert (answer.status_code, answer.text) == (200, "{}")
    assert heap.users(identity="ada")[0]["user_ids"] == ["42"]
    assert heap.users(identity="bob")[0]["user_ids"] == []
    assert heap.state["second_identities_ignored"] == 1


def test_the_same_identify_again_changes_nothing(heap):
    heap.identify("42", "ada")
    heap.identify("42", "ada")

    assert heap.state["identities_linked"] == 1
    assert heap.state["second_identities_ignored"] == 0
    assert heap.users(identity="ada")[0]["user_ids"] == ["42"]


def test_an_identity_takes_ten_user_ids_in_a_month_and_more_after_it(heap):
    for number in range(11):
        assert heap.identify(str(number), "ada").status_code == 200
    assert heap.users(identity="ada")[0]["user_ids"] == [str(i) for i in range(10)]
    assert heap.state["eleventh_user_ids_ignored"] == 1

    heap.clock.now += 31 * 86_400
    heap.identify("10", "ada")

    assert "10" in heap.users(identity="ada")[0]["user_ids"]


# Rejected requests


TRACK_REFUSALS = {
    "properties is a list": ({"properties": []}, ".properties should be object"),
    "no event": ({"event": ...}, " should have required property 'event'"),
    "event is a number": ({"event": 1}, ".event should be string"),
    "event is empty": ({"event": ""}, ".event should NOT be shorter than 1 characters"),
    "event is too long": (
        {"event": "x" * 1_025},
        ".event should NOT be longer than 1024 characters",
    ),
    "both ids": ({"user_id": "1"}, " should match exactly one schema in oneOf"),
    "no id": ({"identity": ...}, " should match exactly one schema in oneOf"),
    "identity is null": ({"identity": None}, ".identity should be string"),
    "identity is too long": (
        {"identity": "x" * 256},
        ".identity should NOT be longer than 255 characters",
    ),
    "user_id is a name": (
        {"identity": ..., "user_id": "ada"},
        '.user_id should match pattern "^[0-9]{1,16}$"',
    ),
    "user_id is a number": ({"identity": ..., "user_id": 1}, ".user_id should be string"),
    "user_id is 2^53": (
        {"identity": ..., "user_id": str(2**53)},
        ".user_id should be <= 9007199254740991",
    ),
    "a key is too long": (
        {"properties": {"x" * 1_025: 1}},
        f".properties property name '{'x' * 40}…' is invalid",
    ),
    "a value is too long": (
        {"properties": {"plan": "x" * 1_025}},
        ".properties.plan should NOT be longer than 1024 characters",
    ),
    "a value is a boolean": (
        {"properties": {"is new": True}},
        ".properties['is new'] should be number,string",
    ),
    "a value is null": ({"properties": {"a": None}}, ".properties.a should be number,string"),
    "a value is an object": ({"properties": {"a": {}}}, ".properties.a should be number,string"),
    "a list holds a list": (
        {"properties": {"a": ["b", []]}},
        ".properties.a[1] should be number,string",
    ),
    "timestamp is no time": (
        {"timestamp": "yesterday"},
        '.timestamp should match format "date-time"',
    ),
    "idempotency_key is a number": ({"idempotency_key": 1}, ".idempotency_key should be string"),
}


@pytest.mark.parametrize(("change", "words"), TRACK_REFUSALS.values(), ids=TRACK_REFUSALS.keys())
def test_one_bad_event_refuses_the_whole_request_in_heaps_words(heap, change, words):
    bad = {name: v for name, v in {**event("bad"), **change}.items() if v is not ...}

    bulk = heap.track(event("good"), bad)
    single = heap.post("/api/track", {"app_id": APP, **bad})

    assert (bulk.status_code, bulk.text) == (400, f"postBody.events[1]{words}")
    assert (single.status_code, single.text) == (400, f"postBody.events[0]{words}")
    assert bulk.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (heap.state["events"], heap.get("/_sandbox/keys").json()) == (0, {})
    assert heap.state["refused"] == 2


def test_everything_at_its_limit_passes(heap):
    long = "é" * 1_024
    answers = [
        heap.track(event(name=long, identity="é" * 255, properties={long: long})),
        heap.track(event("k2", user_id="0"), event("k3", user_id=str(2**53 - 1))),
    ]

    assert [each.status_code for each in answers] == [200, 200]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/api/track", [], "postBody should be object"),
        ("/api/track", {"events": []}, "postBody should have required property 'app_id'"),
        (
            "/api/track",
            {"app_id": "test-app-id", "event": "A", "identity": "ada"},
            'postBody.app_id should match pattern "^[0-9]+$"',
        ),
        ("/api/track", {"app_id": 11, "events": []}, "postBody.app_id should be string"),
        ("/api/track", {"app_id": "11", "events": {}}, "postBody.events should be array"),
        (
            "/api/track",
            {"app_id": "11", "events": [{"event": "A", "identity": "ada"}] * 1_001},
            "postBody.events should NOT have more than 1000 items",
        ),
        (
            "/api/add_user_properties",
            {"app_id": "11", "users": [{"identity": "ada"}] * 1_001},
            "postBody.users should NOT have more than 1000 items",
        ),
        (
            "/api/add_account_properties",
            {"app_id": "11", "accounts": [{"account_id": "acme"}] * 1_001},
            "postBody.accounts should NOT have more than 1000 items",
        ),
        (
            "/api/add_user_properties",
            {"app_id": "11", "user_id": "1", "properties": {}},
            "postBody.users[0] should have required property 'identity'",
        ),
        (
            "/api/add_user_properties",
            {"app_id": "11", "identity": "ada", "properties": {"Id": 1}},
            "postBody.users[0].properties property name 'Id' is invalid",
        ),
        (
            "/api/add_user_properties",
            {"app_id": "11", "identity": "ada", "properties": {"tags": ["a"]}},
            "postBody.users[0].properties.tags should be number,string",
        ),
        (
            "/api/add_account_properties",
            {"app_id": "11", "properties": {}},
            "postBody.accounts[0] should have required property 'account_id'",
        ),
        (
            "/api/v1/identify",
            {"app_id": "11", "identity": "ada"},
            "postBody should have required property 'user_id'",
        ),
        (
            "/api/v1/identify",
            {"app_id": "11", "identity": "ada", "user_id": str(2**53)},
            "postBody.user_id should be <= 9007199254740991",
        ),
        (
            "/api/v1/identify",
            {"app_id": "11", "identity": "x" * 256, "user_id": "1"},
            "postBody.identity should NOT be longer than 255 characters",
        ),
    ],
)
def test_a_bad_request_is_refused_as_a_whole_in_heaps_words(heap, path, body, words):
    answer = heap.post(path, body)

    assert (answer.status_code, answer.text) == (400, words)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert heap.state["users"] == heap.state["events"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b'{"app_id": "\xff"}', b'{"a": 1e999}', b'["\\ud8"]'])
def test_a_body_that_is_not_json_is_refused(heap, body):
    answer = heap.session.post(f"{heap.url}/api/track", data=body, timeout=60)

    assert answer.status_code == 400
    assert answer.text.startswith("Bad request: the body is not JSON")


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        (TrackEntry, TRACK_RULE),
        (UserEntry, USER_RULE),
        (AccountEntry, ACCOUNT_RULE),
        (IdentifyBody, IDENTIFY_RULE),
    ],
)
def test_the_types_and_the_words_of_refusals_know_the_same_fields(entry, rule):
    fields = msgspec.structs.fields(entry)

    assert set(rule.rules) == {field.name for field in fields}
    assert set(rule.required) == {field.name for field in fields if field.required}


def test_other_paths_and_methods_are_not_heaps(heap):
    assert heap.post("/api/identify", {}).status_code == 404
    assert heap.get("/api/track").status_code == 405
    assert heap.state["by_endpoint"] == {"other": {"404": 1}, "/api/track": {"405": 1}}


def test_a_request_without_a_length_or_too_large_is_refused(heap):
    chunked = heap.session.post(f"{heap.url}/api/track", data=iter([b"{}"]), timeout=60)
    headers = {"Content-Length": str(65 * 2**20)}
    connection = HTTPConnection("127.0.0.1", heap.sandbox.port, timeout=60)
    connection.request("POST", "/api/track", headers=headers)

    assert (chunked.status_code, connection.getresponse().status) == (411, 413)
    connection.close()


# Rate limits


def test_no_rate_limit_is_in_force_unless_asked_for(heap):
    answers = [heap.track(*(event(f"{n}-{i}") for i in range(1_000))) for n in range(16)]

    assert {each.status_code for each in answers} == {200}
    assert heap.state["events"] == 16_000


def test_single_calls_beyond_the_limit_of_an_identity_are_answered_429(heap):
    heap.post("/_sandbox/limits", {"single_per_identity_30_s": 2})
    single = {"app_id": APP, "event": "A", "identity": "ada"}

    answers = [heap.post("/api/track", single) for _ in range(3)]
    other = heap.post("/api/track", {**single, "identity": "bob"})
    heap.clock.now += 30
    later = heap.post("/api/track", single)

    assert [each.status_code for each in answers] == [200, 200, 429]
    assert (other.status_code, later.status_code) == (200, 200)
    assert "Retry-After" not in answers[2].headers
    assert heap.state["rate_limited"] == 1
    assert heap.state["events"] == 4


def test_single_user_properties_have_a_limit_of_their_own(heap):
    heap.post("/_sandbox/limits", {"single_per_identity_30_s": 1})
    heap.post("/api/track", {"app_id": APP, "event": "A", "identity": "ada"})

    assert [heap.traits("ada", n=n).status_code for n in range(2)] == [200, 429]


def test_bulk_events_are_limited_per_identity_and_per_app_id(heap):
    limits = {"bulk_per_identity_minute": 2, "bulk_per_app_minute": 3}
    heap.post("/_sandbox/limits", limits)

    assert heap.track(event("1"), event("2"), event("3")).status_code == 429
    assert heap.track(event("1"), event("2")).status_code == 200
    assert heap.track(event("3")).status_code == 429
    assert heap.track(event("4", identity="b"), event("5", identity="c")).status_code == 429
    assert heap.track(event("6", identity="b")).status_code == 200
    assert heap.track(event("7"), app_id="2").status_code == 200
    assert heap.get("/_sandbox/limits").json() == {
        "limits": {"single_per_identity_30_s": 0, **limits},
        "documented": {
            "single_per_identity_30_s": 30,
            "bulk_per_identity_minute": 1_000,
            "bulk_per_app_minute": 15_000,
        },
    }


def test_limits_that_do_not_exist_are_refused_by_name(heap):
    answer = heap.post("/_sandbox/limits", {"per_hour": 1})

    assert answer.status_code == 400
    assert "per_hour" in answer.json()["error"]


# User deletion


def token(heap, app_id=APP, api_key="secret") -> requests.Response:
    return heap.post("/api/public/v0/auth_token", None, auth=(app_id, api_key))


def bearer(heap, app_id=APP) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(heap, app_id).json()['access_token']}"}


def delete(heap, users, headers) -> requests.Response:
    return heap.post("/api/public/v0/user_deletion", {"users": users}, headers=headers)


def test_a_deletion_is_pending_then_complete_and_the_users_are_gone(heap):
    heap.track(event("k1"), event("k2", user_id="42"), event("k3", identity="eve"))
    heap.track(event("k4"), app_id="2")
    headers = bearer(heap)

    answer = delete(heap, [{"identity": "ada"}, {"user_id": 42}], headers)

    assert answer.status_code == 201
    request = answer.json()
    assert request["status"] == "pending"
    location = request["deletion_request_location"]
    path = f"/api/public/v0/deletion_status/{request['deletion_request_id']}"
    assert location == heap.url + path
    assert heap.get(path, headers=headers).json()["status"] == "pending"
    heap.clock.now += 3
    assert heap.get(path, headers=headers).json() == {
        "deletion_request_id": request["deletion_request_id"],
        "status": "complete",
    }
    assert [each["idempotency_key"] for each in heap.events()] == ["k3", "k4"]
    assert [user["identity"] for user in heap.users(app_id=APP)] == ["eve"]
    assert heap.state["users_deleted"] == 2


def test_a_deleted_user_who_comes_back_is_a_new_one(heap):
    heap.identify("42", "ada")
    heap.traits("ada", plan="pro")
    delete(heap, [{"user_id": 42}], bearer(heap))

    heap.track(event("k9", user_id="42"))

    [user] = heap.users()
    assert (user["identity"], user["properties"], user["user_ids"]) == (None, {}, ["42"])


@pytest.mark.parametrize(("app_id", "api_key"), [("main", "secret"), (APP, "")])
def test_bad_credentials_get_no_token(heap, app_id, api_key):
    answer = token(heap, app_id, api_key)

    assert (answer.status_code, answer.json()["err"]["message"]) == (401, "Unauthorized")


def test_a_token_lives_five_minutes(heap):
    headers = bearer(heap)
    heap.clock.now += 299
    assert delete(heap, [{"identity": "ada"}], headers).status_code == 201

    heap.clock.now += 1

    assert delete(heap, [{"identity": "ada"}], headers).status_code == 401
    assert delete(heap, [{"identity": "ada"}], {}).status_code == 401


def test_a_deletion_is_unknown_to_other_environments(heap):
    number = delete(heap, [{"identity": "ada"}], bearer(heap)).json()["deletion_request_id"]
    path = "/api/public/v0/deletion_status/"

    assert heap.get(path + number, headers=bearer(heap, "2")).status_code == 404
    assert heap.get(path + "nothing", headers=bearer(heap)).status_code == 404
    assert heap.get(path + number).status_code == 401


@pytest.mark.parametrize(
    "users",
    [[], [{}], [{"identity": "a", "user_id": 1}], [{"user_id": 2**53}], [{"user_id": 1}] * 10_001],
)
def test_a_deletion_that_makes_no_sense_is_refused(heap, users):
    assert delete(heap, users, bearer(heap)).status_code == 400


# Faults


def test_scripted_statuses_come_in_order_and_nothing_is_applied(heap):
    heap.fault({"status": 503, "times": 2}, {"status": 429, "headers": {"Retry-After": "2"}})

    answers = [heap.track(event()) for _ in range(4)]

    assert [each.status_code for each in answers] == [503, 503, 429, 200]
    assert answers[2].headers["Retry-After"] == "2"
    assert heap.get("/_sandbox/keys").json() == {"k1": 1}
    assert heap.state["faulted"] == 3
    assert heap.state["requests"] == 4


def test_a_redirect_is_not_applied_and_carries_its_headers(heap):
    heap.fault({"status": 302, "headers": {"Location": "https://login.example.com"}})
    body = {"app_id": APP, **event()}
    answer = heap.post("/api/track", body, allow_redirects=False)

    assert answer.status_code == 302
    assert answer.headers["Location"] == "https://login.example.com"
    assert heap.state["events"] == 0


def test_a_reset_cuts_the_connection_and_nothing_is_applied(heap):
    heap.fault({"reset": True})
    body = b'{"app_id": "1", "event": "A", "identity": "ada"}'

    with socket.create_connection(("127.0.0.1", heap.sandbox.port), timeout=60) as connection:
        head = f"POST /api/track HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)

    assert heap.state["events"] == 0
    assert heap.state["by_endpoint"] == {"/api/track": {"reset": 1}}


@pytest.mark.parametrize("fault", [{"reset": True}, {"status": 504}])
def test_after_loses_the_answer_of_a_request_that_was_applied(heap, fault):
    heap.fault({**fault, "after": True})
    try:
        lost = heap.track(event()).status_code
    except requests.ConnectionError:
        lost = "reset"

    again = heap.track(event())

    assert lost == fault.get("status", "reset")
    assert again.status_code == 200
    assert heap.get("/_sandbox/keys").json() == {"k1": 2}
    assert heap.state["events"] == 1


def test_a_delay_waits_and_then_answers_as_usual(heap):
    heap.fault({"delay_s": 0.3}, {"delay_s": 0.3, "status": 503})

    durations = []
    answers = []
    for _ in range(2):
        began = time.monotonic()
        answers.append(heap.track(event()).status_code)
        durations.append(time.monotonic() - began)

    assert answers == [200, 503]
    assert all(0.3 <= duration < 2 for duration in durations)
    assert heap.state["events"] == 1


@pytest.mark.parametrize(("after", "applied"), [(False, 0), (True, 1)])
def test_a_delayed_request_is_applied_after_the_wait_unless_told_before(heap, after, applied):
    heap.fault({"delay_s": 1.5, "after": after})
    with pytest.raises(requests.ReadTimeout):
        heap.session.post(f"{heap.url}/api/track", json={"app_id": APP, **event()}, timeout=0.3)

    assert heap.state["events"] == applied


def test_a_slow_answer_drips_byte_by_byte(heap):
    heap.fault({"drip_s": 0.002})

    began = time.monotonic()
    answer = heap.track(event())

    assert (answer.status_code, answer.text) == (200, "{}")
    assert time.monotonic() - began > 0.002 * 100


def test_a_fault_can_wait_for_its_path(heap):
    heap.fault({"status": 503, "path": "/api/v1/identify"})

    assert heap.track(event()).status_code == 200
    assert heap.identify("1", "ada").status_code == 503
    assert heap.identify("1", "ada").status_code == 200


def test_a_fault_can_stay_on_a_poisoned_message_for_ever(heap):
    heap.fault({"match": "poison", "times": 0, "body": "bad event"})

    poisoned = [heap.track(event("k1"), event("poison")) for _ in range(3)]
    clean = heap.track(event("k1"))

    assert {(each.status_code, each.text) for each in poisoned} == {(400, "bad event")}
    assert clean.status_code == 200
    assert heap.get("/_sandbox/keys").json() == {"k1": 1}


def test_a_fault_that_does_not_fit_leaves_the_turn_to_the_next(heap):
    heap.fault({"status": 500, "path": "/api/v1/identify"}, {"status": 503})

    assert heap.track(event()).status_code == 503
    assert heap.get("/_sandbox/faults").json()["faults"][0]["path"] == "/api/v1/identify"


@pytest.mark.parametrize(
    ("script", "named"),
    [
        ([{"status": 99}], "$[0].status"),
        ([{"status": 503}, {"times": -1}], "$[1].times"),
        ([{"delay_s": "5"}], "$[0].delay_s"),
        ([{"stauts": 503}], "stauts"),
        ([{"status": 503, "headers": {"A": "b\r\nC: d"}}], "$[0].headers"),
        ([{"reset": True, "status": 503}], "reset"),
        ([{"path": "/api/track"}], "does nothing"),
        ({"status": 503}, "array"),
    ],
)
def test_a_bad_fault_script_is_refused_by_the_name_of_its_field(heap, script, named):
    heap.fault({"status": 503})

    answer = heap.post("/_sandbox/faults", script)

    assert answer.status_code == 400
    assert named in answer.json()["error"]
    assert len(heap.get("/_sandbox/faults").json()["faults"]) == 1


def test_faults_never_hit_the_pages_of_the_sandbox(heap):
    heap.fault({"status": 503, "times": 0})

    assert heap.get("/_sandbox/state").status_code == 200
    assert "1 fault is scripted" in heap.page


def test_reset_clears_events_faults_limits_and_counts(heap):
    heap.track(event())
    heap.post("/_sandbox/limits", {"bulk_per_app_minute": 1})
    heap.fault({"status": 503, "times": 0})
    heap.track(event("k2"))

    assert heap.post("/_sandbox/reset", None).json() == {"reset": True}

    assert (heap.state["events"], heap.state["requests"], heap.state["users"]) == (0, 0, 0)
    assert heap.get("/_sandbox/keys").json() == {}
    assert heap.track(event("k1"), event("k2")).status_code == 200
    assert [each["seq"] for each in heap.events()] == [1, 2]


# The panel


def test_the_state_counts_what_arrived(heap):
    heap.track(event("k1"), event("k2", user_id="42"))
    heap.traits("ada", plan="pro")
    heap.track({})

    state = heap.state

    expected = {"events": 2, "requests": 3, "users": 2, "identified_users": 1, "refused": 1}
    assert {name: state[name] for name in expected} == expected
    assert state["by_endpoint"]["/api/track"] == {"200": 1, "400": 1}
    assert (state["kept"], state["forgotten"]) == (2, 0)


def test_events_are_listed_a_page_at_a_time(heap):
    heap.track(*(event(f"k{i}") for i in range(5)))

    first = heap.get("/_sandbox/events?limit=3").json()
    rest = heap.get(f"/_sandbox/events?limit=3&after={first['next']}").json()

    assert [each["seq"] for each in first["events"]] == [1, 2, 3]
    assert [each["seq"] for each in rest["events"]] == [4, 5]
    assert rest["next"] is None
    assert heap.get("/_sandbox/events?limit=many").json() == {
        "error": "limit should be a whole number, not 'many'"
    }


def test_users_are_listed_newest_first(heap):
    for name in ("ada", "bob", "ada"):
        heap.clock.now += 1
        heap.track(event(f"{name}{heap.clock.now}", identity=name))

    assert [(user["identity"], user["events"]) for user in heap.users()] == [("ada", 2), ("bob", 1)]
    assert [user["identity"] for user in heap.users(limit=1, offset=1)] == ["bob"]


def test_the_latest_requests_are_shown_with_what_was_said(heap):
    heap.track(event("k1"), event("k2"))
    heap.track({"identity": "ada"})

    refused, taken = heap.get("/_sandbox/requests").json()["requests"]

    assert (taken["outcome"], taken["items"], taken["said"]) == ("200", 2, "")
    assert refused["outcome"] == "400"
    assert refused["said"] == "postBody.events[0] should have required property 'event'"


def test_beyond_the_cap_old_events_are_forgotten_and_counted_but_never_their_keys(clock):
    with Sandbox(clock=clock, max_events=100) as sandbox:
        heap = Client(sandbox, clock)
        heap.track(*(event(f"k{i}") for i in range(150)))
        heap.track(event("k0"))

        state = heap.state
        assert (state["events"], state["kept"], state["forgotten"]) == (150, 100, 50)
        assert state["duplicates_ignored"] == 1
        assert len(heap.get("/_sandbox/keys").json()) == 150
        assert heap.events(limit=1)[0]["seq"] == 51
        heap.session.close()


def test_fifty_thousand_keys_are_told_at_once(heap):
    for n in range(50):
        heap.track(*(event(f"{n}-{i}") for i in range(1_000)))

    began = time.monotonic()
    keys = heap.get("/_sandbox/keys").json()

    assert len(keys) == 50_000
    assert time.monotonic() - began < 1


def test_the_page_shows_users_events_and_requests_and_what_it_is(heap):
    heap.track(event(properties={"plan": "pro"}), event("k2", user_id="42"))
    heap.traits("ada", city="Paris")
    heap.track({})

    page = heap.page

    for text in ("ada", "Visitor", "42", "Signed Up", "plan", "pro", "city", "Paris", "/api/track"):
        assert text in page
    assert "local emulation of Heap’s API" in page
    assert "Nothing leaves this machine" in page
    assert "should have required property" in page


def test_the_page_loads_nothing_and_escapes_everything(heap):
    evil = "<script>alert('x')</script>\""
    heap.track(event(evil, name=evil, identity=evil, properties={evil: evil}, session_id=evil))
    heap.traits(evil, **{evil: evil, "long": evil * 10})
    heap.track({evil: 1, "event": "A", "identity": "x", "properties": {evil: None}})

    answer = heap.get("/_sandbox/")

    assert "<script" not in answer.text
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", answer.text)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not re.search(r'title="[^"]*<', answer.text)


def test_the_page_shows_fifty_users_and_twenty_events_of_each_at_most(heap):
    heap.track(*(event(f"a{i}", identity=f"user-{i:02}-") for i in range(60)))
    heap.clock.now += 1
    heap.track(*(event(f"b{i}", name=f"Step {i}!") for i in range(30)))

    page = heap.page

    assert page.count("<article") == 50
    assert "newest 50 of 61" in page
    assert page.index("<span>ada</span>") < page.index("<span>user-59-</span>")
    assert "user-10-" not in page
    assert "Step 10!" in page
    assert "Step 9!" not in page
    assert page.index("Step 29!") < page.index("Step 28!")


@pytest.mark.parametrize(
    "timestamp", ["2026-11-21", "20261121T030405Z", "2026-W47-6", "0001-01-01T00:00+14:00"]
)
def test_the_page_shows_any_timestamp_that_was_taken(heap, timestamp):
    assert heap.track(event(timestamp=timestamp)).status_code == 200

    assert heap.get("/_sandbox/").status_code == 200


def test_an_empty_sandbox_says_how_to_try_it(heap):
    page = heap.page

    assert "Nothing has arrived yet" in page
    assert f"curl {heap.url}/api/track" in page


def test_the_root_leads_to_the_page(heap):
    assert heap.get("/").url == f"{heap.url}/_sandbox/"


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:1", 200), ("evil.example.com", 403)],
)
def test_only_this_machine_may_look(heap, host, status):
    assert heap.get("/_sandbox/state", headers={"Host": host}).status_code == status


# The server


def test_it_listens_on_loopback_unless_told_otherwise():
    sandbox = serve(port=0)

    assert sandbox.url == f"http://127.0.0.1:{sandbox.port}"
    sandbox.shutdown()


def test_a_connection_is_kept_and_answers_without_the_40_ms_stall(heap):
    connection = HTTPConnection("127.0.0.1", heap.sandbox.port, timeout=60)
    connection.connect()
    first, began = connection.sock, time.monotonic()
    for _ in range(20):
        connection.request("POST", "/api/track", body=b'{"app_id": "1", "events": []}')
        assert connection.getresponse().read() == b"{}"

    assert connection.sock is first
    assert time.monotonic() - began < 20 * 0.04
    connection.close()


def test_shutdown_hangs_up_on_everyone_and_frees_the_port(clock):
    with Sandbox(clock=clock) as sandbox:
        connection = socket.create_connection(("127.0.0.1", sandbox.port), timeout=60)
        client = Client(sandbox, clock)
        client.fault({"delay_s": 30})
        Thread(target=ignore_errors, args=(client,), daemon=True).start()
        time.sleep(0.2)
        began = time.monotonic()

    assert time.monotonic() - began < 20  # of the 30 that the response is delayed
    assert connection.recv(1) == b""
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", sandbox.port), timeout=60)


def ignore_errors(client: Client) -> None:
    try:
        client.track(event())
    except requests.ConnectionError:
        return
    finally:
        client.session.close()


def test_many_clients_at_once_lose_and_double_nothing(heap):
    def send(name: str) -> None:
        with requests.Session() as session:
            for n in range(10):
                events = [event(f"{name}-{n}-{i}", identity=name) for i in range(100)]
                body = {"app_id": APP, "events": events}
                session.post(f"{heap.url}/api/track", json=body, timeout=60)

    threads = [Thread(target=send, args=(f"client{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert heap.state["events"] == 8_000
    assert set(heap.get("/_sandbox/keys").json().values()) == {1}
    kept = [each["idempotency_key"] for each in heap.events(identity="client3")]
    assert kept == [f"client3-{n}-{i}" for n in range(10) for i in range(100)]


# The command


def run_command(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, "sandbox", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


# Bare settings, because the sandbox must run without Penstock's configuration.
COMMAND = """
import sys
from django.conf import settings
settings.configure()
from integrations.management.commands.sandbox import Command
Command().run_from_argv(["manage.py", *sys.argv[1:]])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_and_stops_cleanly_when_told(number):
    process = run_command("heap", "--port", "0")
    line = process.stdout.readline()
    url = re.search(r"http://127\.0\.0\.1:\d+/_sandbox/", line).group()

    status = requests.get(f"{url}state", timeout=60).status_code
    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    assert status == 200
    assert (process.returncode, out, err) == (0, "Stopped.\n", "")


def test_the_command_says_which_vendors_have_a_sandbox():
    process = run_command("mixpanel")
    _, err = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "'mixpanel' has no sandbox. Destinations with a sandbox: heap." in err


def test_the_command_says_that_its_port_is_taken(heap):
    process = run_command("heap", "--port", str(heap.sandbox.port))
    _, err = process.communicate(timeout=60)

    assert process.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{heap.sandbox.port}" in err
