"""The SDKs themselves, from PyPI and npm, pinned in `tests/sdks` and installed by `make sdks`.

Nothing but host and write key is changed: what each was told is what is stored.
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
from urllib.parse import urlencode

import pytest
from playwright.sync_api import sync_playwright

from tests.conftest import ARGUMENTS, a_free_port, require
from tests.live import Running, environment, eventually

pytestmark = pytest.mark.end_to_end

SCRIPTS = Path(__file__).parent / "sdks"
KEY = "wk_sdks-0123456789"
PYTHON = {
    "analytics": "analytics-python",
    "segment.analytics": "python",
    "rudderstack.analytics": "python",
    "customerio.analytics": "python",
}
NODE = [
    "@segment/analytics-node",
    "@customerio/cdp-analytics-node",
    "@rudderstack/rudder-sdk-node",
    "analytics-node",
    "@jitsu/js",
]
BROWSER = [
    "@segment/analytics-next",
    "@customerio/cdp-analytics-browser",
    "@rudderstack/analytics-js",
    "@jitsu/js",
]


@pytest.fixture(scope="module")
def sdks():
    return Path(require("sdks"))


class Penstock:
    """A Penstock of its own, and its tables."""

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
    address = f"127.0.0.1:{a_free_port()}"
    env = environment(
        f"sqlite:///{path}",
        PENSTOCK_WRITE_KEY=KEY,
        PENSTOCK_WEB_BIND=address,
        PENSTOCK_SANDBOX_URL="",
        PENSTOCK_CLUSTER_WORKERS=1,
    )
    with Running(env, "up") as up:
        up.wait_for("Penstock is ready", 60)
        yield Penstock(f"http://{address}", path)
        assert up.stop() == 0, up.output


@pytest.fixture
def penstock(running):
    """Penstock without any event."""
    for table in ("delivery_eventbody", "delivery_event", "delivery_rejection"):
        running.rows(f"DELETE FROM {table}")
    return running


@pytest.mark.parametrize("packed", ["gzip", "plain"])
@pytest.mark.parametrize("module", PYTHON)
def test_a_python_sdk(penstock, sdks, module, packed):
    command = [sys.executable, SCRIPTS / "send.py", module, penstock.url, KEY, packed]
    made = run(command, env={"PYTHONPATH": str(sdks / PYTHON[module])})
    check(penstock, made, whole=True)


@pytest.mark.parametrize("name", NODE)
def test_a_node_sdk(penstock, sdks, name):
    made = run([require("node"), SCRIPTS / "send.mjs", sdks, name, penstock.url, KEY])
    check(penstock, made, whole=name != "@jitsu/js")  # Jitsu repeats what it knows of the user


@pytest.mark.parametrize("name", BROWSER)
def test_a_browser_sdk(penstock, sdks, chromium, name):
    asked = urlencode({"sdk": name, "host": penstock.url, "key": KEY})
    elsewhere = []
    with shop(sdks) as origin, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page()
        page.on("request", lambda r: elsewhere.append(r.url) if is_foreign(r.url) else None)
        page.goto(f"{origin}/page.html?{asked}")
        page.wait_for_function("window.made", timeout=20_000)
        made = page.evaluate("window.made")
        eventually(lambda: len(penstock.stored()) >= len(made), 20.0)
        browser.close()
    check(penstock, made, whole=False)  # pages add what they know of themselves
    assert elsewhere == []
    added = json.loads(penstock.stored()[0]["added"])
    assert (added["ip"], "Mozilla" in added["userAgent"]) == ("127.0.0.1", True)


def run(command, env=None):
    """Run an SDK to its end, with an environment of its own; return the calls it made."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **(env or {})}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def check(penstock, made, *, whole):
    """Each call is one event with the fields it was told; `whole`: and with no others."""
    assert penstock.rows("SELECT reason FROM delivery_rejection") == []
    bodies = penstock.stored()
    assert len(bodies) == len(made)
    for call in made:
        matching = [body for body in bodies if says(body, call, whole)]
        assert len(matching) == 1, f"{len(matching)} stored for {call}"


def says(body, call, whole):
    return all(agrees(told_of(body, name), value, whole) for name, value in call.items())


def told_of(body, name):
    """Return a field where the SDK may put it."""
    if name == "traits":
        return body.get("traits") or body.get("context", {}).get("traits")
    if name == "name":
        return body.get("name") or body.get("properties", {}).get("name")
    return body.get(name)


def agrees(stored, told, whole):
    if isinstance(told, dict) and not whole:
        return told.items() <= {k: v for k, v in (stored or {}).items() if k in told}.items()
    if isinstance(told, dict):
        return (stored or {}) == told  # no properties may be left out
    return stored == told


class shop:  # noqa: N801  (used as a function)
    """A site of another origin than Penstock's, with the SDKs' files."""

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
