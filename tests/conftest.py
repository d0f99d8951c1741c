"""Fixtures and options of all tests: databases, ports, the services of this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from django.conf import settings
from django.db import connection, connections
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.test import TransactionTestCase
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from playwright.sync_api import Browser, Page, expect, sync_playwright

from delivery.ingest import authentication
from delivery.transform.stored_messages import compile_revision, compile_revision_by_id
from integrations.destinations.heap.sandbox import Sandbox
from integrations.rate_limits import token_bucket
from tests.support import databases as support_databases
from tests.support import processes as support_processes
from tests.support import services

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
]

# A page may take long to do something on a busy machine. Nothing waits this long unless it fails.
BROWSER_TIMEOUT = 120_000  # milliseconds
expect.set_options(timeout=BROWSER_TIMEOUT)

# These are options of the tests, of which a system check would otherwise tell.
settings.ENVIRONMENT.variables.update(filter(support_processes.OPTION.fullmatch, os.environ))

# A shell's background jobs ignore Ctrl-C, and processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# On a busy machine, generating a value may be slow although the code is not.
hypothesis_settings.register_profile(
    "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("busy")


TERMINATE_OTHER_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@receiver(connection_created)
def read_without_locks(connection, **_: object) -> None:
    """Let a page of the live server read while a test writes.

    SQLite's databases in memory lock whole tables, and refuse instead of waiting.
    """
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        connection.connection.execute("PRAGMA read_uncommitted = true")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--only-database",
        action="store_true",
        help="Run only tests that use the database of DATABASE_URL.",
    )


def pytest_xdist_auto_num_workers() -> int:
    """Return one more than the cores, since some always wait for a process, browser or disk."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("only_database"):
        others = [item for item in items if not uses_database(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]
    for item in items:
        if "redis_url" in getattr(item, "fixturenames", ()):  # they share one database
            item.add_marker(pytest.mark.xdist_group("redis"))
        if "long_log" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("long_log"))
    # Run slow tests first, so that the run does not end with one worker busy.
    items.sort(key=lambda item: not item.get_closest_marker("end_to_end"))


def uses_database(item: pytest.Item) -> bool:
    names = set(getattr(item, "fixturenames", ()))
    if {"browser", "chromium"} & names:  # slow, and a page does not depend on the database
        return False
    fixtures = {"db", "transactional_db"} & names
    case = getattr(item, "cls", None)
    is_case = isinstance(case, type) and issubclass(case, TransactionTestCase)
    return bool(fixtures or is_case or item.get_closest_marker("django_db"))


@pytest.fixture(autouse=True)
def _quick_passwords(settings) -> None:
    # The real hasher is slow by design and takes half a second for each user of a test.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _no_blueprint_of_another_test() -> None:
    # SQLite reuses the id of a revision whose transaction was rolled back.
    compile_revision_by_id.cache_clear()
    compile_revision.cache_clear()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker) -> Iterator[None]:
    """End other sessions before the database is dropped, as a browser may still load a page."""
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(TERMINATE_OTHER_SESSIONS)


@pytest.fixture(autouse=True)
def _no_source_of_another_test() -> None:
    authentication.clear_source_cache()
    token_bucket.clear_local_buckets()


def require_service(name: str) -> str:
    """Return the address of a service. Without it, skip the test, or fail if it is required."""
    try:
        return services.SERVICES[name]()
    except services.ServiceMissing as missing:
        if services.is_required(name):
            pytest.fail(f"PENSTOCK_REQUIRE names {name}, but there is {missing}", pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium executable."""
    return require_service("chromium")


@pytest.fixture
def redis_url() -> str:
    """A Redis database whose queue has no tasks of earlier tests."""
    url = require_service("redis")
    with redis.from_url(url) as server:
        server.delete("django_q:penstock:q")
    return url


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A new, migrated PostgreSQL database, which is dropped after the test."""
    with new_database("postgres", Path()) as url:
        yield url


@contextmanager
def new_database(kind: str, folder: Path) -> Iterator[str]:
    """Yield the address of a new, migrated database; SQLite's is a file in the folder."""
    if kind == "sqlite":
        yield support_databases.new_sqlite(folder)
        return
    server = require_service("postgres")
    url = support_databases.new_postgres(server)
    yield url
    support_databases.execute(server, "DROP DATABASE {} WITH (FORCE)", url.rpartition("/")[2])


@pytest.fixture(scope="session")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL database with a log of 200,000 deliveries. Its tests share one xdist group."""
    with new_database("postgres", tmp_path_factory.mktemp("long-log")) as url:
        command = [sys.executable, "benchmarks/rows.py", url, "--rows", "200000"]
        subprocess.run(command, cwd=support_processes.ROOT, check=True, capture_output=True)
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new, migrated database of each kind, for tests that start real processes."""
    with new_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def free_port() -> int:
    return find_free_port()


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# --- API client -----------------------------------------------------------------------------


def make_api_caller(client, token):
    """Return a function that calls with this token and returns the status and the JSON.

    A response that is not JSON is returned unchanged.
    """

    def call(method, address, body=None, headers=None, **params):
        answer = client.generic(
            method,
            address,
            json.dumps(body) if body is not None else b"",
            content_type="application/json",
            query_params=params,
            headers={"authorization": f"Bearer {token}", **(headers or {})},
        )
        call.headers = answer.headers
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.status_code, answer.json() if is_json else answer

    return call


@pytest.fixture
def api(client):
    """A function that calls the API with an unrestricted token; returns the status and the JSON."""
    from tests.support.factories import make_token

    return make_api_caller(client, make_token())


# --- a browser -----------------------------------------------------------------------------------


@pytest.fixture
def sandbox(settings):
    with Sandbox() as sandbox:
        settings.SANDBOX_URL = sandbox.url
        yield sandbox


@pytest.fixture(scope="module")
def browser(chromium):
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # queries run beside Playwright's loop
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()
        # Beside Playwright's loop, Django opens a separate connection. If it stayed open,
        # PostgreSQL could not drop the test database.
        connections.close_all()


def open_page(browser: Browser, **options: object) -> Page:
    page = browser.new_page(**options)
    page.set_default_timeout(BROWSER_TIMEOUT)
    return page


@pytest.fixture
def page(browser, live_server):
    """A page with a user logged in. It must contact no other host and have no errors."""
    from django.test import Client

    from tests.support.factories import make_user

    client = Client()
    client.force_login(make_user())
    session = {"name": "sessionid", "value": client.cookies["sessionid"].value}
    hosts, page_errors = set(), []
    page = open_page(browser, base_url=live_server.url, viewport={"width": 1400, "height": 900})
    page.context.add_cookies([{**session, "url": live_server.url}])
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("pageerror", lambda error: page_errors.append(str(error)))
    page.on("console", lambda line: line.type == "error" and page_errors.append(line.text))
    yield page
    page.context.close()
    assert hosts - {""} <= {urlsplit(live_server.url).netloc}  # "" is the host of data: URLs
    assert page_errors == []
