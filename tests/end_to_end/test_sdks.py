"""The SDKs themselves, from PyPI and npm, pinned in `tests/sdks` and installed by `make sdks`.

Only the host and the write key are changed. Each event must be stored as its SDK was given it.
"""

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from tests.conftest import find_free_port, open_page, require_service
from tests.support.processes import RunningCommand, environment, eventually

# One group, so that their shared fixtures are set up once.
pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("test_sdks")]

SCRIPTS = Path(__file__).parents[1] / "sdks"
KEY = "wk_sdks-0123456789"
PYTHON = {
    "analytics": "analytics-python",
    "segment.analytics": "python",
    "rudderstack.analytics": "python",
    "customerio.analytics": "python",
}
PACKED = {"gzip": {"gzip": True}, "plain": {"gzip": False}}
NODE = [
    ("@segment/analytics-node", {}),
    ("@segment/analytics-node", {"maxEventsInBatch": 500}),
    ("@customerio/cdp-analytics-node", {}),
    ("@rudderstack/rudder-sdk-node", {}),
    ("@rudderstack/rudder-sdk-node", {"gzip": False, "flushAt": 500}),
    ("analytics-node", {}),
    ("@jitsu/js", {}),
    ("@jitsu/js", {"s2s": False}),
]
IN_BATCHES = {"deliveryStrategy": {"strategy": "batching", "config": {"size": 5, "timeout": 300}}}
KEPT_ALIVE = {"deliveryStrategy": {"config": {"keepalive": True}}}
# An SDK, its options, and the path at which its calls must arrive.
BROWSER = [
    ("@segment/analytics-next", {}, "/v1/t"),
    ("@segment/analytics-next", {"integrations": {"Segment.io": KEPT_ALIVE}}, "/v1/t"),
    ("@segment/analytics-next", {"integrations": {"Segment.io": IN_BATCHES}}, "/v1/b"),
    ("@customerio/cdp-analytics-browser", {}, "/v1/t"),
    (
        "@customerio/cdp-analytics-browser",
        {"integrations": {"Customer.io Data Pipelines": IN_BATCHES}},
        "/v1/b",
    ),
    ("@rudderstack/analytics-js", {}, "/v1/track"),
    (
        "@rudderstack/analytics-js",
        {"queueOptions": {"batch": {"enabled": True, "maxItems": 5, "flushInterval": 300}}},
        "/v1/batch",
    ),
    (
        "@rudderstack/analytics-js",
        {"useBeacon": True, "beaconQueueOptions": {"maxItems": 5, "flushQueueInterval": 300}},
        "/beacon/v1/batch",
    ),
    ("@jitsu/js", {}, "/api/s/track"),
]


@pytest.fixture(scope="module")
def sdks():
    return Path(require_service("sdks"))


class Penstock:
    """A separate Penstock and its tables."""

    def __init__(self, url, path):
        self.url, self.path = url, path

    def rows(self, sql):
        with closing(sqlite3.connect(self.path, timeout=20)) as connection, connection:
            return connection.execute(sql).fetchall()

    def stored(self):
        """Return the bodies of all events, oldest first, each with its type."""
        rows = self.rows(
            "SELECT e.type, b.text, e.added_context FROM delivery_event e "
            "JOIN delivery_eventbody b ON b.event_id = e.id ORDER BY e.id"
        )
        return [{**json.loads(text), "type": kind, "added": added} for kind, text, added in rows]


@pytest.fixture(scope="module")
def running(sdks, tmp_path_factory):
    path = tmp_path_factory.mktemp("sdks") / "penstock.sqlite3"
    address = f"127.0.0.1:{find_free_port()}"
    env = environment(
        f"sqlite:///{path}",
        PENSTOCK_WRITE_KEY=KEY,
        PENSTOCK_WEB_BIND=address,
        PENSTOCK_SANDBOX_URL="",
        PENSTOCK_CLUSTER_WORKERS=1,
    )
    with RunningCommand(env, "up") as up:
        up.wait_for("Penstock is ready", 60)
        yield Penstock(f"http://{address}", path)
        assert up.stop() == 0, up.output


@pytest.fixture
def penstock(running):
    """A Penstock without events."""
    for table in ("delivery_eventbody", "delivery_event", "delivery_rejection"):
        running.rows(f"DELETE FROM {table}")
    return running


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("module", PYTHON)
def test_a_python_sdk(penstock, sdks, module, packed):
    check(penstock, send_with_python(penstock, sdks, module, KEY, PACKED[packed]), whole=True)


def test_a_python_sdk_that_sends_each_call_at_once(penstock, sdks):
    made = send_with_python(penstock, sdks, "segment.analytics", KEY, {"sync_mode": True})
    check(penstock, made, whole=True)


def test_customer_ios_python_sdk_with_a_key_that_makes_it_a_bearer(penstock, sdks):
    key = "pk_us_0123456789"
    penstock.rows(
        "INSERT OR IGNORE INTO integrations_writekey (source_id, key, note, created_at) "
        f"SELECT id, '{key}', 'Bearer', created_at FROM integrations_source"
    )
    made = send_with_python(penstock, sdks, "customerio.analytics", key, {})
    check(penstock, made, whole=True)


def send_with_python(penstock, sdks, module, key, options):
    command = [sys.executable, SCRIPTS / "send.py", module, penstock.url, key, json.dumps(options)]
    return run(command, env={"PYTHONPATH": str(sdks / PYTHON[module])})


@pytest.mark.parametrize(("name", "options"), NODE)
def test_a_node_sdk(penstock, sdks, name, options):
    arguments = [sdks, name, penstock.url, KEY, json.dumps(options)]
    made = run([require_service("node"), SCRIPTS / "send.mjs", *arguments])
    check(penstock, made, whole=name != "@jitsu/js")  # Jitsu repeats what it knows about the user


@pytest.mark.parametrize(("name", "options", "address"), BROWSER)
def test_a_browser_sdk(penstock, sdks, browser, name, options, address):
    query = {"sdk": name, "host": penstock.url, "key": KEY, "options": json.dumps(options)}
    sent = []
    with shop(sdks) as origin:
        page = open_page(browser)
        page.on("request", lambda request: sent.append(request))
        page.goto(f"{origin}/page.html?{urlencode(query)}")
        page.wait_for_function("window.made")
        made = page.evaluate("window.made")
        eventually(lambda: len(penstock.stored()) >= len(made), 20.0)
        page.close()
    check(penstock, made, whole=False)  # SDKs in a page add data about the page
    assert [request.url for request in sent if is_foreign(request.url)] == []
    assert address in {urlsplit(request.url).path for request in sent if request.method == "POST"}
    added = json.loads(penstock.stored()[0]["added"])
    assert (added["ip"], "Mozilla" in added["userAgent"]) == ("127.0.0.1", True)


def run(command, env=None):
    """Run an SDK to its end in a separate environment; return the calls that it made."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **(env or {})}
    done = subprocess.run(
        [str(part) for part in command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def check(penstock, made, *, whole):
    """Check that each call is one event with the same fields, and, if `whole`, with no others."""
    assert penstock.rows("SELECT reason FROM delivery_rejection") == []
    bodies = penstock.stored()
    assert len(bodies) == len(made)
    for call in made:
        matching = [body for body in bodies if says(body, call, whole)]
        assert len(matching) == 1, f"{len(matching)} stored for {call}"


def says(body, call, whole):
    return all(agrees(told_of(body, name), value, whole) for name, value in call.items())


def told_of(body, name):
    """Return a field from the place where the SDK may put it."""
    if name == "traits":
        return body.get("traits") or body.get("context", {}).get("traits")
    if name == "name":
        return body.get("name") or body.get("properties", {}).get("name")
    return body.get(name)


def agrees(stored, sent, whole):
    if isinstance(sent, dict) and not whole:
        return sent.items() <= {k: v for k, v in (stored or {}).items() if k in sent}.items()
    if isinstance(sent, dict):
        return (stored or {}) == sent  # empty properties may be omitted
    return stored == sent


class shop:  # noqa: N801  (used as a function)
    """A site with another origin than Penstock's that serves the SDKs' files."""

    def __init__(self, sdks):
        handler = partial(Handler, directory=str(SCRIPTS), sdks=sdks)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()
        return f"http://localhost:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args, sdks, **kwargs):
        self.sdks = sdks
        super().__init__(*args, **kwargs)

    def translate_path(self, path):
        if path.startswith("/node_modules/"):
            return str(self.sdks / path[1:])
        return super().translate_path(path)

    def log_message(self, *args):
        pass


def is_foreign(url):
    return not url.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:"))
