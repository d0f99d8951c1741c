"""Pages of the admin: home, installations, sources, incidents, system, audit log."""

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from delivery.accounting import metrics, record, rollup
from delivery.accounting.metrics import MetricSeries
from delivery.accounting.record import MetricCounts, MetricStep
from delivery.admin.charts import chart_json, compact_number, success_rate
from delivery.admin.home import join_names
from delivery.models import Attempt, Delivery, EventBody, Heartbeat, Incident, Lane
from delivery.operations.system import get_system_status
from integrations.catalog import catalog
from integrations.destinations.heap.sandbox import Sandbox
from integrations.models import Installation, Source
from integrations.sources.sdk_snippets import SNIPPETS
from tests.support.admin_pages import change_form, read_page, text_of
from tests.support.factories import (
    CONFIG,
    make_delivery,
    make_event,
    make_installation,
    make_source,
    make_user,
)
from tests.support.fake_vendor import FakeVendor

pytestmark = pytest.mark.django_db

HOME = "/admin/"
MINE = "/admin/integrations/installation/"
MOST_QUERIES = 15
# A count of a slice is bounded; any other count reads through the log.
SLOW = re.compile(r"COUNT\(\*\)(?! FROM \(SELECT)|OFFSET [1-9]", re.IGNORECASE)


@pytest.fixture(autouse=True)
def _logged_in(client):
    client.force_login(make_user())


def read_of(answer):
    return unescape(answer.content.decode())


def settled(installation, now, **numbers):
    source = Source.objects.first() or make_source()
    record.append_settlement(installation.pk, {source.pk: MetricCounts(**numbers)}, now)


# --- home ----------------------------------------------------------------------------------------


def test_a_new_penstock_shows_three_steps_that_tick_themselves_off(client):
    assert "Add a source" in read_page(client, HOME)
    make_source(write_key="wk_first")
    html = read_page(client, HOME)
    assert text_of(html).count("Done") == 1
    assert "-u wk_first:" in html
    make_installation()
    assert text_of(read_page(client, HOME)).count("Done") == 2
    make_event()
    assert "Three steps" not in read_page(client, HOME)


def test_when_all_is_well_the_first_sentence_says_so(client):
    make_delivery(make_installation(name="Heap"), state="delivered")
    assert "Heap is delivering." in read_page(client, HOME)
    make_installation(name="Heap EU")
    assert "All 2 installations are delivering." in read_page(client, HOME)


def test_who_needs_a_person_is_named_first_and_with_what_to_do(client):
    make_delivery(make_installation(name="A well one"))
    make_delivery(make_installation(name="Refused"), make_event())
    Lane.objects.filter(installation__name="Refused").update(
        paused=True, last_error="Heap rejected the credentials: HTTP 401."
    )
    text = text_of(read_page(client, HOME))
    assert "Refused needs attention. Heap rejected the credentials: HTTP 401. The other" in text
    assert "The other one is delivering." in text
    assert text.index("Needs attention Heap rejected") < text.rindex("A well one")
    assert "resume the installation" in text


def test_of_the_others_each_is_told_as_it_is(client):
    for name in ("Well", "Paused", "Waits", "Refused"):
        make_delivery(make_installation(name=name), make_event())
    Installation.objects.filter(name="Paused").update(enabled=False)
    soon = timezone.now() + timedelta(minutes=5)
    Lane.objects.filter(installation__name="Waits").update(due_at=soon, failures=1)
    Lane.objects.filter(installation__name="Refused").update(paused=True)
    assert "Of the 3 others, 1 is waiting, 1 is paused and 1 is delivering." in read_page(
        client, HOME
    )
    uninstalled = Installation.objects.exclude(name__in=("Refused", "Paused"))
    uninstalled.update(uninstalled_at=timezone.now())
    assert "The other one is paused." in read_page(client, HOME)


def test_who_waits_is_said_with_why_and_until_when(client):
    make_delivery(make_installation(name="Shop"))
    due_at = timezone.now() + timedelta(minutes=5)
    Lane.objects.update(due_at=due_at, last_error="HTTP 503: busy", failures=3)
    text = text_of(read_page(client, HOME))
    since = f"{Lane.objects.get().changed_at:%H:%M:%S} UTC"
    next_attempt = f"next attempt {due_at:%H:%M:%S} UTC"
    assert f"Shop is waiting for Heap. HTTP 503: busy since {since} ; {next_attempt}" in text
    make_delivery(make_installation(name="Other"), make_event())
    Lane.objects.update(paused=True)
    assert "Other and Shop need attention." in text_of(read_page(client, HOME))
    Installation.objects.update(enabled=False)
    assert "Other and Shop are paused by an admin." in text_of(read_page(client, HOME))


def test_figures_and_chart_are_those_of_the_time_that_was_chosen(client):
    installation = make_delivery(state="delivered").installation
    now = timezone.now()
    settled(installation, now, delivered=90, failed=10)
    settled(installation, now - timedelta(hours=5), delivered=900)
    hour, day = (read_page(client, HOME, span=span) for span in ("hour", "day"))
    assert "Success rate 90 %" in text_of(hour)
    assert "990 delivered, 10 failed" in day
    drawn = json.loads(unescape(re.search(r'data-chart="([^"]+)"', hour)[1]))
    assert len(drawn["at"]) == len(drawn["sets"][0]["values"]) in (60, 61)
    assert sum(drawn["sets"][0]["values"]) == 90


def test_a_step_that_is_not_over_is_marked_and_ends_no_line():
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    points = [
        metrics._build_point(noon + timedelta(minutes=n), MetricCounts(accepted=9)) for n in (0, 1)
    ]
    series = MetricSeries(MetricStep.MINUTE, noon, noon + timedelta(minutes=2), points, points[0])
    sets = {"Bars": ("busy", "accepted"), "Line": ("busy", "accepted", "line")}
    now = noon + timedelta(seconds=90)
    drawn = json.loads(chart_json(series, sets, now))
    assert drawn["isOpen"]
    assert [each["values"] for each in drawn["sets"]] == [[9, 9], [9, None]]
    drawn = json.loads(chart_json(series, sets, noon + timedelta(minutes=2)))
    assert not drawn["isOpen"]
    assert [each["values"] for each in drawn["sets"]] == [[9, 9], [9, 9]]


def test_failures_are_grouped_by_their_reason_with_a_link_to_the_newest(client):
    installation = make_installation()
    for reason in ("no name", "no name", "too long"):
        newest = make_delivery(installation, make_event(), state="failed", reason=reason)
    html = read_page(client, HOME)
    assert "2 failed" in html
    assert f"/admin/delivery/delivery/{newest.pk}/change/" in html
    Delivery.objects.update(settled_at=timezone.now() - timedelta(days=2))
    assert "Needs your attention" not in read_page(client, HOME)


def test_open_incidents_are_told_until_they_are_over(client):
    make_delivery(state="delivered")
    now = timezone.now()
    incident = Incident.objects.create(
        kind="late", about="Heap", text="The oldest is 20 min old.", opened_at=now, seen_at=now
    )
    assert "Deliveries are late Heap The oldest is 20 min old." in text_of(read_page(client, HOME))
    Incident.objects.filter(pk=incident.pk).update(closed_at=now)
    assert "Deliveries are late" not in read_page(client, HOME)


def test_failed_ones_are_delivered_again_and_events_backfilled_from_the_overview(client):
    installation = make_delivery(state="failed").installation
    html = unescape(read_page(client, f"{MINE}{installation.pk}/change/"))
    for query in ("states=failed", "kind=backfill"):
        (address,) = re.findall(rf'"(/admin/[^"]+\?installation={installation.pk}&{query})"', html)
        assert f'value="{installation.pk}" selected' in read_page(client, address)


def test_the_overview_leads_to_the_last_error(client):
    installation = make_delivery(state="failed", reason="HTTP 400: too old").installation
    newest = make_delivery(state="failed", reason="HTTP 400: no name")
    make_delivery(state="delivered")
    html = read_page(client, f"{MINE}{installation.pk}/change/")
    assert re.search(rf'delivery/{newest.pk}/change/">HTTP 400: no name</a>', html)
    assert "too old" not in html


def test_a_time_that_does_not_exist_is_the_hour(client):
    make_delivery(state="delivered")
    assert "last hour" in read_page(client, HOME, span="century")


@pytest.mark.parametrize(
    ("names", "text"),
    [(["A"], "A"), (["A", "B"], "A and B"), (["A", "B", "C", "D"], "A, B and 2 others")],
)
def test_names_are_listed_as_one_says_them(names, text):
    assert join_names(names) == text


def test_numbers_are_short_and_a_failure_never_rounds_to_all_delivered():
    assert [compact_number(n) for n in (0, 950, 12_345, 4_100_000)] == ["0", "950", "12.3k", "4.1M"]
    assert (success_rate(1_000_000, 1), success_rate(10, 0), success_rate(0, 0)) == (
        "99.99 %",
        "100 %",
        "–",
    )


# --- sources -------------------------------------------------------------------------------------


def test_a_source_shows_each_sdk_with_its_own_key_and_our_host(client):
    source = make_source(write_key="wk_own")
    for each in SNIPPETS:
        text = unescape(read_page(client, f"/admin/integrations/source/{source.pk}/", sdk=each.key))
        assert each.fill("http://testserver", "wk_own") in text
        assert "{host}" not in text
        assert "wk_own" in each.fill("", "wk_own")


def test_a_source_says_when_it_was_last_seen_and_how_much_came(client):
    source = make_source()
    assert "never" in text_of(read_page(client, "/admin/integrations/source/"))
    event = {"event": "A", "userId": "u", "writeKey": source.write_key}
    client.post("/v1/track", json.dumps(event), content_type="application/json")
    for _ in range(2):  # first from the tally, then from the metrics
        text = text_of(read_page(client, "/admin/integrations/source/"))
        assert re.search(r"1 (\d+ s|1 min) ago", text)  # the metrics count by the minute
        rollup.roll_up_metrics(timezone.now())


def test_after_a_source_is_made_the_page_says_how_to_connect_it(client):
    values = {"name": "App", "default_context": "{}", "write_key": "wk_new_key"}
    answer = client.post("/admin/integrations/source/add/", values, follow=True)
    assert "Connect" in answer.content.decode()
    assert "wk_new_key" in answer.content.decode()


def test_a_write_key_is_rotated_and_the_old_one_can_be_revoked(client):
    source = make_source(write_key="wk_old_key")
    own = f"/admin/integrations/source/{source.pk}/"
    client.post(f"{own}rotate/", {"overlap": "24"})
    source.refresh_from_db()
    html = read_page(client, own)
    assert source.write_key != "wk_old_key"
    assert source.write_key in html
    assert "wk_old_key" in html
    client.post(f"/admin/integrations/source/keys/{source.further_keys.get().pk}/revoke/")
    assert "wk_old_key" not in read_page(client, own)
    client.force_login(make_user("viewer", is_superuser=False))
    assert client.post(f"{own}rotate/", {"overlap": "0"}).status_code == 403


def test_a_source_is_archived_and_brought_back(client):
    source = make_source(write_key="wk_own")
    own = f"/admin/integrations/source/{source.pk}/"
    assert "its name stays taken" in text_of(read_page(client, f"{own}archive/"))
    client.post(f"{own}archive/")
    assert "Archived" in read_page(client, own)
    assert re.search(r"Shop <.*Archived", read_page(client, "/admin/integrations/source/"))
    client.post(f"{own}bring-back/")
    assert "Archived" not in read_page(client, own)
    assert client.get(f"{own}bring-back/").status_code == 405
    client.force_login(make_user("viewer", is_superuser=False))
    for address in ("archive/", "bring-back/", "keys/add/"):
        assert client.post(f"{own}{address}").status_code == 403


def test_a_source_is_given_one_more_key_that_says_who_uses_it(client):
    source = make_source()
    own = f"/admin/integrations/source/{source.pk}/"
    client.post(f"{own}keys/add/", {"note": "iOS app", "days": "30"})
    key = source.further_keys.get()
    assert timedelta(days=29) < key.expires_at - timezone.now() < timedelta(days=31)
    assert f"{key.key} iOS app, expires {key.expires_at:%-d %b %Y}" in text_of(
        read_page(client, own)
    ).replace(" ,", ",")
    client.post(f"{own}keys/add/", {"note": "", "days": "0"})
    assert source.further_keys.latest("pk").expires_at is None
    assert "Select a valid choice" in read_of(client.post(f"{own}keys/add/", {"days": "3"}))


# --- incidents -----------------------------------------------------------------------------------


def test_an_incident_has_a_page_with_what_it_is_about(client):
    installation, now = make_installation(), timezone.now()
    incident = Incident.objects.create(
        kind="late", subject=f"installation:{installation.pk}", about="Heap", opened_at=now,
        text="The oldest is 20 minutes old.", seen_at=now,
    )  # fmt: skip
    html = read_page(client, f"/admin/delivery/incident/{incident.pk}/change/")
    assert "Heap: deliveries are late" in html
    assert f"{MINE}{installation.pk}/change/" in html
    assert f"/admin/delivery/incident/{incident.pk}/change/" in read_page(
        client, "/admin/delivery/incident/"
    )
    log = unescape(re.search(r'"(/admin/delivery/delivery/\?[^"]*)"', html)[1])
    assert "log-problem" not in read_page(client, log)


def test_a_test_alarm_goes_where_alarms_go(client, settings, mailoutbox):
    address = "/admin/delivery/incident/test/"
    assert "No notifications are configured" in read_of(client.post(address, follow=True))
    settings.ALARM_EMAILS = ["ops@example.com"]
    assert "mail to ops@example.com" in read_page(client, "/admin/delivery/incident/")
    assert "A test alert was sent by mail." in read_of(client.post(address, follow=True))
    assert mailoutbox[0].to == ["ops@example.com"]
    assert "Nothing is wrong" in mailoutbox[0].body
    assert not Incident.objects.exists()
    settings.ALARM_WEBHOOK_URL = "http://127.0.0.1:1/"
    assert "The test alert by webhook failed" in read_of(client.post(address, follow=True))
    client.force_login(make_user("viewer", is_superuser=False))
    assert client.post(address).status_code == 403


# --- system --------------------------------------------------------------------------------------


def test_without_a_cluster_the_system_page_says_that_nothing_is_delivered(client):
    assert "No cluster is running" in read_page(client, f"{MINE}system/")


def test_with_a_cluster_and_a_sweep_everything_runs(client):
    now = timezone.now()
    Heartbeat.objects.create(name="cluster web-1/1/2:4711:ab12", at=now)
    Heartbeat.objects.create(name="cluster old-1/1/2:42:ab12", at=now - timedelta(hours=1))
    Heartbeat.objects.create(name="sweep", at=now)
    text = text_of(read_page(client, f"{MINE}system/"))
    assert "Everything is running." in text
    assert "Running Cluster on web-1, pid 4711" in text
    assert "Silent Cluster on old-1, pid 42" in text
    found = get_system_status(now + timedelta(minutes=10))
    assert "No cluster" in found.trouble


def test_who_may_only_look_sees_home_but_not_the_system(client):
    client.force_login(make_user("viewer", is_superuser=False))
    assert client.get(HOME).status_code == 200
    assert client.get(f"{MINE}system/").status_code == 403


# --- audit log -----------------------------------------------------------------------------------


def test_activity_and_audit_log_show_who_changed_what_but_no_secret(client):
    installation = make_installation()
    changes = {"name": "Renamed", "config.app_id": "42", "config.api_key": "canary-secret"}
    change_form(client, f"{MINE}{installation.pk}/settings/", **changes)
    activity = read_page(client, f"{MINE}{installation.pk}/activity/")
    assert "Installation updated" in activity
    assert "Renamed" in activity
    html = read_page(client, "/admin/integrations/auditentry/")
    assert "Installation updated" in html
    entry = re.search(r"/admin/integrations/auditentry/(\d+)/change/", html)
    page = read_page(client, entry[0])
    assert "config.api_key" in page
    assert "canary-secret" not in page + activity


# --- the cost of pages ---------------------------------------------------------------------------


def test_no_page_takes_many_queries_or_counts_or_skips_rows(client):
    installation = make_installation()
    for number in range(5):
        make_delivery(make_installation(name=f"Heap {number}"), make_event(), state="failed")
    pk, source = installation.pk, Source.objects.first().pk
    own = f"{MINE}{pk}"
    for address in (
        HOME, MINE, f"{own}/change/", f"{own}/settings/",
        f"{own}/blueprint/", f"{own}/activity/", f"{MINE}library/",
        f"{MINE}library/heap/", "/admin/integrations/source/",
        f"/admin/integrations/source/{source}/", f"{MINE}system/",
        "/admin/integrations/auditentry/", "/admin/integrations/apitoken/",
    ):  # fmt: skip
        with CaptureQueriesContext(connection) as queries:
            read_page(client, address)
        statements = [query["sql"] for query in queries]
        assert len(statements) < MOST_QUERIES, (address, len(statements), statements)
        about_log = [each for each in statements if "delivery_delivery" in each]
        assert not [each for each in about_log if SLOW.search(each)], address


# --- tests of a connection and test events -------------------------------------------------------


def test_a_connection_can_be_tested_before_and_after_installing(client, settings):
    library, form = f"{MINE}library/heap/test/", {"name": "New", "variant": "default"}
    wrong = form | {"config.app_id": "no number", "config.region": "us"}
    assert "Digits only" in client.post(library, wrong).content.decode()
    with Sandbox() as sandbox:
        settings.SANDBOX_URL = sandbox.url
        installation = make_installation()
        right = form | {f"config.{key}": value for key, value in installation.config.items()}
        for address in (library, f"{MINE}{installation.pk}/connection/"):
            html = client.post(address, right).content.decode()
            assert "check_circle" in html, html
            assert client.get(address).status_code == 405
    assert Installation.objects.count() == 1


def test_a_test_event_is_sent_and_its_answer_shown(client, settings):
    with Sandbox() as sandbox:
        settings.SANDBOX_URL = sandbox.url
        installation = make_installation()
        html = client.post(f"{MINE}{installation.pk}/test-event/").content.decode()
        assert "Heap accepted it." in html
        assert len(sandbox.state.events) == 1
    assert not Delivery.objects.exists()


def test_a_recent_event_is_previewed_and_sent_as_a_test(client, settings):
    with FakeVendor() as vendor:
        settings.SANDBOX_URL = vendor.url
        installation = make_installation(config={**CONFIG, "region": "sandbox"})
        event = make_event(name="Signed Up")
        page = client.get(f"{MINE}{installation.pk}/change/").content.decode()
        assert f'<option value="{event.pk}">Signed Up' in page
        form = {"event_id": event.pk}
        shown = client.post(f"{MINE}{installation.pk}/test-preview/", form).content.decode()
        assert ("Would be sent" in shown, vendor.received) == (True, [])
        sent = client.post(f"{MINE}{installation.pk}/test-event/", form).content.decode()
    assert "Accepted" in sent
    [(_, _, body)] = vendor.received
    assert body["events"][0]["event"] == "Signed Up"
    assert Attempt.objects.get().is_test
    EventBody.objects.all().delete()
    for address in ("test-preview/", "test-event/"):
        answer = client.post(f"{MINE}{installation.pk}/{address}", form).content.decode()
        assert "its body is no longer stored" in answer


def test_a_test_event_is_sent_before_anything_is_installed(client, settings):
    address, form = f"{MINE}library/heap/test-event/", {"name": "New", "variant": "default"}
    assert "Digits only" in client.post(address, form | {"config.app_id": "x"}).content.decode()
    with Sandbox() as sandbox:
        settings.SANDBOX_URL = sandbox.url
        usual = {f"config.{each.key}": each.default for each in catalog()["heap"].config_fields}
        right = form | usual | {"config.app_id": "1234567890", "config.region": "sandbox"}
        html = client.post(address, right).content.decode()
        assert "Heap accepted it." in html
        assert "Nothing of it is stored here." in html
        assert len(sandbox.state.events) == 1
    assert not Installation.objects.exists()
    assert not Attempt.objects.exists()


def test_who_may_only_look_can_try_nothing(client):
    installation = make_installation()
    before = f"{MINE}library/heap/test-event/"
    client.force_login(make_user("viewer", is_superuser=False))
    for address in ("connection", "test-event"):
        assert client.post(f"{MINE}{installation.pk}/{address}/").status_code == 403
    assert client.post(before).status_code == 403
