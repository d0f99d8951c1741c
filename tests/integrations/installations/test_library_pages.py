"""Installing and managing integrations in the admin."""

import re
import uuid
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from delivery.accounting import histogram, record
from delivery.accounting.record import MetricCounts
from delivery.actions import installations
from delivery.models import Delivery, Lane
from delivery.worker import rate_limits
from integrations.encryption import reveal
from integrations.installations import install
from integrations.installations.change import source_ids
from integrations.models import ApiToken, Installation, Source, digest
from tests.support.admin_pages import change_form, read_page, text_of
from tests.support.factories import (
    make_attempt,
    make_delivery,
    make_event,
    make_installation,
    make_source,
    make_token,
    make_user,
)

pytestmark = pytest.mark.django_db

MINE = "/admin/integrations/installation/"
LIBRARY = f"{MINE}library/"
FORM = {
    "name": "Heap",
    "variant": "default",
    "config.app_id": "1234567890",
    "config.api_key": "canary-secret",
    "config.region": "sandbox",
    "config.arrays": "json",
    "config.objects": "flatten",
    "config.visitors": "number",
    "config.same_ids": "once",
}


@pytest.fixture(autouse=True)
def _logged_in(client):
    client.force_login(make_user())


def address_of(installation):
    return f"{MINE}{installation.pk}/change/"


# --- the library -------------------------------------------------------------------------------


def test_the_login_page_leads_to_the_admin(client):
    client.logout()
    answer = client.post("/admin/login/", {"username": "admin", "password": "secret"})
    assert (answer.status_code, answer.url) == (302, "/admin/")


def test_the_library_shows_a_card_for_each_destination(client):
    html = read_page(client, LIBRARY)
    assert "Heap" in html
    assert "Analytics" in html
    assert "Beta" in html
    assert 'src="data:image/svg+xml;base64,' in html
    assert reverse("admin:install", args=["heap"]) in html
    assert "Installed" not in text_of(html)


def test_a_card_says_that_its_destination_is_installed(client):
    make_installation()
    assert "Installed" in text_of(read_page(client, LIBRARY))


def test_the_navigation_leads_to_what_is_installed_and_to_what_could_be(client):
    for address in (MINE, LIBRARY):
        html = read_page(client, address)
        assert "My Integrations" in html
        assert "Integration Library" in html


def test_no_page_holds_a_script_of_its_own_or_a_foreign_address(client):
    installation = make_installation()
    for address in ("/admin/", MINE, LIBRARY, f"{LIBRARY}heap/", address_of(installation)):
        html = read_page(client, address)
        assert not re.search(r"<script(?![^>]*\bsrc=)", html), address
        assert not re.search(r'(?:src|<link[^>]+href)="(?:https?:)?//', html), address


def test_the_form_has_each_setting_with_its_help_and_the_steps_beside_it(client):
    html = read_page(client, f"{LIBRARY}heap/")
    for words in ("App ID", "API key", "Region", "Account › Manage", "Before you install"):
        assert words in html
    assert 'placeholder="1234567890"' in html
    assert 'name="config.api_key"' in html
    assert 'type="password"' in html


def test_where_a_sandbox_runs_the_form_starts_with_it_and_says_so(client, settings):
    settings.SANDBOX_URL = "http://127.0.0.1:8085"
    html = read_page(client, f"{LIBRARY}heap/")
    assert "nothing leaves this machine" in text_of(html)
    assert '<option value="sandbox" selected>' in html


def test_without_a_sandbox_nothing_speaks_of_one(client, settings):
    settings.SANDBOX_URL = ""
    html = read_page(client, f"{LIBRARY}heap/")
    assert 'value="sandbox"' not in html
    assert "nothing leaves this machine" not in html


def test_installing_leads_to_the_installation_and_its_next_step(client):
    make_source(write_key="wk_shop")
    answer = client.post(f"{LIBRARY}heap/", FORM, follow=True)
    installation = Installation.objects.get()
    assert answer.redirect_chain == [(address_of(installation), 302)]
    html = answer.content.decode()
    assert "Heap is installed." in html
    assert "curl http://testserver/v1/track" in html
    assert "-u wk_shop:" in html


def test_what_is_installed_has_the_secret_sealed_and_the_user_as_author(client):
    client.post(f"{LIBRARY}heap/", FORM)
    installation = Installation.objects.get()
    assert installation.config == {
        "app_id": "1234567890",
        "region": "sandbox",
        "arrays": "json",
        "objects": "flatten",
        "visitors": "number",
        "same_ids": "once",
    }
    assert "canary" not in installation.sealed_secrets
    assert reveal(installation.sealed_secrets) == {"api_key": "canary-secret"}
    assert installation.revision.number == 1
    assert installation.revision.created_by.username == "admin"


def test_wrong_values_are_named_at_their_field_and_the_secret_is_not_sent_back(client):
    answer = client.post(f"{LIBRARY}heap/", FORM | {"config.app_id": "no number", "name": ""})
    html = answer.content.decode()
    assert answer.status_code == 422
    assert "Digits only" in html
    assert "Give the installation a name." in html
    assert 'value="no number"' in html
    assert "canary-secret" not in html
    assert not Installation.objects.exists()


def test_a_name_that_is_taken_is_refused_and_the_form_offers_a_free_one(client):
    make_installation(name="Heap")
    answer = client.post(f"{LIBRARY}heap/", FORM)
    assert answer.status_code == 422
    assert "already exists" in text_of(answer.content.decode())
    assert 'value="Heap 2"' in read_page(client, f"{LIBRARY}heap/")


def test_the_form_is_checked_by_the_servers_rules_while_it_is_filled_in(client):
    make_installation(name="Heap")
    form = FORM | {"config.app_id": "no number", "config.api_key": "short"}
    answer = client.post(f"{LIBRARY}heap/check/", form)
    assert set(answer.json()) == {"name", "config.app_id", "config.api_key"}
    assert "already exists" in answer.json()["name"]
    assert client.post(f"{LIBRARY}heap/check/", FORM | {"name": "Another"}).json() == {}
    assert Installation.objects.count() == 1


def test_an_installation_gets_events_of_the_sources_chosen_and_that_can_be_changed(client):
    shop, app = make_source(name="Shop"), make_source(name="App")
    nothing = client.post(f"{LIBRARY}heap/", FORM | {"source_choice": "some"})
    assert "Choose at least one source" in nothing.content.decode()
    client.post(f"{LIBRARY}heap/", FORM | {"source_choice": "some", "sources": [shop.pk]})
    installation = Installation.objects.get()
    assert source_ids(installation) == [shop.pk]
    assert "checked" in read_page(client, f"{MINE}{installation.pk}/settings/")
    edit(client, installation, source_choice="some", sources=[shop.pk, app.pk])
    installation.refresh_from_db()
    assert source_ids(installation) == [shop.pk, app.pk]
    edit(client, installation, source_choice="all")
    installation.refresh_from_db()
    assert source_ids(installation) == "all"


def test_uninstalling_asks_for_the_name_and_says_what_follows(client):
    installation = make_delivery().installation
    address = f"{MINE}{installation.pk}/uninstall/"
    assert "its secrets are deleted" in read_page(client, address).lower()
    wrong = client.post(address, {"typed": "Another"})
    assert "exactly as shown" in wrong.content.decode()
    assert Installation.objects.installed().exists()
    answer = client.post(address, {"typed": installation.name}, follow=True)
    assert "Queued deliveries cancelled: 1." in answer.content.decode()
    assert not Installation.objects.installed().exists()
    assert (
        "its log, metrics and revisions are kept"
        in client.get(address_of(installation)).content.decode()
    )


def test_what_is_uninstalled_can_be_read_and_no_longer_changed(client):
    delivery = make_delivery(state="delivered")
    installation = delivery.installation
    installations.uninstall(installation, timezone.now())
    own = f"{MINE}{installation.pk}"
    for address in ("change/", "blueprint/", "revisions/", "revisions/1/", "activity/"):
        html = read_page(client, f"{own}/{address}")
        assert "Uninstalled" in html
        assert f"{own}/settings/" not in html
        assert ">Pause<" not in html
    assert client.get(f"{own}/settings/").status_code == 302
    for address in (
        "pause/", "resume/", "uninstall/", "connection/", "test-event/", "blueprint/",
        "blueprint/test-event/", "revisions/1/roll-back/",
    ):  # fmt: skip
        assert client.post(f"{own}/{address}").status_code == 403, address
    mine = read_page(client, MINE)
    assert f"{own}/change/" in mine
    log = f"/admin/delivery/delivery/{delivery.pk}"
    assert "so this cannot be delivered again" in read_page(client, f"{log}/change/")
    answer = client.post(f"{log}/deliver-again/", follow=True).content.decode()
    assert "0 deliveries are queued again. Skipped deliveries to Heap (uninstalled" in answer


def test_the_list_has_figures_of_the_last_day(client):
    installation, source = make_installation(), make_source()
    assert "–" in read_page(client, MINE)
    numbers = record.MetricCounts(delivered=12_345, latency={histogram.latency_bucket(1.5): 12_345})
    record.append_settlement(installation.pk, {source.pk: numbers}, timezone.now())
    html = read_page(client, MINE)
    assert "12.3k" in html
    assert "ps-spark" in html
    assert re.search(r"1\.\d s", html)


def test_who_is_paused_is_said_with_since_when(client):
    installation = make_delivery().installation
    installations.pause_installation(installation)
    now = timezone.now()
    assert f"since {now:%H:%M}" in state(client)
    installations.resume_installation(installation)
    install.reconfigure(installation, name="Heap", config=installation.config, enabled=False)
    assert "since" not in state(client)  # the time was not recorded


def test_a_waiting_installation_can_be_tried_at_once(client):
    installation = make_delivery().installation
    own = f"{MINE}{installation.pk}"
    assert "Try now" not in read_page(client, f"{own}/change/")
    since = timezone.now() - timedelta(hours=2)
    Lane.objects.update(due_at=since + timedelta(hours=3), failures=3, changed_at=since)
    assert "Try now" in read_page(client, f"{own}/change/")
    back = f"/admin/delivery/delivery/{Delivery.objects.get().pk}/change/"
    assert "Try now attempts everything that waits for Heap at once" in read_page(client, back)
    assert client.post(f"{own}/resume/", {"next": back}).url == back
    assert client.post(f"{own}/resume/", {"next": "https://evil.example/"}).url == f"{own}/change/"
    lane = Lane.objects.get()
    assert (lane.due_at <= timezone.now(), lane.failures, lane.changed_at) == (True, 1, since)
    assert "Heap is being retried now." in read_page(client, f"{own}/change/")
    # Not "Delivering", because the outcome is not known yet.
    assert "; the next attempt is due" in state(client)


def test_a_lane_that_was_paused_just_goes_on(client):
    installation = make_delivery().installation
    Lane.objects.update(paused=True, failures=3, last_error="HTTP 401")
    installations.resume_installation(installation)
    lane = Lane.objects.get()
    assert (lane.paused, lane.due_at, lane.failures) == (False, None, 0)
    assert "Delivering" in state(client)


def test_who_may_not_uninstall_is_not_offered_it(client):
    installation = make_installation()
    client.force_login(make_user("viewer", is_superuser=False))
    assert client.post(f"{MINE}{installation.pk}/uninstall/").status_code == 403
    assert Installation.objects.installed().exists()


def test_each_variant_says_what_it_sends(client):
    html = text_of(read_page(client, f"{LIBRARY}heap/"))
    assert "Page views : each page call, as the event “pageview”." in html
    assert 'type = "track" and event = "Order Completed"' in html
    assert "Nothing else is sent." in html


def test_an_unknown_destination_is_not_found(client):
    assert client.get(f"{LIBRARY}nobody/").status_code == 404


def test_who_may_only_look_cannot_install(client):
    client.force_login(make_user("viewer", is_superuser=False))
    assert client.get(LIBRARY).status_code == 403
    assert client.post(f"{LIBRARY}heap/", FORM).status_code == 403
    assert not Installation.objects.exists()


# --- my integrations ---------------------------------------------------------------------------


def state(client):
    return text_of(read_page(client, MINE))


def test_without_installations_the_list_leads_to_the_library(client):
    html = read_page(client, MINE)
    assert "Nothing is installed yet." in html
    assert "Open the Integration Library" in html


def test_a_new_installation_has_nothing_to_deliver_yet(client):
    make_installation()
    assert "Nothing to deliver yet" in state(client)


def test_what_is_queued_is_being_delivered(client):
    make_delivery()
    assert "Delivering" in state(client)


def test_when_all_is_sent_it_is_up_to_date_and_says_when(client):
    make_attempt(make_delivery(state="delivered"))
    assert "Up to date" in state(client)
    assert re.search(r"\d+ s ago", state(client))


def test_failures_among_the_newest_deliveries_are_told(client):
    make_delivery(state="failed")
    assert "1 failed among the last 100 deliveries" in state(client)


def test_a_lane_that_waits_says_why_and_until_when(client):
    make_delivery()
    due_at = timezone.now() + timezone.timedelta(minutes=5)
    Lane.objects.update(due_at=due_at, last_error="HTTP 503: busy", failures=3)
    since = Lane.objects.get().changed_at
    assert (
        f"Waiting for Heap HTTP 503: busy since {since:%H:%M:%S} UTC ; "
        f"next attempt {due_at:%H:%M:%S} UTC"
    ) in state(client)


def test_it_still_waits_while_the_next_try_is_due_or_under_way(client):
    make_delivery()
    due_at = timezone.now() - timezone.timedelta(seconds=3)
    Lane.objects.update(due_at=due_at, last_error="HTTP 503: busy", failures=3)
    since = f"HTTP 503: busy since {Lane.objects.get().changed_at:%H:%M:%S} UTC"
    assert f"Waiting for Heap {since} ; the next attempt is due" in state(client)
    until = timezone.now() + timezone.timedelta(seconds=20)
    Lane.objects.update(lease=uuid.uuid4(), lease_until=until)
    assert f"Waiting for Heap {since} ; a retry is running now" in state(client)
    Lane.objects.update(failures=0)  # the lane waits for a rate limit; nothing failed
    assert "Delivering" in state(client)
    Lane.objects.update(failures=3)
    Delivery.objects.update(state="cancelled")
    assert "Up to date" in state(client)  # nothing is left to deliver


def test_a_lane_that_was_refused_needs_attention(client):
    make_delivery()
    Lane.objects.update(paused=True, last_error="Heap rejected the credentials: no")
    assert "Needs attention Heap rejected the credentials: no" in state(client)


def test_an_installation_that_is_switched_off_says_who_did_it_and_what_waits(client):
    make_delivery()
    Installation.objects.update(enabled=False)
    assert "Paused by an admin 1 queued" in state(client)


def test_the_queue_is_counted_no_further_than_it_is_shown(client, monkeypatch):
    monkeypatch.setattr("delivery.accounting.bounded_count.QUEUE_COUNT_LIMIT", 2)
    installation = make_installation()
    for _ in range(4):
        make_delivery(installation)
    assert "2+" in state(client)


def test_the_list_takes_as_many_queries_for_many_as_for_one(client, django_assert_num_queries):
    make_delivery(make_installation(name="First"))
    with CaptureQueriesContext(connection) as first:
        read_page(client, MINE)
    for number in range(5):
        make_delivery(make_installation(name=f"Heap {number}"), make_event())
    with django_assert_num_queries(len(first)):
        read_page(client, MINE)


# --- one installation --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tab", "shown"),
    [
        ("change", "Revision 1"),
        ("settings", 'value="123"'),
        ("blueprint", "Page views"),
    ],
)
def test_the_tabs_show_all_there_is_but_never_a_secret(client, tab, shown):
    installation = make_installation(config={"app_id": "123", "api_key": "canary-secret"})
    html = read_page(client, f"{MINE}{installation.pk}/{tab}/")
    assert shown in html
    assert "canary-secret" not in html
    assert installation.sealed_secrets not in html
    assert html.count('aria-current="page"') == 1


def test_no_page_of_an_installation_is_there_for_those_who_may_not_see_it(client):
    installation = make_installation()
    client.force_login(make_user("nobody", is_superuser=False))
    for tab in ("change", "settings", "blueprint"):
        assert client.get(f"{MINE}{installation.pk}/{tab}/").status_code == 403
    client.force_login(make_user("somebody"))
    assert client.get(f"{MINE}4711/settings/").status_code == 404


def test_the_overview_shows_the_newest_deliveries_with_their_states(client):
    installation = make_installation()
    make_delivery(installation, make_event(name="Oldest"), state="failed")
    for number in range(8):
        make_delivery(installation, make_event(name=f"Newer {number}"))
    shown = read_page(client, address_of(installation)).partition("Newest deliveries")[2]
    newest = text_of(shown.partition("</section>")[0])
    assert "Newer 7" in newest
    assert "Oldest" not in newest


def test_the_overview_says_how_it_has_been_doing(client):
    delivery = make_delivery(state="delivered")
    installation, now = delivery.installation, timezone.now()
    for hours, delivered, failed in ((0, 9, 1), (5, 90, 0), (50, 800, 100)):
        sums = {delivery.event.source_id: MetricCounts(delivered=delivered, failed=failed)}
        record.append_settlement(installation.pk, sums, now - timedelta(hours=hours))
    for ms in range(1, 101):
        make_attempt(delivery, duration_ms=ms)
    make_attempt(delivery, duration_ms=9_000, status=None, outcome="VendorUnavailable")
    make_attempt(delivery, duration_ms=9_000, is_test=True)
    text = text_of(read_page(client, address_of(installation)))
    assert "1 h 90 % 9 1 24 h 99 % 99 1 7 d 89.9 % 899 101" in text
    assert "Response times of Heap p50 50 ms, p95 95 ms" in text
    assert re.search(r"Healthy since \d+ s ago", text)
    Lane.objects.update(failures=3, changed_at=now - timedelta(minutes=7, seconds=5))
    assert "Failing since 7 min ago" in text_of(read_page(client, address_of(installation)))
    installations.pause_installation(installation)
    text = text_of(read_page(client, address_of(installation)))
    assert re.search(r"Paused since \d+ s ago", text)


def test_the_overview_shows_how_much_of_the_vendors_limits_is_used(client):
    installation = make_installation(config={"app_id": "1234567890", "region": "us"})
    limit = installation.destination.limits(installation.settings())[0]
    now = timezone.now()
    rate_limits.take_tokens(limit, {"": limit.items // 2}, now)
    assert rate_limits.limit_use([limit], now)[0].percent == 50
    assert rate_limits.limit_use([limit], now + timezone.timedelta(hours=1))[0].used == 0
    assert limit.name.capitalize() in text_of(read_page(client, address_of(installation)))


def test_secrets_that_cannot_be_read_leave_the_page_readable(client, settings):
    installation = make_installation()
    settings.SECRETS_KEYS = [Fernet.generate_key().decode()]
    assert "Newest deliveries" in read_page(client, address_of(installation))


def edit(client, installation, **changes):
    return change_form(client, f"{MINE}{installation.pk}/settings/", **changes)


def test_a_secret_left_empty_is_kept_and_another_value_is_changed(client):
    installation = make_installation(config={"app_id": "123", "api_key": "old-key"})
    edit(client, installation, **{"config.app_id": "456", "name": "Heap EU"})
    installation.refresh_from_db()
    assert (installation.name, installation.config["app_id"]) == ("Heap EU", "456")
    assert reveal(installation.sealed_secrets) == {"api_key": "old-key"}


def test_lanes_and_the_age_to_give_up_at_are_settings_of_the_installation(client):
    installation = make_installation()
    edit(client, installation, lane_count="4", give_up_days="0.5")
    installation.refresh_from_db()
    assert (installation.lane_count, installation.give_up_days) == (4, 0.5)
    edit(client, installation, lane_count="4", give_up_days="")
    installation.refresh_from_db()
    assert installation.give_up_days is None


@pytest.mark.parametrize("wrong", [{"lane_count": "0"}, {"lane_count": ""}, {"give_up_days": "-1"}])
def test_a_pace_that_makes_no_sense_is_refused(client, wrong):
    installation = make_installation()
    edit(client, installation, **wrong)
    installation.refresh_from_db()
    assert (installation.lane_count, installation.give_up_days) == (1, None)


def test_a_new_secret_replaces_the_old_one_and_is_not_shown(client):
    installation = make_installation(config={"app_id": "123", "api_key": "old-key"})
    answer = edit(client, installation, **{"config.api_key": "canary-new"})
    installation.refresh_from_db()
    assert reveal(installation.sealed_secrets) == {"api_key": "canary-new"}
    assert "canary-new" not in answer.content.decode()


def test_wrong_changes_are_refused_and_nothing_is_changed(client):
    make_installation(name="Other")
    installation = make_installation(name="Heap", config={"app_id": "123", "api_key": "old-key"})
    answer = edit(client, installation, **{"config.app_id": "letters"})
    assert "Digits only" in answer.content.decode()
    assert "already exists" in text_of(edit(client, installation, name="Other").content.decode())
    installation.refresh_from_db()
    assert (installation.name, installation.config["app_id"]) == ("Heap", "123")


def test_saving_the_settings_lets_a_refused_lane_try_again(client):
    installation = make_delivery().installation
    Lane.objects.update(paused=True, due_at=timezone.now(), failures=4)
    edit(client, installation)
    lane = Lane.objects.get()
    assert (lane.paused, lane.due_at, lane.failures) == (False, None, 0)


def test_pause_and_resume(client):
    installation = make_installation()
    client.post(reverse("admin:installation_pause", args=[installation.pk]))
    assert not Installation.objects.get().enabled
    Lane.objects.update(paused=True)
    client.post(reverse("admin:installation_resume", args=[installation.pk]))
    assert Installation.objects.get().enabled
    assert not Lane.objects.get().paused


def test_a_link_alone_pauses_nothing(client):
    installation = make_installation()
    assert (
        client.get(reverse("admin:installation_pause", args=[installation.pk])).status_code == 405
    )
    assert Installation.objects.get().enabled


def test_who_may_only_look_changes_nothing(client):
    installation, viewer = make_installation(), make_user("viewer", is_superuser=False)
    viewer.user_permissions.add(Permission.objects.get(codename="view_installation"))
    client.force_login(viewer)
    assert "Save" not in text_of(read_page(client, address_of(installation)))
    assert edit(client, installation).status_code == 403
    address = reverse("admin:installation_pause", args=[installation.pk])
    assert client.post(address).status_code == 403
    assert Installation.objects.get().enabled


# --- sources, tokens, users, home --------------------------------------------------------------


def test_a_source_is_added_with_a_write_key_of_its_own(client):
    html = read_page(client, "/admin/integrations/source/add/")
    offered = re.search(r'name="write_key" value="(wk_[^"]+)"', html)[1]
    client.post("/admin/integrations/source/add/", {"name": "App", "write_key": offered})
    assert Source.objects.get().write_key == offered


def test_a_token_is_shown_once_and_kept_as_a_digest(client):
    address = "/admin/integrations/apitoken/"
    form = {"name": "CI", "scopes": ["deliveries:read", "events:read"]}
    answer = client.post(f"{address}add/", form, follow=True)
    shown = re.search(r"pst_[\w-]+", answer.content.decode())[0]
    token = ApiToken.objects.get()
    assert (token.digest, token.user.username) == (digest(shown), "admin")
    assert token.scopes == ["deliveries:read", "events:read"]
    assert shown not in read_page(client, address)
    change = read_page(client, f"{address}{token.pk}/change/")
    assert shown not in change
    assert token.digest not in change


def test_a_revoked_token_stays_in_the_list_and_is_refused(client):
    token = make_token(User.objects.get())
    form = {"action": "revoke", "_selected_action": [ApiToken.objects.get().pk]}
    client.post("/admin/integrations/apitoken/", form)
    answer = client.get("/v1/admin/deliveries", headers={"authorization": f"Bearer {token}"})
    assert answer.json()["error"]["code"] == "INVALID_TOKEN"
    assert "revoked" in answer.json()["error"]["message"]
    assert ApiToken.objects.get().revoked_at
    assert "</span>Revoked</span>" in read_page(client, "/admin/integrations/apitoken/")


def test_users_are_listed_with_their_role_and_whether_they_may_log_in(client):
    make_user("ada", role="org_admin")
    make_user("bob", role="source_viewer", is_active=False)
    rows = re.findall(r"(?s)<tr class=\"data-row.*?</tr>", read_page(client, "/admin/auth/user/"))
    texts = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows]
    assert "org_admin" in texts[0]
    assert "Active" in texts[0]
    assert "superuser" in texts[1]
    assert "source_viewer" in texts[2]
    assert "Cannot log in" in texts[2]


@pytest.mark.parametrize("address", ["library/heap/", "{}/settings/"])
def test_settings_whose_defaults_suit_most_are_folded(client, address):
    address = f"/admin/integrations/installation/{address.format(make_installation().pk)}"
    folded = read_page(client, address).partition("<summary>Advanced settings</summary>")
    assert "Region" in folded[0]
    assert "Arrays" in folded[2].partition("</details>")[0]
    assert "Arrays" not in folded[0]


def test_a_folded_setting_that_is_wrong_is_not_hidden(client):
    form = {"name": "Heap", "variant": "default", "config_app_id": "1", "config_arrays": "sideways"}
    answer = client.post("/admin/integrations/installation/library/heap/", form)
    assert re.search(r"<details[^>]* open>\s*<summary>Advanced settings", answer.content.decode())


@pytest.mark.parametrize("address", ["auth/user/", "auth/user/add/", "auth/group/", "delivery/"])
def test_the_other_pages_open(client, address):
    read_page(client, f"/admin/{address}")


def test_the_queue_of_django_q_is_nobodys_business_here(client):
    assert client.get("/admin/django_q/").status_code == 404
