"""The API against its schema: complete, fuzzed, and called by a generated client."""

import importlib
import inspect
import os
import re
import subprocess
import sys
import typing
from enum import Enum
from pathlib import Path

import pytest

from integrations.api import serializers
from tests.integrations.access.test_permission_matrix import CALLS, OPEN
from tests.support import api_calls
from tests.support.api_calls import (
    CALL_ARGUMENTS,
    EXPECTED_REFUSALS,
    OPERATIONS,
    SCHEMA,
    TOKEN,
    is_destructive,
)

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = int(os.environ.get("PENSTOCK_FUZZ_API", "3"))  # generated for each call


def test_every_call_is_in_it():
    for address, method, _ in CALLS:
        assert (told(address), method) in OPERATIONS, f"run make schema: {method} {address}"


def told(address):
    """Return an address of Django as the schema writes it."""
    return "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", address).replace("{pk}", "{id}")


@pytest.mark.parametrize(("address", "method", "view"), CALLS)
def test_every_call_takes_the_parameters_that_it_says(address, method, view):
    operation = OPERATIONS[told(address), method]
    documented = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    assert documented == set(view.parameters.get(method, {}))


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_call_has_its_errors_and_its_authentication(path, method):
    operation = OPERATIONS[path, method]
    if not path.startswith("/v1/admin/") or path.lstrip("/") in OPEN:
        return
    assert {"401", "403", "422", "429", "500"} <= operation["responses"].keys()
    assert operation["security"] == [{"token": []}]
    assert ("404" in operation["responses"]) >= ("{" in path)
    assert operation.get("description")


def test_every_scope_and_role_is_in_it():
    assert SCHEMA["openapi"].startswith("3.1")
    named = SCHEMA["components"]["schemas"]["TokenInput"]["properties"]["scopes"]
    assert named["type"] == "array"
    assert serializers.SCOPE_CHOICES


def test_it_is_served_as_it_is_in_the_repository(client):
    answer = client.get("/v1/schema")
    assert answer.getvalue() == (ROOT / "schema.yml").read_bytes()
    assert answer.headers["Content-Type"].startswith("application/vnd.oai.openapi")


# --- a server to call --------------------------------------------------------------------------


@pytest.fixture
def penstock(tmp_path):
    with api_calls.running_server(tmp_path) as url:
        yield url


# --- called by a client --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def client_package(tmp_path_factory):
    """The client that openapi-python-client generates from the schema, imported."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "config.yml").write_text("post_hooks: []\n")
    command = [
        *(str(Path(sys.executable).parent / "openapi-python-client"), "generate", "--meta", "none"),
        *("--path", str(ROOT / "schema.yml"), "--output-path", str(folder / "penstock_client")),
        *("--config", str(folder / "config.yml")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield importlib.import_module("penstock_client")
    sys.path.remove(str(folder))


@pytest.mark.end_to_end
def test_a_generated_client_makes_every_call(penstock, client_package):
    """It passes arguments of the types in the schema, and parses each response."""
    with client_package.AuthenticatedClient(
        penstock, TOKEN, raise_on_unexpected_status=True
    ) as client:
        make_every_call(client_package, client)


def make_every_call(package, client):
    managed = [each for each in OPERATIONS.items() if each[0][0].startswith("/v1/admin/")]
    for (_, method), operation in sorted(managed, key=lambda each: is_destructive(*each[0])):
        name = operation["operationId"]
        called = call(package, client, operation)
        assert called.status_code == EXPECTED_REFUSALS.get(name, called.status_code), name
        assert called.status_code < 300 or name in EXPECTED_REFUSALS, (name, called.content)
        assert called.parsed is not None or called.status_code == 204, (name, method)


def call(package, client, operation):
    name, tag = operation["operationId"], operation["tags"][0].replace("-", "_")
    module = importlib.import_module(f"{package.__name__}.api.{tag}.{name}")
    parameters = inspect.signature(module.sync_detailed).parameters
    values = dict(as_parameters(CALL_ARGUMENTS.get(name, {}), parameters))
    if "body" in values:
        annotation = parameters["body"].annotation
        shape = typing.get_args(annotation)[0] if typing.get_args(annotation) else annotation
        values["body"] = shape.from_dict(values["body"])
    return module.sync_detailed(client=client, **values)


def as_parameters(given, parameters):
    """Yield the arguments of a call as the generated function takes them.

    A name that Python's own functions use has an underscore, and a choice is a member of its
    enumeration.
    """
    for name, value in given.items():
        name = name if name in parameters else f"{name}_"
        kind = parameters[name].annotation
        is_choice = isinstance(kind, type) and issubclass(kind, Enum)
        yield name, kind(value) if is_choice else value


# --- fuzzed ------------------------------------------------------------------------------------

MANAGED = "^/v1/admin/"
SENDING = "installations_test_(connection|event)_create"  # calls that send to a vendor
ENDING = "tokens_destroy|auth_logout_create"  # calls that end the token in use
BEARER, WRITE_KEY = f"Authorization: Bearer {TOKEN}", f"X-Write-Key: {api_calls.WRITE_KEY}"
# The calls that send come first, while the vendor of the only installation is unreachable.
PARTS = {
    "calls that send": (BEARER, "--include-operation-id-regex", f"^({SENDING})$"),
    "the API": (
        *(BEARER, "--include-path-regex", MANAGED),
        *("--exclude-operation-id-regex", f"^({SENDING}|{ENDING})$"),
    ),
    "calls that end the token": (BEARER, "--include-operation-id-regex", f"^({ENDING})$"),
    "ingest": (WRITE_KEY, "--exclude-path-regex", MANAGED),
}


@pytest.mark.end_to_end
def test_nothing_that_can_be_made_up_breaks_it(penstock):
    """schemathesis finds no 500, and no status or response that is not in the schema.

    PENSTOCK_FUZZ_API is the number of requests generated for each call. `make fuzz` sets 100 and
    includes ingest, which tests/delivery/ingest/test_openapi.py otherwise tests in less time.
    """
    parts = dict(PARTS)
    if "PENSTOCK_FUZZ_API" not in os.environ:
        del parts["ingest"]
    for part, options in parts.items():
        done = fuzz(penstock, *options)
        assert done.returncode == 0, f"{part}: {done.stdout[-30_000:]}{done.stderr[-2_000:]}"


def fuzz(url, header, *options):
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "--config-file"),
        *("tests/schemathesis.toml", "run", f"{url}/v1/schema", "--url", url, "-H", header),
        *("--no-color", "--max-examples", str(EXAMPLES), "--seed", "1", *options),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
