"""The page that shows the API's schema, in a browser under its content security policy."""

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.conftest import open_page

pytestmark = [pytest.mark.end_to_end, pytest.mark.django_db(transaction=True)]


def test_it_shows_every_part_and_asks_nobody_else(live_server, browser):
    hosts, troubles = set(), []
    page = open_page(browser, viewport={"width": 1280, "height": 900})
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda line: line.type == "error" and troubles.append(line.text))
    answer = page.goto(f"{live_server.url}/v1/docs")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    expect(page.get_by_role("heading", name="deliveries")).to_be_visible()
    page.screenshot(path="var/docs-page.png")
    page.get_by_text("/v1/admin/users", exact=True).first.click()
    expect(page.get_by_text("Scope: users:read.").first).to_be_visible()
    page.screenshot(path="var/docs-page.png")
    page.close()
    assert troubles == []
    assert hosts - {""} == {urlsplit(live_server.url).netloc}


def test_it_can_be_read_on_a_phone(live_server, browser):
    page = open_page(browser, viewport={"width": 390, "height": 844})
    page.goto(f"{live_server.url}/v1/docs")
    page.get_by_text("/v1/admin/incidents", exact=True).first.click()
    expect(page.get_by_text("Scope: deliveries:read.").first).to_be_visible()
    page.screenshot(path="var/docs-page-phone.png")
    width = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert width <= 390
