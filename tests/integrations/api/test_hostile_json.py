"""JSON that breaks parsers, databases or pages, in every call of the API that takes a body."""

import json

import pytest
from django.apps import apps
from django.contrib.auth.models import User

from delivery.models import Event, Rejection
from integrations.models import WebhookSource
from tests.support import factories
from tests.support.api_calls import CALL_ARGUMENTS, OPERATIONS

WRITES = sorted(
    (path, method)
    for (path, method), operation in OPERATIONS.items()
    if path.startswith("/v1/admin/") and "requestBody" in operation
)
READS = sorted(path for path, method in OPERATIONS if method == "GET" and "/admin/" in path)
MARK = "hostile-5b1"
KEYLESS = {"HTTP_AUTHORIZATION": ""}
TOO_DEEP_OR_TOO_LARGE = ""  # the login takes at most 10,000 bytes
# name: (the JSON of a value, what the response says about it)
VALUES = {
    "70 levels deep": ("[" * 70 + "]" * 70, "nested deeper than 64 levels"),
    "70 objects deep": ('{"a":' * 70 + "1" + "}" * 70, "nested deeper than 64 levels"),
    "3,000 levels deep": ("[" * 3_000 + "]" * 3_000, "nested deeper"),
    "100,000 levels deep": ("[" * 100_000 + "]" * 100_000, TOO_DEEP_OR_TOO_LARGE),
    "beyond a float": ("1e999", "too large"),
    "beyond a float, in a list": ('[{"a": -1e999}]', "too large"),
    "Infinity": ("Infinity", "Infinity is not a JSON number"),
    "NaN": ("[NaN]", "NaN is not a JSON number"),
    "a NUL": (f'"{MARK}\\u0000"', "NUL"),
    "a NUL in a key": ('{"a\\u0000b": 1}', "NUL"),
    "half a character": (f'"{MARK}\\ud83d"', "surrogate"),
    "half a character in a key": ('{"\\udc00": 1}', "surrogate"),
    "no UTF-8": (b'"caf\xe9"', "JSON"),
    "a key twice": ('{"a": 1, "b": {}, "a": 2}', 'The key "a" occurs twice'),
    "a key of half a character twice": (r'{"\ud83d": 1, "\ud83d": 2}', 'The key "?" occurs twice'),
    "digits": ("9" * 5_000, "JSON"),
}


@pytest.fixture
def caller(db, client, settings):
    settings.SANDBOX_URL = ""
    source = factories.make_source(write_key="wk_shop")
    installation = factories.make_installation()
    attempted = factories.make_delivery(installation, factories.make_event(source), state="failed")
    factories.make_attempt(attempted)
    Rejection.objects.create(source=source, reason="event: is missing", text='{"type": "track"}')
    WebhookSource.objects.create(name="Shop", source=source, source_type="none", key="wh_shop")
    client.defaults["HTTP_AUTHORIZATION"] = (
        f"Bearer {factories.make_token(factories.make_user('caller'))}"
    )
    client.raise_request_exception = False
    client.get("/v1/admin/tokens")  # so that the token's last use is stored
    return client


def address_of(path, method):
    """Return the address of a call, with ids that exist where there is one row of each kind."""
    arguments = CALL_ARGUMENTS.get(OPERATIONS[path, method]["operationId"], {})
    path = path.replace("{key}", "heap")
    path = path.replace("{revision}", "1")
    for part, model in IDS.items():
        if f"/{part}/{{id}}" in path:
            row = apps.get_model(model).objects.order_by("pk").first()
            return path.replace("{id}", str(row.pk if row else 1))
    return path.replace("{id}", str(arguments.get("id", 1)))


IDS = {
    "installations": "integrations.Installation",
    "sources": "integrations.Source",
    "webhook-sources": "integrations.WebhookSource",
    "deliveries": "delivery.Delivery",
    "events": "delivery.Event",
    "attempts": "delivery.Attempt",
    "users": "auth.User",
    "tokens": "integrations.ApiToken",
}


def stored():
    """Return the rows of every table that a call might write to, as text."""
    skipped = ("session", "accessattempt", "accesslog", "accessfailurelog")
    return {
        model._meta.label: sorted(map(repr, model.objects.values_list()))
        for model in apps.get_models()
        if model._meta.model_name not in skipped and model._meta.managed
    }


def send(caller, method, address, body, **head):
    body = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    return caller.generic(method, address, body, content_type="application/json", **head)


def bodies_of(path, method, value):
    """Yield (the field, a body) with the value in each field of the call's example, and beside."""
    value = value if isinstance(value, bytes) else value.encode()
    example = CALL_ARGUMENTS.get(OPERATIONS[path, method]["operationId"], {}).get("body", {})
    for name in [*example, "hostile"]:
        others = {key: each for key, each in example.items() if key != name}
        body = json.dumps({**others, name: MARK}).encode()
        yield name, body.replace(b'"%s"' % MARK.encode(), value)


@pytest.mark.parametrize(("path", "method"), WRITES)
def test_a_hostile_value_is_named_and_nothing_is_stored(caller, path, method):
    address, before = address_of(path, method), stored()
    for name, (value, said) in VALUES.items():
        for field, body in bodies_of(path, method, value):
            answer = send(caller, method, address, body)
            text = json.dumps(answer.json()["error"], ensure_ascii=False)
            assert 400 <= answer.status_code < 500, (name, field, answer.content)
            assert said in text.replace('\\"', '"'), (name, field, text)
            if answer.status_code == 422:
                assert field in text, (name, text)
    assert stored() == before


@pytest.mark.parametrize(("path", "method"), WRITES)
def test_a_body_over_2_mb_is_a_413(caller, path, method):
    address, before = address_of(path, method), stored()
    answer = send(caller, method, address, b'{"a": "%s"}' % (b"x" * 2_000_000))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "TOO_LARGE")
    assert stored() == before


def test_the_strangest_json_that_is_stored_breaks_no_reader(caller):
    deep = "[" * 60 + "]" * 60
    context = f'{{"n": {"9" * 4_000}, "f": 1e308, "tiny": 5e-324, "deep": {deep}, "": "\\uffff"}}'
    body = f'\ufeff{{"default_context": {context}}}'
    answer = send(caller, "PATCH", address_of("/v1/admin/sources/{id}", "PATCH"), body)
    assert answer.status_code == 200, answer.content
    messages = [
        value if isinstance(value, bytes) else value.encode() for value, _ in VALUES.values()
    ]
    for value in [context.encode(), *messages]:
        body = b'{"event": "Seen", "userId": "ada", "properties": %s}' % value
        for path, sent in (("track?writeKey=wk_shop", body), ("webhook?source=wh_shop", value)):
            answer = send(caller, "POST", f"/v1/{path}", sent, **KEYLESS)
            assert answer.status_code in (200, 400), (path, sent[:80])
    assert Event.objects.count() > 5
    events = [f"/v1/admin/events/{pk}" for pk in pks_of("event")]
    for path in [*events, *(address_of(path, "GET") for path in READS)]:
        answer = caller.get(path, {"format": "ndjson"} if path.endswith("/export") else {})
        assert answer.status_code in (200, 404), (path, answer.content)  # 404: no such row
        assert answer.streaming or answer.content
    caller.force_login(User.objects.get(username="caller"))
    for kind in ("event", "rejection"):
        pages = [f"/admin/delivery/{kind}/{pk}/change/" for pk in pks_of(kind)]
        for page in [f"/admin/delivery/{kind}/", *pages]:
            assert caller.get(page).status_code == 200, page


def pks_of(kind):
    return apps.get_model("delivery", kind).objects.values_list("pk", flat=True)
