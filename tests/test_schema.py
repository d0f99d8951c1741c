"""The API as its schema says: shown without a stranger's help, fuzzed, and called by a client."""

import importlib
import inspect
import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import requests
import yaml

from integrations.api import shapes
from tests import live
from tests.conftest import a_free_port
from tests.test_access import CALLS, OPEN

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = yaml.safe_load((ROOT / "schema.yml").read_text())
OPERATIONS = {
    (path, method.upper()): operation
    for path, methods in SCHEMA["paths"].items()
    for method, operation in methods.items()
}
TOKEN = "pst_fuzz-0123456789-0123456789"
EXAMPLES = int(os.environ.get("PENSTOCK_FUZZ_API", "3"))  # made up for each call
# They send to a vendor, of which there is none here.
SENDING = "/(test-connection|test-event|send-test|test)$"


def test_every_call_is_in_it():
    told = {(path.replace("{id}", "{pk}"), method) for path, method in OPERATIONS}
    for address, method, _ in CALLS:
        path = "/" + address
        for converter in ("int:", "slug:", "str:"):
            path = path.replace(f"<{converter}", "{")
        path = path.replace(">", "}")
        assert (path, method) in told, f"run make schema: {method} {path}"


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_call_has_its_errors_and_its_authentication(path, method):
    operation = OPERATIONS[path, method]
    if not path.startswith("/v1/admin/") or path.lstrip("/") in OPEN:
        return
    assert {"401", "403", "429", "500"} <= operation["responses"].keys()
    assert operation["security"] == [{"token": []}]
    assert ("404" in operation["responses"]) >= ("{" in path)
    assert operation.get("description")


def test_every_scope_and_role_is_in_it():
    assert SCHEMA["openapi"].startswith("3.1")
    named = SCHEMA["components"]["schemas"]["TokenInput"]["properties"]["scopes"]
    assert named["type"] == "array"
    assert shapes.SCOPE_CHOICES


def test_it_is_served_as_it_is_in_the_repository(client):
    answer = client.get("/v1/schema")
    assert answer.content == (ROOT / "schema.yml").read_bytes()
    assert answer.headers["Content-Type"].startswith("application/vnd.oai.openapi")


# --- a server to call --------------------------------------------------------------------------


@pytest.fixture
def penstock(tmp_path_factory):
    """The web server on a database with a little of everything; its token's id is far away."""
    port = a_free_port()
    env = live.environment(
        f"sqlite:///{tmp_path_factory.mktemp('penstock')}/penstock.sqlite3",
        PENSTOCK_SANDBOX_URL="http://127.0.0.1:9",  # nobody is there
        PENSTOCK_API_TOKEN=TOKEN,
        PENSTOCK_LOGIN_FAILURES="1000000",
        LOG_LEVEL="ERROR",
    )
    live.manage(env, "migrate")
    live.manage(env, "bootstrap")
    live.manage(env, "shell", "-c", PREPARE)
    server = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "config.wsgi:application"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(server, cwd=ROOT, env=env, **quiet)
    try:
        live.eventually(lambda: answers(port), 120)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


PREPARE = """
from django.contrib.auth.models import User
from integrations import users
from integrations.models import ApiToken
from tests.make import *

make_token(make_user("clerk", role="source_viewer"))
clerk, admin = User.objects.get(username="clerk"), User.objects.get(username="admin")
users.change(clerk, {"password": "correct-horse-5b1"}, by=admin)
ApiToken.objects.filter(name="bootstrap").update(id=10**12)
installation = make_installation(config={**CONFIG, "region": "sandbox"})
make_attempt(make_delivery(installation, state="failed"))
"""


def answers(port):
    try:
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=1).ok
    except requests.RequestException:
        return False


# --- called by a client --------------------------------------------------------------------------

MESSAGE = {"type": "track", "event": "Signed Up", "userId": "ada"}
BLUEPRINT = {"version": 1, "actions": [], "otherwise": "pass"}
# What each call of the generated client is given; those that are not here need nothing.
GIVEN = {
    "attempts_retrieve": {"id": 1},
    "events_retrieve": {"id": 1},
    "installations_create": {
        "body": {"destination": "heap", "name": "Heap 3", "config": {"app_id": "42"}},
    },
    "installations_retrieve": {"id": 1},
    "installations_partial_update": {"id": 1, "body": {"lane_count": 2, "sources": [1]}},
    "installations_disable_create": {"id": 1},
    "installations_enable_create": {"id": 1},
    "installations_resume_create": {"id": 1},
    "installations_destroy": {"id": 1, "confirm": "Heap"},
    "installations_preview_create": {"id": 1, "body": {"message": MESSAGE}},
    "installations_revisions_list": {"id": 1},
    "installations_revisions_create": {"id": 1, "body": {"blueprint": BLUEPRINT}},
    "installations_revisions_retrieve": {"id": 1, "revision": 1},
    "installations_revisions_diff_list": {"id": 1, "revision": 1},
    "installations_revisions_roll_back_create": {"id": 1, "revision": 1},
    "installations_test_connection_create": {"id": 1},
    "installations_test_event_create": {"id": 1, "body": {"message": MESSAGE}},
    "sources_create": {"body": {"name": "App"}},
    "sources_retrieve": {"id": 1},
    "sources_partial_update": {"id": 1, "body": {"rate_limit": 5}},
    "sources_keys_create": {"id": 1, "body": {"note": "The app"}},
    "sources_rotate_key_create": {"id": 1, "body": {"overlap_hours": 1}},
    "sources_signing_secret_create": {"id": 1},
    "sources_keys_destroy": {"id": 1, "key": 1},
    "sources_destroy": {"id": 1},
    "auth_login_create": {"body": {"username": "clerk", "password": "correct-horse-5b1"}},
    "auth_refresh_create": {"body": {"refresh_token": "…"}},
    "deliveries_retrieve": {"id": 1},
    "deliveries_deliver_again_create": {"id": 1},
    "integration_catalog_retrieve": {"key": "heap"},
    "integration_catalog_install_create": {
        "key": "heap",
        "body": {"name": "Heap 2", "config": {"app_id": "42", "api_key": "a-key-5b1"}},
    },
    "replays_create": {"body": {"installation": 1}},
    "replays_preview_create": {"body": {"installation": 1}},
    "replays_retrieve": {"id": 1},
    "replays_pause_create": {"id": 1},
    "replays_resume_create": {"id": 1},
    "replays_cancel_create": {"id": 1},
    "tokens_create": {"body": {"name": "CI", "scopes": ["users:read"]}},
    "tokens_destroy": {"id": 2},
    "users_create": {"body": {"username": "ada", "role": "source_viewer"}},
    "users_retrieve": {"id": 1},
    "users_partial_update": {"id": 2, "body": {"name": "A clerk"}},
    "users_destroy": {"id": 2},
}
# Refused: there is nothing to refresh or to log out of.
REFUSED = {"auth_refresh_create": 401, "auth_logout_create": 409}


@pytest.fixture(scope="session")
def client_package(tmp_path_factory):
    """The client that openapi-python-client makes of the schema, imported."""
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
    """With what is typed as the schema says, and understands each answer."""
    with client_package.AuthenticatedClient(
        penstock, TOKEN, raise_on_unexpected_status=True
    ) as client:
        make_every_call(client_package, client)


def make_every_call(package, client):
    managed = [each for each in OPERATIONS.items() if each[0][0].startswith("/v1/admin/")]
    for (_, method), operation in sorted(managed, key=lambda each: ends(*each[0])):
        name = operation["operationId"]
        called = call(package, client, operation)
        assert called.status_code == REFUSED.get(name, called.status_code), name
        assert called.status_code < 300 or name in REFUSED, (name, called.content)
        assert called.parsed is not None or called.status_code == 204, (name, method)


def ends(path, method):
    """Say whether other calls need what this one ends."""
    return method == "DELETE" or path.endswith("/cancel")


def call(package, client, operation):
    name, tag = operation["operationId"], operation["tags"][0].replace("-", "_")
    module = importlib.import_module(f"{package.__name__}.api.{tag}.{name}")
    values = dict(GIVEN.get(name, {}))
    if "body" in values:
        annotation = inspect.signature(module.sync_detailed).parameters["body"].annotation
        shape = typing.get_args(annotation)[0] if typing.get_args(annotation) else annotation
        values["body"] = shape.from_dict(values["body"])
    return module.sync_detailed(client=client, **values)


# --- fuzzed ------------------------------------------------------------------------------------

# These end what the calls are made with, so they come last.
ENDING = "^(tokens_destroy|auth_logout_create)$"


@pytest.mark.end_to_end
@pytest.mark.skipif(
    "PENSTOCK_FUZZ_API" not in os.environ,
    reason="minutes long, and not yet without findings: `make fuzz` runs it",
)
def test_nothing_that_can_be_made_up_breaks_it(penstock):
    """schemathesis: no 500, no status or answer that the schema does not have."""
    for which in ("--exclude-operation-id-regex", "--include-operation-id-regex"):
        done = fuzz(penstock, which, ENDING, "--exclude-path-regex", SENDING)
        assert done.returncode == 0, done.stdout[-30_000:] + done.stderr[-2_000:]


def fuzz(url, *options):
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "--config-file"),
        *("tests/schemathesis.toml", "run", f"{url}/v1/schema", "--url", url),
        *("-H", f"Authorization: Bearer {TOKEN}", "--no-color"),
        *("--max-examples", str(EXAMPLES), "--seed", "1", *options),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
