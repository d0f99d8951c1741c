"""A person at a browser: log in, install Heap, send an event, read its delivery."""

import re
from urllib.parse import urlsplit

import pytest
import requests
from django.db import connections
from playwright.sync_api import expect, sync_playwright

from delivery import worker
from delivery.models import Lane
from integrations.destinations.heap.sandbox import Sandbox
from integrations.models import Installation, Source
from tests.make import make_installation, make_user

pytestmark = [pytest.mark.end_to_end, pytest.mark.django_db(transaction=True)]

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
EVENT = {"event": "Order Completed", "userId": "user-123", "properties": {"revenue": 39.95}}


@pytest.fixture(autouse=True)
def _allow_the_database_beside_playwrights_loop(monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


@pytest.fixture
def sandbox(settings):
    with Sandbox() as sandbox:
        settings.SANDBOX_URL = sandbox.url
        yield sandbox


@pytest.fixture
def browser(chromium):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()
        # Beside Playwright's loop Django opens a connection of its own, which nobody else closes;
        # with it PostgreSQL could not drop the test database.
        connections.close_all()


@pytest.fixture
def page(browser, live_server):
    """A page of someone who logged in; all that it asked for was here, and nothing went wrong."""
    make_user()
    hosts, troubles = set(), []
    page = browser.new_page(base_url=live_server.url, viewport={"width": 1400, "height": 900})
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: said.type == "error" and troubles.append(said.text))
    page.goto("/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("secret")
    page.get_by_role("button", name="Log in").click()
    yield page
    assert hosts - {""} == {urlsplit(live_server.url).netloc}  # "": logos are data: addresses
    assert troubles == []


def test_from_the_login_to_the_delivery_of_an_event(page, live_server, sandbox):
    source = Source.objects.create(name="Shop")

    sidebar = page.locator("#nav-sidebar-apps")
    sidebar.get_by_role("link", name="Integration Library").click()
    page.get_by_placeholder("Search integrations").fill("hea")
    page.get_by_role("link", name="Install Heap").click()
    page.get_by_label("App ID").fill("12345x")
    expect(page.get_by_text("Digits only")).to_be_visible()
    page.get_by_label("App ID").fill("1234567890")
    expect(page.get_by_text("Digits only")).to_be_hidden()
    page.get_by_label("API key").fill("canary-secret")
    page.get_by_role("button", name="Install Integration").click()
    expect(page.get_by_text("Heap is installed.")).to_be_visible()
    expect(page.get_by_text(f"-u {source.write_key}:")).to_be_visible()

    answer = requests.post(
        f"{live_server.url}/v1/track", json=EVENT, auth=(source.write_key, ""), timeout=10
    )
    assert answer.json() == {"success": True}
    assert worker.drain(Lane.objects.get().pk) == 1
    assert len(sandbox.state.events) == 1

    sidebar.get_by_text("Deliveries", exact=True).click()
    expect(page.locator("tbody .log-state")).to_contain_text("Delivered")
    page.get_by_role("link", name="Order Completed").click()
    expect(page.get_by_text(re.compile("Heap accepted it with HTTP 200"))).to_be_visible()
    expect(page.locator(".log-way")).to_contain_text(f"POST {sandbox.url}/api/track")
    assert "canary-secret" not in page.content()


def test_the_library_filters_as_one_types(page):
    page.goto("/admin/integrations/installation/library/")
    card = page.locator(".ps-card", has_text="Heap")
    expect(card).to_be_visible()
    page.get_by_placeholder("Search integrations").press_sequentially("no such vendor")
    expect(card).to_be_hidden()
    expect(page.get_by_text("No integration matches.")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(card).to_be_visible()
    page.get_by_label("Category").select_option("analytics")
    expect(card).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("integration")


def test_pause_and_resume_by_button(page):
    installation = make_installation()
    page.goto(f"/admin/integrations/installation/{installation.pk}/change/")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("heading", name="Paused by an admin")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("heading", name="Nothing to deliver yet")).to_be_visible()
    assert Installation.objects.get().enabled


@pytest.mark.parametrize("width", [375, 1400])
def test_no_page_is_wider_than_its_window(page, width):
    installation = make_installation()
    page.set_viewport_size({"width": width, "height": 844})
    for address in (
        "",
        "integrations/installation/",
        "integrations/installation/library/",
        "integrations/installation/library/heap/",
        f"integrations/installation/{installation.pk}/change/",
        f"integrations/installation/{installation.pk}/settings/",
        f"integrations/installation/{installation.pk}/blueprint/",
        "delivery/delivery/",
    ):
        page.goto(f"/admin/{address}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
