"""Every call of the API, made once against a server, and what all calls have in common."""

import json
import os
import re
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest
import requests

from integrations.api.examples import EXAMPLES_FILE, component_name_of, load_examples
from tests.support import api_calls
from tests.support.api_calls import (
    CALL_ARGUMENTS,
    EXPECTED_REFUSALS,
    OPERATIONS,
    SCHEMA,
    TOKEN,
    is_destructive,
)

# One group, so that their shared fixtures are set up once.
pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("test_every_call")]

# These calls change nothing, and what they send to a vendor has no event in it.
HARMLESS = {
    "installations_preview_create",
    "installations_test_connection_create",
    "replays_preview_create",
    "auth_refresh_create",
    "auth_logout_create",
}
EXPORTS = {"deliveries_export_list"}  # recorded, because much leaves with one call
KEYLESS = {"auth_login_create", "auth_refresh_create", "auth_logout_create"}


@dataclass(frozen=True)
class Made:
    """A call, its repetition with the same key for a POST, and the number of its audit entries."""

    operation: dict[str, Any]
    method: str
    answer: requests.Response
    again: requests.Response | None
    recorded: int

    @property
    def name(self) -> str:
        return self.operation["operationId"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with (
        api_calls.running_server(tmp_path_factory.mktemp("penstock")) as url,
        requests.Session() as session,
    ):
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        managed = [each for each in OPERATIONS if each[0].startswith("/v1/admin/")]
        yield [
            made_of(session, url, *each)
            for each in sorted(managed, key=lambda e: is_destructive(*e))
        ]


def made_of(session, url, path, method):
    name = OPERATIONS[path, method]["operationId"]
    arguments = dict(CALL_ARGUMENTS.get(name, {}))
    body, address = arguments.pop("body", None), url + path
    for each in [each for each in arguments if f"{{{each}}}" in path]:
        address = address.replace(f"{{{each}}}", str(arguments.pop(each)))
    headers = {"Idempotency-Key": name} if method == "POST" else {}

    def send():
        return session.request(method, address, json=body, params=arguments, headers=headers)

    before = entries(session, url)
    answer = send()
    recorded = entries(session, url) - before
    again = send() if method == "POST" and name not in KEYLESS else None
    return Made(OPERATIONS[path, method], method, answer, again, recorded)


def entries(session, url):
    """Return the number of entries in the audit log."""
    newest = session.get(f"{url}/v1/admin/audit-log", params={"limit": 1}).json()["data"]
    return newest[0]["id"] if newest else 0


def test_each_succeeds_and_says_its_request_id(made):
    for each in made:
        expected = EXPECTED_REFUSALS.get(each.name, range(200, 300))
        assert each.answer.status_code in ([expected] if expected in (401, 409) else expected), (
            each.name,
            each.answer.text,
        )
        assert each.answer.headers["X-Request-Id"]
        assert each.answer.headers["Cache-Control"] == "no-store"


def test_each_post_that_comes_again_is_answered_as_the_first_time(made):
    posts = [each for each in made if each.again is not None]
    assert len(posts) > 15
    for each in posts:
        assert each.again.headers.get("Idempotent-Replayed") == "true", each.name
        assert each.again.status_code == each.answer.status_code
        assert each.again.text == each.answer.text


def test_each_change_is_in_the_audit_log_and_nothing_else_is(made):
    for each in made:
        changes = each.method != "GET" and each.name not in HARMLESS or each.name in EXPORTS
        assert bool(each.recorded) is changes, (each.name, each.recorded)


# --- examples ----------------------------------------------------------------------------------

SHAPES = SCHEMA["components"]["schemas"]
SECRET = re.compile(r"\b(wk|wh|ss|pst|pat|prt)_[\w-]{8,}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)")


def test_the_examples_are_what_calls_are_given_and_answer(made):
    found = dict(sorted({**dict(answered(made)), **dict(given())}.items()))
    if os.environ.get("PENSTOCK_WRITE_EXAMPLES"):
        EXAMPLES_FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        load_examples.cache_clear()
    assert load_examples().keys() == found.keys(), "make examples"


def answered(made):
    """Yield (shape, a response of that shape), the most informative ones last."""
    for each in sorted(made, key=lambda each: each.method == "GET"):
        content = each.operation["responses"].get(str(each.answer.status_code), {}).get("content")
        if "application/json" not in (content or ()) or each.answer.status_code >= 400:
            continue
        schema, body = content["application/json"]["schema"], each.answer.json()
        name = component_name_of(schema, SHAPES)
        is_page = not schema["$ref"].endswith(f"/{name}")
        if name and (not is_page or body["data"]):
            yield name, plain(body["data"][0] if is_page else body)


def given():
    """Yield (shape, a request body of that shape) for each call that has a body."""
    for operation in OPERATIONS.values():
        body = CALL_ARGUMENTS.get(operation["operationId"], {}).get("body")
        if body is not None:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            yield component_name_of(schema, SHAPES), body


def plain(value):
    """Return a response shortened, and without the values that differ from run to run."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        are_objects = any(isinstance(each, dict) for each in value)
        return [plain(each) for each in value[: 1 if are_objects else 5]]
    if isinstance(value, str):
        return SECRET.sub(r"\1_…", MOMENT.sub("2026-11-21T12:00:00Z", value))[:300]
    return value


@pytest.mark.parametrize("name", SHAPES.keys() & load_examples().keys())
def test_each_example_fits_its_shape(name):
    [example] = SHAPES[name]["examples"]
    whole = {**SHAPES[name], "components": SCHEMA["components"]}
    jsonschema.Draft202012Validator(whole).validate(example)


@pytest.mark.parametrize("name", [o["operationId"] for o in OPERATIONS.values()])
def test_each_call_has_examples(name):
    operation = next(each for each in OPERATIONS.values() if each["operationId"] == name)
    if name.startswith("ingest_"):
        return
    for code, answer in operation["responses"].items():
        for content in answer.get("content", {}).values():
            shape = component_name_of(content["schema"], SHAPES)
            assert {"example", "examples"} & content.keys() or shape in load_examples(), (
                code,
                shape,
            )
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert component_name_of(schema, SHAPES) in load_examples()
