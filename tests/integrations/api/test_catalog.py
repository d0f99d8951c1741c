"""Installing by the management API, as the destination's setup page describes."""

import json
import logging

import pytest
from django.db import connection

from integrations.encryption import reveal
from integrations.models import Installation
from tests.support.factories import TOKEN, make_installation, make_token, make_user

pytestmark = pytest.mark.django_db

CATALOG = "/v1/admin/integration-catalog"
CANARY = "canary-5b1d9c"
# The seed's command, word for word, except for an API key that the tests can search for.
BODY = {
    "name": "Heap",
    "variant": "default",
    "config": {"app_id": "1234567890", "api_key": CANARY},
    "delivery_mode": "server_side",
}


@pytest.fixture(autouse=True)
def _sandbox(settings):
    settings.SANDBOX_URL = "http://127.0.0.1:8085"


@pytest.fixture
def bearer():
    return {"authorization": f"Bearer {make_token()}"}


def install(client, headers, body=BODY, key="heap", content_type="application/json"):
    text = body if isinstance(body, str) else json.dumps(body)
    address = f"{CATALOG}/{key}/install"
    return client.generic("POST", address, text, content_type=content_type, headers=headers)


def refusal(answer):
    """Return the status, code and fields of an error, whose shape is the same everywhere."""
    error = answer.json()["error"]
    assert {"code", "message", "request_id"} == set(error) - {"fields"}
    assert error["message"]
    assert error["request_id"] == answer.headers["X-Request-Id"]
    return answer.status_code, error["code"], error.get("fields", {})


def test_the_seeds_command_installs_heap(client, bearer):
    answer = install(client, bearer)
    installation = Installation.objects.get()
    shown = answer.json()
    assert answer.status_code == 201
    assert (shown["id"], shown["name"], shown["destination"]) == (installation.pk, "Heap", "heap")
    assert shown["config"] == {
        "app_id": "1234567890",
        "api_key": "***",
        "region": "sandbox",
        "arrays": "json",
        "objects": "flatten",
        "visitors": "number",
        "same_ids": "once",
    }
    assert (shown["variant"], shown["delivery_mode"], shown["enabled"]) == (
        "default",
        "server_side",
        True,
    )
    assert shown["revision"]["number"] == 1
    assert shown["revision"]["blueprint"]["actions"]
    assert shown["logs"]["api"] == f"/v1/admin/deliveries?installation={installation.pk}"


def test_its_logs_are_where_the_answer_says(client, bearer):
    logs = install(client, bearer).json()["logs"]
    assert client.get(logs["api"], headers=bearer).status_code == 200
    client.force_login(Installation.objects.get().revision.created_by)
    assert client.get(logs["admin"]).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=x"],
)
def test_curl_may_leave_out_the_content_type(client, bearer, content_type):
    assert install(client, bearer, content_type=content_type).status_code == 201


def test_the_secret_is_sealed_at_rest_and_in_no_answer_page_or_log_line(client, bearer, caplog):
    caplog.set_level(logging.DEBUG)
    answers = [install(client, bearer), install(client, bearer)]
    answers.append(install(client, bearer, {**BODY, "name": "B", "config": {"api_key": CANARY}}))
    installation = Installation.objects.get()
    client.force_login(installation.revision.created_by)
    address = f"/admin/integrations/installation/{installation.pk}/change/"
    answers += [client.get(each) for each in ("/admin/integrations/installation/", address)]
    for answer in answers:
        assert CANARY not in answer.content.decode()
    assert CANARY not in caplog.text
    assert CANARY not in repr(installation) + str(vars(installation))
    assert CANARY not in stored()
    assert reveal(installation.sealed_secrets) == {"api_key": CANARY}


def stored():
    """Return everything that the database holds about installations and revisions, as text."""
    with connection.cursor() as cursor:
        rows = []
        for table in ("integrations_installation", "integrations_revision"):
            cursor.execute(f"SELECT * FROM {table}")
            rows += cursor.fetchall()
    return str(rows)


def test_every_wrong_field_is_named_at_once(client, bearer):
    body = {
        "name": " ",
        "variant": "nothing",
        "config": {"app_id": "letters", "region": "mars", "colour": "red"},
        "delivery_mode": "pigeon",
    }
    status, code, fields = refusal(install(client, bearer, body))
    assert (status, code) == (422, "VALIDATION_FAILED")
    assert set(fields) == {
        "name", "variant", "config.app_id", "config.region", "config.colour", "delivery_mode",
    }  # fmt: skip
    assert "Digits only" in fields["config.app_id"]
    assert not Installation.objects.exists()


@pytest.mark.parametrize(
    "body", [{}, {"config": {}}, {"config": {"app_id": ""}}, {"config": {"app_id": 5}}]
)
def test_a_missing_field_is_named(client, bearer, body):
    status, _, fields = refusal(install(client, bearer, body))
    assert status == 422
    assert "config.app_id" in fields


@pytest.mark.parametrize("config", [[], "text", None, 5])
def test_a_config_that_is_no_object_is_refused(client, bearer, config):
    status, _, fields = refusal(install(client, bearer, {**BODY, "config": config}))
    assert status == 422
    assert "config" in fields


@pytest.mark.parametrize("body", ["{broken", '"text"', "[]", "5", "[" * 5_000])
def test_a_body_that_is_no_object_is_refused_and_never_an_error_of_ours(client, bearer, body):
    assert install(client, bearer, body).status_code in (400, 422)


def test_a_field_that_there_is_not_is_refused_by_name(client, bearer):
    answer = install(client, bearer, {**BODY, "colour": "red"})
    assert refusal(answer)[0::2] == (
        422,
        {"colour": "Unknown field. Known fields: name, variant, config, delivery_mode."},
    )


def test_an_unknown_destination_is_not_found(client, bearer):
    assert refusal(install(client, bearer, key="nobody"))[:2] == (404, "NOT_FOUND")


def test_a_name_that_is_taken_is_a_conflict(client, bearer):
    install(client, bearer)
    assert refusal(install(client, bearer))[:2] == (409, "CONFLICT")
    assert Installation.objects.count() == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer"},
        {"authorization": f"Token {TOKEN}"},
        {"authorization": "Bearer ÿ"},
    ],
)
def test_without_a_valid_token_nothing_is_told_or_done(client, bearer, headers):
    answer = install(client, headers)
    assert refusal(answer)[:2] == (401, "INVALID_TOKEN")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert client.get(CATALOG, headers=headers).status_code == 401
    assert not Installation.objects.exists()


def test_the_token_of_a_user_who_left_is_not_valid(client):
    token = make_token(make_user("gone", is_active=False), token="pst_gone")
    assert install(client, {"authorization": f"Bearer {token}"}).status_code == 401


def test_a_session_of_the_admin_is_no_token(client, bearer):
    client.force_login(make_user("someone"))
    assert client.get(CATALOG).status_code == 401


def test_the_catalog_lists_what_can_be_installed_and_how(client, bearer):
    [heap] = [e for e in client.get(CATALOG, headers=bearer).json()["data"] if e["key"] == "heap"]
    fields = {each["key"]: each for each in heap["config_fields"]}
    assert (heap["name"], heap["category"], heap["status"]) == ("Heap", "analytics", "beta")
    assert fields["app_id"]["required"]
    assert fields["api_key"]["type"] == "secret"
    assert fields["region"]["default"] == "sandbox"
    assert [each["key"] for each in heap["variants"]][0] == "default"


def test_one_entry_of_the_catalog(client, bearer):
    answer = client.get(f"{CATALOG}/heap", headers=bearer)
    assert (answer.status_code, answer.json()["key"]) == (200, "heap")
    assert refusal(client.get(f"{CATALOG}/nobody", headers=bearer))[:2] == (404, "NOT_FOUND")


def test_without_a_sandbox_heap_goes_to_its_own_region(client, bearer, settings):
    settings.SANDBOX_URL = ""
    assert install(client, bearer).json()["config"]["region"] == "us"
    options = client.get(f"{CATALOG}/heap", headers=bearer).json()["config_fields"][2]["options"]
    assert "sandbox" not in {each["value"] for each in options}


def test_what_is_installed_is_no_obstacle_to_another_name(client, bearer):
    make_installation(name="Heap")
    assert install(client, bearer, {**BODY, "name": "Heap staging"}).status_code == 201


def test_a_name_that_is_no_string_is_told_from_a_missing_one(client, bearer):
    problems = [
        refusal(install(client, bearer, {**BODY, "name": name}))[2]["name"] for name in (5, " ")
    ]
    assert problems == ["Must be a string.", "Give the installation a name."]
