"""The whole story in a browser, and what a browser alone can tell: live rows, and who cannot see
or point."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from delivery import worker
from delivery.models import Delivery, Lane, Rejection
from integrations.models import Source
from tests.conftest import require
from tests.make import make_attempt, make_delivery, make_event, make_installation, make_source

pytestmark = [pytest.mark.end_to_end, pytest.mark.django_db(transaction=True)]

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}
LOG = "/admin/delivery/delivery/"
REFUSAL = {"match": "Order Completed", "status": 400, "times": 0, "body": '{"error": "no total"}'}
SEND = """
import sys
from segment.analytics import Client
host, key = sys.argv[1:]
client = Client(key, host=host)
client.track("ada", "Order Completed", {"order_id": "A-1001", "total": 39.95})
client.shutdown()
"""


@pytest.fixture
def send(live_server):
    """Send an event with Segment's own SDK."""
    sdk = Path(require("sdks")) / "python"

    def send(source):
        command = [sys.executable, "-c", SEND, live_server.url, source.write_key]
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(sdk)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")

    return send


def script(sandbox, *faults):
    """Tell the sandbox what its next answers are."""
    body = json.dumps(faults).encode()
    urlopen(Request(f"{sandbox.url}/_sandbox/faults", body, {"Content-Type": "application/json"}))


def drain():
    for lane in Lane.objects.all():
        worker.drain(lane.pk)


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_install_send_watch_break_read_mend_deliver_again_export(page, send, sandbox, size, scheme):
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    source = make_source("Shop")

    page.goto("/admin/integrations/installation/library/heap/")
    page.get_by_label("App ID").fill("1234567890")
    page.get_by_role("button", name="Install Integration").click()
    expect(page.get_by_text("Heap is installed.")).to_be_visible()

    page.goto(f"{LOG}?q=user:ada&live=1")
    rows = page.locator("[data-body] tr")
    expect(rows).to_have_count(0)
    send(source)
    expect(rows).to_have_count(1)
    expect(rows.locator(".log-state")).to_contain_text("Queued")
    drain()
    expect(rows.locator(".log-state")).to_contain_text("Delivered")

    script(sandbox, REFUSAL)
    send(source)
    expect(rows).to_have_count(2)
    drain()
    expect(rows.first.locator(".log-state")).to_contain_text("Failed")

    rows.first.get_by_role("link", name="Order Completed").click()
    expect(page.get_by_role("heading", name="Failed")).to_be_visible()
    expect(page.get_by_text("Something in it is not as Heap wants it.")).to_be_visible()
    expect(page.get_by_text("no total").first).to_be_visible()

    script(sandbox)
    page.get_by_role("button", name="Deliver again").click()
    expect(page.get_by_text("1 delivery is queued again.")).to_be_visible()
    drain()
    page.reload()
    expect(page.get_by_role("heading", name="Delivered")).to_be_visible()
    assert len(sandbox.state.events) == 2

    page.goto(f"{LOG}?q=user:ada")
    page.locator("summary", has_text="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="All that match, as CSV").click()
    with open(download.value.path(), newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["state"] for line in lines] == ["delivered", "delivered"]


# --- the explorer ------------------------------------------------------------------------------


def test_the_search_box_offers_keys_and_then_values(page):
    make_delivery()
    make_delivery(event=make_event(name="Signed Up"))
    page.goto(LOG)
    page.keyboard.press("/")
    search = page.get_by_role("combobox")
    expect(search).to_be_focused()
    page.keyboard.type("ev")
    expect(page.get_by_role("option")).to_have_text(['event:"Order Completed"'])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("option")).to_have_count(2)
    page.keyboard.type("sig")
    expect(page.get_by_role("option")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(search).to_have_value('event:"Signed Up" ')
    page.keyboard.press("Enter")
    expect(page.locator("[data-body] tr")).to_have_count(1)
    page.get_by_role("link", name='Remove the filter event:"Signed Up"').click()
    expect(page.locator("[data-body] tr")).to_have_count(2)


def test_rows_are_ticked_and_delivered_again(page):
    deliveries = [make_delivery(state="failed") for _ in range(3)]
    page.goto(LOG)
    page.get_by_label(f"Select delivery {deliveries[0].pk}").check()
    page.get_by_label(f"Select delivery {deliveries[2].pk}").check()
    expect(page.get_by_text("2 selected")).to_be_visible()
    page.get_by_role("button", name="Deliver again").click()
    expect(page.get_by_text("2 deliveries are queued again.")).to_be_visible()
    assert Delivery.objects.filter(state="queued").count() == 2


def test_while_one_reads_further_down_new_rows_wait_and_nothing_jumps(page):
    for _ in range(40):
        make_delivery()
    page.goto(f"{LOG}?live=1")
    page.mouse.wheel(0, 900)
    page.wait_for_function("scrollY > 500")
    row = page.locator("[data-body] tr").nth(25)
    before = row.bounding_box()["y"]
    make_delivery()
    news = page.get_by_role("button", name="1 new")
    expect(news).to_be_visible()
    assert row.bounding_box()["y"] == before
    expect(page.locator("[data-body] tr")).to_have_count(40)
    news.click()
    expect(page.locator("[data-body] tr")).to_have_count(41)


def test_the_live_log_rests_while_its_tab_is_hidden_and_can_be_paused(page):
    make_delivery()
    page.goto(f"{LOG}?live=1")
    asked = []
    page.on("request", lambda request: "/rows/" in request.url and asked.append(request.url))
    hidden = "Object.defineProperty(document, 'hidden', {get: () => %s, configurable: true});"
    change = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate((hidden % "true") + change)
    page.wait_for_timeout(300)
    asked.clear()
    page.wait_for_timeout(2_500)
    assert asked == []
    with page.expect_request("**/rows/**"):
        page.evaluate((hidden % "false") + change)
    page.get_by_role("button", name="Live").click()
    expect(page).not_to_have_url(re.compile("live=1"))
    page.wait_for_timeout(300)
    asked.clear()
    page.wait_for_timeout(2_500)
    assert asked == []


def test_one_goes_from_row_to_row_by_key(page):
    make_delivery(event=make_event(name="First"))
    make_delivery(event=make_event(name="Second"))
    page.goto(LOG)
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="Second")).to_be_focused()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="First")).to_be_focused()
    page.keyboard.press("x")
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Its way")).to_be_visible()


def test_a_command_is_copied_with_secrets_as_variables(page):
    delivery = make_delivery(state="delivered")
    make_attempt(delivery, request={"key": "***"})
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{LOG}{delivery.pk}/change/")
    page.bring_to_front()  # only a page in front may write to the clipboard
    page.get_by_role("button", name="Copy as curl").click()
    page.wait_for_function("navigator.clipboard.readText().then(text => text !== '')")
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith("curl -X POST https://heapanalytics.com/api/track")
    assert '"$HEAP_API_KEY"' in command


# --- for everybody -----------------------------------------------------------------------------


@pytest.fixture
def pages(page):
    """The address of every page of the admin."""
    delivery = make_delivery(state="failed", error="MessageRejected", reason="HTTP 400: no total")
    make_attempt(delivery, status=400, outcome="MessageRejected", answer='{"error": "no total"}')
    make_delivery(event=delivery.event, installation=make_installation(name="Heap EU"))
    rejection = Rejection.objects.create(
        source=Source.objects.get(), reason="event: a track needs its name.", text='{"event": ""}'
    )
    here = f"/admin/integrations/installation/{delivery.installation_id}"
    page.goto("/admin/")
    links = page.locator("#nav-sidebar-apps a").evaluate_all("all => all.map(a => a.pathname)")
    page.goto(f"{here}/change/")
    tabs = page.locator(".ps-tabs a").evaluate_all("all => all.map(a => a.pathname + a.search)")
    return [
        *links,
        *tabs,
        f"{here}/change/",
        "/admin/integrations/installation/library/heap/",
        f"/admin/integrations/source/{Source.objects.get().pk}/change/",
        f"{LOG}?q=usr:ada",
        f"{LOG}{delivery.pk}/change/",
        f"/admin/delivery/attempt/{delivery.carried.get().attempt_id}/change/",
        f"/admin/delivery/event/{delivery.event_id}/change/",
        "/admin/delivery/event/user/?id=ada",
        f"/admin/delivery/rejection/{rejection.pk}/change/",
    ]


def serious(page, **options):
    """What axe finds that keeps people out: (rule, element, what is wrong)."""
    found = Axe().run(page, options=options or None).response["violations"]
    return [
        (each["id"], node["html"][:200], node["failureSummary"][:300])
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def test_nobody_is_kept_out_of_any_page_and_none_is_too_wide(page, pages):
    wrong = {}
    for address in dict.fromkeys(pages):
        page.set_viewport_size(DESKTOP)
        page.goto(address)
        found = serious(page)
        page.evaluate("document.documentElement.classList.add('dark')")
        found += serious(page, runOnly=["color-contrast"])
        page.set_viewport_size(PHONE)
        page.wait_for_timeout(100)  # until charts have shrunk
        width = page.evaluate("document.documentElement.scrollWidth")
        if found or width > PHONE["width"]:
            wrong[address] = (found, width)
    assert wrong == {}, json.dumps(wrong, indent=1)


def test_no_page_asks_anyone_but_this_host(page, pages, live_server):
    here, asked = urlsplit(live_server.url).netloc, set()
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    for address in dict.fromkeys(pages):
        page.goto(address)
    assert asked - {""} == {here}
