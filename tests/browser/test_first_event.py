"""The first steps in a browser: log in, install Heap, send an event, read its delivery."""

import re

import pytest
import requests
from playwright.sync_api import expect

from delivery.models import Lane
from delivery.worker import drain
from integrations.models import Installation, Source
from tests.support.factories import make_installation

pytestmark = [pytest.mark.end_to_end, pytest.mark.django_db(transaction=True)]

EVENT = {"event": "Order Completed", "userId": "user-123", "properties": {"revenue": 39.95}}


def test_from_the_login_to_the_delivery_of_an_event(page, live_server, sandbox):
    source = Source.objects.create(name="Shop")

    page.context.clear_cookies()
    page.goto("/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    errors = page.locator(".errornote").filter(visible=True)
    expect(errors).to_have_count(1)
    expect(errors).to_contain_text("Please enter the correct username and password")
    page.get_by_label("Password").fill("secret")
    page.get_by_role("button", name="Log in").click()
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
        f"{live_server.url}/v1/track", json=EVENT, auth=(source.write_key, ""), timeout=60
    )
    assert answer.json() == {"success": True}
    assert drain.drain_lane(Lane.objects.get().pk) == 1
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
    expect(page.get_by_text("No integrations match.")).to_be_visible()
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
