"""The whole story in a browser, the live log, use by keyboard, and accessibility."""

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
from django.utils.timezone import now
from playwright.sync_api import expect

from delivery.accounting import record
from delivery.accounting.record import MetricCounts
from delivery.actions import installations
from delivery.models import Delivery, EventBody, Incident, Lane, Rejection
from delivery.worker import drain as worker_drain
from integrations.models import Source
from tests.conftest import require_service
from tests.support.factories import (
    make_attempt,
    make_delivery,
    make_event,
    make_installation,
    make_source,
)

pytestmark = [pytest.mark.end_to_end, pytest.mark.django_db(transaction=True)]

PHONE = {"width": 390, "height": 844}
ZOOMED = {"width": 640, "height": 400}  # DESKTOP at a zoom of 200 %
NARROW = {"width": 375, "height": 800}  # a small phone
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
    sdk = Path(require_service("sdks")) / "python"

    def send(source):
        command = [sys.executable, "-c", SEND, live_server.url, source.write_key]
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(sdk)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")

    return send


def script(sandbox, *faults):
    """Set the next responses of the sandbox."""
    body = json.dumps(faults).encode()
    urlopen(Request(f"{sandbox.url}/_sandbox/faults", body, {"Content-Type": "application/json"}))


def drain():
    for lane in Lane.objects.all():
        worker_drain.drain_lane(lane.pk)


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_install_send_watch_break_read_mend_deliver_again_export(page, send, sandbox, size, scheme):
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    page.clock.install()  # the test decides when the live log's two seconds have passed
    source = make_source("Shop")
    install(page)
    watch_it_arrive(page, send, source)
    break_the_vendor(page, send, source, sandbox)
    read_the_cause(page)
    mend_and_deliver_again(page, sandbox)
    assert [line["state"] for line in exported(page)] == ["delivered", "delivered"]


def install(page):
    page.goto("/admin/integrations/installation/library/heap/")
    with page.expect_response("**/check/"):  # SQLite in memory cannot serve both requests at once
        page.get_by_label("App ID").fill("1234567890")
    page.get_by_role("button", name="Install Integration").click()
    expect(page.get_by_text("Heap is installed.")).to_be_visible()


def watch_it_arrive(page, send, source):
    page.goto(f"{LOG}?q=user:ada&live=1")
    rows = page.locator("[data-body] tr")
    expect(rows).to_have_count(0)
    send(source)
    page.clock.fast_forward(2_000)
    expect(rows).to_have_count(1)
    expect(rows.locator(".log-state")).to_contain_text("Queued")
    drain()
    page.clock.fast_forward(2_000)
    expect(rows.locator(".log-state")).to_contain_text("Delivered")


def break_the_vendor(page, send, source, sandbox):
    rows = page.locator("[data-body] tr")
    script(sandbox, REFUSAL)
    send(source)
    page.clock.fast_forward(2_000)
    expect(rows).to_have_count(2)
    drain()
    page.clock.fast_forward(2_000)
    expect(rows.first.locator(".log-state")).to_contain_text("Failed")


def read_the_cause(page):
    page.locator("[data-body] tr").first.get_by_role("link", name="Order Completed").click()
    expect(page.get_by_role("heading", name="Failed")).to_be_visible()
    expect(page.get_by_text("Part of the request is not valid for Heap.")).to_be_visible()
    expect(page.get_by_text("no total").first).to_be_visible()


def mend_and_deliver_again(page, sandbox):
    script(sandbox)
    page.get_by_role("button", name="Deliver again").click()
    expect(page.get_by_text("1 delivery is queued again.")).to_be_visible()
    drain()
    page.reload()
    expect(page.get_by_role("heading", name="Delivered")).to_be_visible()
    assert len(sandbox.state.events) == 2


def exported(page):
    page.goto(f"{LOG}?q=user:ada")
    page.locator("summary", has_text="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="All matches as CSV").click()
    with open(download.value.path(), newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


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


def test_what_was_chosen_stays_so_when_an_answer_comes_late(page):
    make_delivery(event=make_event(name="Signed Up"))
    late = []
    page.route(re.compile("text=sig$"), lambda route: late.append(route))
    page.goto(LOG)
    search, chosen = page.get_by_role("combobox"), page.get_by_role("option", selected=True)
    search.press_sequentially("event:s")
    expect(page.get_by_role("option")).to_contain_text(["Signed Up"])
    search.press("ArrowDown")
    expect(chosen).to_have_count(1)
    search.press_sequentially("ig")
    expect(chosen).to_have_count(0)  # so that Enter searches for the typed text
    search.press("ArrowDown")
    with page.expect_response(re.compile("text=sig$")):
        late[0].continue_()
    page.wait_for_timeout(200)  # until the page has read the response
    search.press("Tab")
    expect(search).to_have_value('event:"Signed Up" ')


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
    page.clock.install()
    page.goto(f"{LOG}?live=1")
    asked = []
    parts = ("/rows/", "/summary/")
    page.on("request", lambda it: any(p in it.url for p in parts) and asked.append(it.url))
    hidden = "Object.defineProperty(document, 'hidden', {get: () => %s, configurable: true});"
    change = "document.dispatchEvent(new Event('visibilitychange'))"
    with page.expect_response("**/rows/**"):
        page.clock.fast_forward(2_000)
    page.evaluate((hidden % "true") + change)
    assert_asks_no_more(page, asked)
    with page.expect_response("**/rows/**"):
        page.evaluate((hidden % "false") + change)
    page.get_by_role("button", name="Live").click()
    expect(page).not_to_have_url(re.compile("live=1"))
    assert_asks_no_more(page, asked)


def test_what_the_live_log_adds_up_to_is_asked_for_at_every_fifth_look(page):
    make_delivery()
    asked = {"rows": 0, "summary": 0}

    def count(request):
        part = urlsplit(request.url).path.split("/")[-2]
        asked[part] = asked.get(part, 0) + 1

    page.clock.install()
    page.on("request", count)
    with page.expect_response("**/rows/**"):
        page.goto(f"{LOG}?q=user:ada&live=1")
    figures = page.locator(".log-figures")
    expect(figures).to_contain_text("Waiting1")
    make_delivery()
    for _ in range(6):
        look_again(page)
    expect(figures).to_contain_text("Waiting2")
    assert asked["summary"] == asked["rows"] // 5 > 0
    figures.get_by_role("link", name="2").focus()
    make_delivery()
    for _ in range(5):
        look_again(page)
    assert asked["summary"] == asked["rows"] // 5 > 1
    expect(figures.get_by_role("link", name="2")).to_be_focused()  # updating keeps the focus


def test_a_click_is_not_lost_when_the_live_log_changes_under_a_pressed_pointer(page):
    delivery = make_delivery(state="failed")
    page.clock.install()
    with page.expect_response("**/rows/**"):
        page.goto(f"{LOG}?q=user:ada&live=1")
    link = page.locator("[data-body] tr").get_by_role("link", name=delivery.event.name)
    link.hover()
    page.mouse.down()
    make_delivery()
    with page.expect_response("**/rows/**"):
        page.clock.fast_forward(2_000)
    page.wait_for_timeout(200)  # a new row would have moved the link by now
    page.mouse.up()
    expect(page).to_have_url(re.compile(f"{delivery.pk}/change"))


def look_again(page):
    with page.expect_response("**/rows/**"):
        page.clock.fast_forward(2_000)
    page.wait_for_timeout(50)


def assert_asks_no_more(page, asked):
    asked.clear()
    for _ in range(3):
        page.clock.fast_forward(5_000)
        page.wait_for_timeout(100)
    assert asked == []


def test_a_part_of_the_trend_that_is_dragged_over_is_the_time_that_is_shown(page):
    delivery = make_delivery(state="delivered")
    record.append_settlement(
        delivery.installation_id, {delivery.event.source_id: MetricCounts(delivered=3)}, now()
    )
    page.goto(f"{LOG}?q=installation:Heap")
    drag_over_trend(page, 0.5, 1.1)
    expect(page).to_have_url(re.compile("since"))
    expect(page).not_to_have_url(re.compile("until"))
    expect(page.locator("[data-body] tr")).to_have_count(1)
    page.go_back()
    expect(page).not_to_have_url(re.compile("since"))
    drag_over_trend(page, 0.6, 0.2)
    expect(page.get_by_role("link", name=re.compile("Remove the filter until"))).to_be_visible()
    expect(page.get_by_text("Nothing matches.")).to_be_visible()


def drag_over_trend(page, start, end):
    """Drag over the trend, from one share of its width to another."""
    box = page.locator("[data-trend]").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, middle, steps=3)
    expect(page.locator(".log-marked")).to_be_visible()
    page.mouse.up()


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
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()


def test_a_text_is_found_in_what_a_delivery_shows_also_where_it_is_folded(page):
    delivery = make_delivery(state="delivered")
    for place in ("first", "second"):
        request = {"app_id": "1", "events": [{"event": "Order Completed", "place": place}]}
        make_attempt(delivery, request=request, answer='{"cost": "(1.5) €"}')
    page.goto(f"{LOG}{delivery.pk}/change/")
    page.keyboard.press("/")
    box = page.get_by_role("searchbox", name="Find in requests, responses and the event")
    expect(box).to_be_focused()
    count = page.locator("[data-find-count]")
    first = page.locator("pre", has_text='"first"')
    expect(first).to_be_hidden()
    page.keyboard.type('PLACE": "first')  # the match spans two tokens of the code
    expect(count).to_have_text("1 of 1")
    expect(first).to_be_in_viewport()
    assert page.evaluate("CSS.highlights.get('log-here').size") == 1
    box.fill("(1.5) €")
    expect(count).to_have_text("1 of 2")
    for key, expected in (("Enter", "2 of 2"), ("Enter", "1 of 2"), ("Shift+Enter", "2 of 2")):
        page.keyboard.press(key)
        expect(count).to_have_text(expected)
    page.get_by_role("button", name="Next match").click()
    expect(count).to_have_text("1 of 2")
    box.fill("nowhere")
    expect(count).to_have_text("None")
    expect(page.get_by_role("button", name="Next match")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(box).to_have_value("")
    expect(count).to_have_text("")
    expect(box).not_to_be_focused()


def test_json_is_shown_pretty_and_as_it_came(page):
    event = make_event()
    as_it_came = '{"event":"Order Completed","properties":{"total":1.0}}'
    EventBody.objects.filter(event=event).update(text=as_it_came)
    page.goto(f"/admin/delivery/event/{event.pk}/change/")
    block = page.locator("pre", has_text='"total": 1.0')
    expect(block).to_contain_text("{\n  ")
    box = page.get_by_role("searchbox")
    box.fill('"total": 1')
    expect(page.locator("[data-find-count]")).to_have_text("1 of 1")
    raw = page.get_by_role("button", name=", raw")
    raw.click()
    expect(page.locator("pre", has_text=as_it_came)).to_have_text(as_it_came)
    expect(page.locator("[data-find-count]")).to_have_text("None")
    raw.click()
    expect(block).to_contain_text("{\n  ")


def test_the_box_of_a_card_on_a_phone_does_not_read_as_a_field(page):
    page.set_viewport_size(PHONE)
    page.goto("/admin/auth/user/")
    label = page.locator("#result_list td:has([type=checkbox])").evaluate_all(
        'all => all.map((each) => getComputedStyle(each, "::before").content)'
    )
    assert label == ['"Select"']


def test_an_attempt_of_the_comparison_leads_to_its_request(page):
    delivery = make_delivery(state="delivered")
    first = make_attempt(delivery, status=503, outcome="VendorUnavailable", error="HTTP 503")
    make_attempt(delivery)
    page.goto(f"{LOG}{delivery.pk}/change/")
    compared = page.get_by_role("region", name="Attempts, newest first")
    expect(compared.locator("mark")).to_have_text(["200", "none"])
    answer = page.locator(f"#attempt-{first.pk}").get_by_text("HTTP 503")
    expect(answer).to_be_hidden()
    compared.get_by_role("link", name="1", exact=True).click()
    expect(answer).to_be_in_viewport()


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


# --- accessibility -----------------------------------------------------------------------------


@pytest.fixture
def pages(page):
    """The addresses of all pages of the admin."""
    delivery = make_delivery(state="failed", error="MessageRejected", reason="HTTP 400: no total")
    make_attempt(delivery, status=400, outcome="MessageRejected", answer='{"error": "no total"}')
    source, here = Source.objects.get(), f"{INSTALLATIONS}{delivery.installation_id}"
    sums = MetricCounts(delivered=9, failed=1)
    record.append_settlement(delivery.installation_id, {source.pk: sums}, now())
    rejection, incident, uninstalled = further_rows(delivery, source)
    page.goto("/admin/")
    links = page.locator("#nav-sidebar-apps a").evaluate_all("all => all.map(a => a.pathname)")
    page.goto(f"{here}/change/")
    tabs = page.locator(".ps-tabs a").evaluate_all("all => all.map(a => a.pathname + a.search)")
    return [
        *links,
        *tabs,
        *(f"{here}/{each}/" for each in ("change", "uninstall", "revisions", "revisions/1")),
        *(f"/admin/integrations/{each}/add/" for each in ("source", "webhooksource", "apitoken")),
        *(f"/admin/integrations/source/{source.pk}/{each}" for each in OF_A_SOURCE),
        f"{INSTALLATIONS}library/heap/",
        f"{INSTALLATIONS}{uninstalled.installation_id}/change/",
        f"{LOG}?q=usr:ada",
        f"{LOG}{delivery.pk}/change/",
        f"/admin/delivery/attempt/{delivery.carried.get().attempt_id}/change/",
        f"/admin/delivery/event/{delivery.event_id}/change/",
        "/admin/delivery/event/user/?id=ada",
        f"/admin/delivery/incident/{incident.pk}/change/",
        f"/admin/delivery/rejection/{rejection.pk}/change/",
        f"/admin/delivery/replay/new/?installation={delivery.installation_id}&states=failed",
    ]


INSTALLATIONS = "/admin/integrations/installation/"
OF_A_SOURCE = ("", "change/", "rotate/", "keys/add/", "archive/")


def further_rows(delivery, source):
    """Create a rejection, an incident, and a delivery to an installation since uninstalled."""
    make_delivery(event=delivery.event, installation=make_installation(name="Heap EU"))
    reason = "event: a track needs its name."
    rejection = Rejection.objects.create(source=source, reason=reason, text='{"event": ""}')
    incident = Incident.objects.create(
        kind="late", subject=f"installation:{delivery.installation_id}", about="Heap",
        text="The oldest is 20 minutes old.", opened_at=now(), seen_at=now(),
    )  # fmt: skip
    uninstalled = make_delivery(
        event=delivery.event, installation=make_installation(name="Heap Old")
    )
    installations.uninstall(uninstalled.installation, now())
    return rejection, incident, uninstalled


SERIOUS = """options => axe.run(options).then((found) =>
  found.violations.filter((each) => ["serious", "critical"].includes(each.impact)))"""


def serious(page, **options):
    """Return the serious violations that axe finds: (rule, element, what is wrong)."""
    if not page.evaluate("'axe' in window"):  # it has half a megabyte: load it once per page
        page.evaluate(Axe().axe_script)
    return [
        (each["id"], node["html"][:200], node["failureSummary"][:300])
        for each in page.evaluate(SERIOUS, {"resultTypes": ["violations"], **options})
        for node in each["nodes"]
    ]


def test_nobody_is_kept_out_of_any_page_none_is_too_wide_or_asks_another_host(page, pages):
    here, asked, wrong = urlsplit(page.url).netloc, set(), {}
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    for address in dict.fromkeys(pages):
        page.set_viewport_size(DESKTOP)
        assert page.goto(address).status == 200, address
        found = serious(page)
        page.evaluate("document.documentElement.classList.add('dark')")
        found += serious(page, runOnly=["color-contrast"])
        wide = [each for each in (ZOOMED, NARROW) if is_wider(page, each)]
        if found or wide:
            wrong[address] = (found, wide)
    assert wrong == {}, json.dumps(wrong, indent=1)
    assert asked - {""} == {here}


def is_wider(page, size):
    """Return whether a page scrolls sideways or has controls beyond its edge."""
    page.set_viewport_size(size)
    page.wait_for_timeout(100)  # until charts have shrunk
    width = page.evaluate("document.documentElement.scrollWidth")
    return width > size["width"] or page.evaluate(CUT_OFF)


# Whether a control is cut off: it lies beyond the edge, and nothing around it scrolls.
CUT_OFF = """() => {
  const isCut = (each) => {
    const box = each.getBoundingClientRect();
    if (!box.width || !box.height || box.right <= innerWidth + 1) return false;
    for (let part = each; part; part = part.parentElement) {
      const { overflowX, position } = getComputedStyle(part);
      if (["auto", "scroll"].includes(overflowX) || position === "fixed") return false;
    }
    return true;
  };
  return [...document.querySelectorAll("#main :is(a, button, input, select)")].some(isCut);
}"""

# The focused element, and whether its focus is visible: it has an outline or a shadow, or the row,
# label or parent around it has one.
FOCUSED = """() => {
  const it = document.activeElement;
  if (!it || it === document.body) return null;
  const around = [it, it.closest("tr"), it.closest("label"), it.parentElement];
  const isMarked = (style) =>
    (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) ||
    style.boxShadow !== "none";
  const seen = around.filter(Boolean).some((each) => isMarked(getComputedStyle(each)));
  const box = it.getBoundingClientRect();
  it.dataset.order ??= String((window.order = (window.order ?? 0) + 1));
  const all = [...document.querySelectorAll("[data-order]")].map((each) => each.dataset.order);
  const inOrder = all.every((each, i) => !i || Number(all[i - 1]) < Number(each));
  return { what: it.outerHTML.slice(0, 160), seen, big: box.width * box.height > 0, inOrder };
}"""


def test_by_keyboard_one_gets_everywhere_in_order_and_sees_where_one_is(page, pages):
    delivery = f"{LOG}{Delivery.objects.first().pk}/change/"
    settings = next(each for each in pages if each.endswith("/settings/"))
    source = f"/admin/integrations/source/{Source.objects.get().pk}/"
    for address in ("/admin/", LOG, delivery, settings, source):
        page.goto(address)
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        stops = list(tab_stops(page))
        assert 15 < len(stops) < MOST_STOPS, address
        wrong = [each for each in stops if not (each["seen"] and each["big"] and each["inOrder"])]
        assert wrong == [], f"{address}: {json.dumps(wrong, indent=1)}"


MOST_STOPS = 150


def tab_stops(page):
    """Press Tab to the end of a page; yield each focused element."""
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if found is None:
            return
        yield found


def test_escape_closes_what_is_open_and_r_goes_to_deliver_again(page):
    delivery = make_delivery(state="failed", error="MessageRejected", reason="HTTP 400")
    page.goto(LOG)
    export = page.locator("summary", has_text="Export")
    export.click()
    expect(page.get_by_role("link", name="All matches as CSV")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="All matches as CSV")).to_be_hidden()
    expect(export).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("listbox")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    page.get_by_role("link", name="Order Completed").focus()
    page.keyboard.press("r")
    expect(page.get_by_text("1 selected")).to_be_visible()
    expect(page.get_by_role("button", name="Deliver again")).to_be_focused()
    page.goto(f"{LOG}{delivery.pk}/change/")
    page.keyboard.press("r")
    expect(page.get_by_role("button", name="Deliver again")).to_be_focused()
    assert Delivery.objects.get().state == "failed"
