"""A form that was open for a while does not undo what somebody else has saved since."""

from threading import Thread
from time import monotonic
from types import SimpleNamespace

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import connection, connections, transaction
from django.urls import URLResolver, reverse
from django.utils import timezone

from delivery.models import Incident, Rejection, Replay
from integrations.access import audit, groups
from integrations.destinations.heap.api import COUNT_IDS_PER_SOURCE
from integrations.installations.change import source_ids
from integrations.models import ApiToken, Installation, Source, WebhookSource, WriteKey
from tests.support.admin_pages import (
    change_form,
    form_values,
    open_form,
    posted_forms,
    send_form,
    text_of,
)
from tests.support.factories import (
    make_attempt,
    make_delivery,
    make_installation,
    make_source,
    make_token,
    make_user,
)

THEIRS, MINE = 0, 1
pytestmark = pytest.mark.django_db

NOT_STORED = {"secret", "config.api_key", "new_signing_secret"}  # an empty one changes nothing

# Other forms with several values, and why they undo nothing that somebody else has saved.
OTHER_FORMS = {
    "auth_user_password_change": "sets only the password",
    "installation_blueprint": "compares revisions: test_blueprints.py",
    "install": "adds a row",
    "install_check": "saves nothing",
    "source_add_key": "adds a row",
    "delivery_replay_new": "adds a row",
}


@pytest.fixture
def rows(client):
    """A row for each page that is about one."""
    groups.sync_role_groups()  # a test that flushes the database deletes the groups
    client.force_login(make_user("boss"))
    make_token(user=make_user("ada", is_superuser=False, last_login=timezone.now()))
    shop, app, other = make_source("Shop"), make_source("App"), make_source("Other")
    heap = make_installation()
    Installation.objects.update(all_sources=False)
    heap.sources.set([shop])
    WriteKey.objects.create(pk=shop.pk, source=shop)
    WebhookSource.objects.create(name="Stripe", source=shop, source_type="stripe", secret="hidden")
    make_attempt(make_delivery(heap))
    Rejection.objects.create(source=shop, reason="No userId.", text="{}")
    Replay.objects.create(installation=heap, wanted={}, first=0, cursor=0, end=9)
    Incident.objects.create(kind="late", opened_at=timezone.now(), seen_at=timezone.now())
    audit.record("source.updated", shop)
    group = Group.objects.order_by("pk").first()
    return SimpleNamespace(shop=shop, app=app, other=other, group=group)


def both(*value):
    """Return the edits of a field that has one other value, so that two people agree on it."""
    return list(value), list(value), None


def text(name):
    return [f"their {name}"], [f"my {name}"], f"their {name}"


def edits(rows):
    """Return {page: {field: (what they enter, what I enter, what I am told of theirs)}}."""
    others = Group.objects.exclude(pk=rows.group.pk).order_by("pk")[:2]
    permissions = Permission.objects.order_by("pk")[:2]
    return {
        "auth_user_change": {
            "username": (["grace"], ["ada.l"], "grace"),
            "first_name": text("first name"),
            "last_name": text("last name"),
            "email": (["their@example.com"], ["my@example.com"], "their@example.com"),
            "is_active": both(),
            "is_staff": both(),
            "is_superuser": both("on"),
            "groups": ([others[0].pk], [others[1].pk], others[0].name),
            "user_permissions": ([permissions[0].pk], [permissions[1].pk], str(permissions[0])),
            "last_login_0": (["21/11/2026"], ["22/11/2026"], "2026-11-21 08:00"),
            "last_login_1": (["08:00:00"], ["09:00:00"], None),
            "date_joined_0": (["11/11/2026"], ["12/11/2026"], "2026-11-11 07:00"),
            "date_joined_1": (["07:00:00"], ["09:00:00"], None),
        },
        "auth_group_change": {
            "name": text("role"),
            "permissions": ([permissions[0].pk], [permissions[1].pk], str(permissions[0])),
        },
        "integrations_webhooksource_change": {
            "name": text("name"),
            "source": ([rows.app.pk], [rows.other.pk], "App"),
            "source_type": (["shopify"], ["hubspot"], "Shopify"),
            "signature_header": (["X-Theirs"], ["X-Mine"], "X-Theirs"),
            "event_type_path": (["$.theirs"], ["$.mine"], "$.theirs"),
            "mappings": (['{"userId": "$.b"}'], ['{"userId": "$.a"}'], '{"userId": "$.b"}'),
        },
        "integrations_source_change": {
            "name": text("name"),
            "allowed_origins": (
                ["https://b.a\r\nhttps://b.b"],
                ["https://a.a"],
                "https://b.a https://b.b",
            ),
            "visitor_cookie": both("on"),
            "default_context": (['{"b": [1, 2]}'], ['{"a": 1}'], '{"b": [1, 2]}'),
            "rate_limit": (["5"], ["6"], "5"),
        },
        "installation_settings": {
            "name": text("name"),
            "enabled": both(),
            "config.app_id": (["222"], ["111"], "222"),
            "config.region": (["us"], ["eu"], "United States (heapanalytics.com)"),
            "config.arrays": (["join"], ["index"], "Joined, as Heap joins them: red||blue"),
            "config.objects": (["drop"], ["stringify"], "Not sent"),
            "config.visitors": both("identity"),
            "config.same_ids": both(COUNT_IDS_PER_SOURCE),
            "source_choice": both("some"),
            "sources": ([rows.app.pk], [rows.other.pk], "App"),
            "lane_count": (["2"], ["3"], "2"),
            "give_up_days": (["0.5"], ["7.0"], "0.5"),
        },
    }


PAGES = [
    "auth_user_change",
    "auth_group_change",
    "integrations_webhooksource_change",
    "integrations_source_change",
    "installation_settings",
]


def page_urls(rows):
    """Return {name: URL} of each page of the admin that may change a stored row."""
    pks = {
        f"{model._meta.app_label}/{model._meta.model_name}": model._default_manager.latest("pk").pk
        for model in admin.site._registry
    }
    pks |= {"auth/user": ApiToken.objects.get().user_id, "integrations/source": rows.shop.pk}
    pks |= {"auth/group": rows.group.pk}
    others = {"number": 1, "turn": "pause", "action": "cancel", "content_type_id": 1}
    urls = {}
    for route, pattern in walk(admin.site.get_urls()):
        row = pks.get("/".join(route.split("/")[:2]))
        key = "heap" if "<slug:key>" in route else row
        values = {**others, "pk": row, "id": row, "object_id": row, "key": key}
        names = pattern.pattern.converters
        if row and pattern.name and not pattern.name.endswith(("_add", "_changelist")):
            urls[pattern.name] = reverse(
                f"admin:{pattern.name}", kwargs={name: values[name] for name in names}
            )
    return urls


def walk(patterns, prefix=""):
    for each in patterns:
        route = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from walk(each.url_patterns, route)
        else:
            yield route, each


def fields_of(values):
    """Return the values of a form that the reader may change."""
    return {
        name: value
        for name, value in values.items()
        if not name.startswith(("initial-", "csrf", "_")) and name not in NOT_STORED
    }


@pytest.fixture(params=PAGES)
def page(request, rows):
    """The URL of a form, and {field: (what they enter, what I enter, what I am told)}."""
    return page_urls(rows)[request.param], edits(rows)[request.param]


def entered(edit, whose):
    return {name: values[whose] for name, values in edit.items()}


def stored(client, url):
    """Return what a new tab shows."""
    return as_text(fields_of(open_form(client, url)))


def as_text(values):
    """Return the values of a form's fields as a new tab shows them; without empty lists."""
    return {name: sorted(map(str, value)) for name, value in values.items() if value}


def test_each_form_that_changes_a_row_is_in_these_tests(client, rows):
    found = {}
    for name, url in page_urls(rows).items():
        answer = client.get(url, {"id": "ada"})  # for the page of a user
        assert answer.status_code in (200, 400, 403, 405), url
        if answer.status_code == 200 and not answer.streaming:
            for _, values in posted_forms(answer.text):
                if len(set(fields_of(values))) > 1:
                    found[name] = values
    assert set(found) == {*PAGES, *OTHER_FORMS}


@pytest.mark.parametrize("name", PAGES)
def test_each_field_of_such_a_form_carries_its_stored_value_but_no_secret(client, rows, name):
    values, tried = open_form(client, page_urls(rows)[name]), edits(rows)[name].keys()
    carried = {each.removeprefix("initial-") for each in values if each.startswith("initial-")}
    assert fields_of(values).keys() <= tried
    assert carried - NOT_STORED <= tried
    assert not [each for each in fields_of(values) if each not in carried]
    assert "hidden" not in str(values)
    assert not any(user.password in str(values) for user in User.objects.all())


def test_what_i_leave_alone_keeps_what_somebody_else_has_saved(client, page):
    url, edit = page
    theirs, mine = entered(edit, THEIRS), entered(edit, MINE)
    my_field = next(iter(edit))
    my_tab = open_form(client, url)
    others = {name: value for name, value in theirs.items() if name != my_field}
    change_form(client, url, **others)
    assert (
        "since you opened the page"
        not in send_form(client, url, my_tab, **{my_field: mine[my_field]}).text
    )
    assert stored(client, url) == as_text(theirs | {my_field: mine[my_field]})


def test_what_we_both_changed_is_an_error_that_shows_their_values(client, page):
    url, edit = page
    theirs, mine = entered(edit, THEIRS), entered(edit, MINE)
    my_tab = open_form(client, url)
    change_form(client, url, **theirs)
    answer = send_form(client, url, my_tab, **mine)
    for _, _, told in edit.values():
        assert told is None or f"Somebody else has changed this to “{told}" in text_of(answer.text)
    assert stored(client, url) == as_text(theirs)
    send_form(client, url, form_values(answer.text))
    assert stored(client, url) == as_text(mine)


def test_after_an_error_the_page_shows_what_is_stored_of_the_rest(client, page):
    url, edit = page
    theirs, mine = entered(edit, THEIRS), entered(edit, MINE)
    my_field = next(iter(edit))
    my_tab = open_form(client, url)
    change_form(client, url, **theirs)
    answer = send_form(client, url, my_tab, **{my_field: mine[my_field]})
    assert answer.text.count("since you opened the page") == 1
    shown = form_values(answer.text)
    assert as_text(fields_of(shown)) == as_text(theirs | {my_field: mine[my_field]})
    send_form(client, url, shown)
    assert stored(client, url) == as_text(theirs | {my_field: mine[my_field]})


def test_a_form_without_what_its_page_showed_is_compared_with_what_is_stored(client, rows):
    url = page_urls(rows)["integrations_source_change"]
    answer = client.post(url, {"name": "Shop", "default_context": "{}", "rate_limit": "6"})
    assert "changed this to an empty value since you opened the page" in answer.text
    send_form(client, url, form_values(answer.text))
    assert Source.objects.get(pk=rows.shop.pk).rate_limit == 6


def test_a_stale_tab_resumes_nothing_that_is_paused(client, rows):
    url = page_urls(rows)["installation_settings"]
    my_tab = open_form(client, url)
    client.post(page_urls(rows)["installation_pause"])
    change_form(client, url, **{"config.arrays": "join"})
    send_form(client, url, my_tab, name="Heap EU")
    heap = Installation.objects.get()
    assert (heap.name, heap.enabled, heap.config["arrays"]) == ("Heap EU", False, "join")


def test_all_sources_and_the_list_of_sources_are_one_choice(client, rows):
    url = page_urls(rows)["installation_settings"]
    my_tab = open_form(client, url)
    change_form(client, url, source_choice="all", sources=[])
    answer = send_form(client, url, my_tab, sources=[rows.shop.pk, rows.app.pk])
    assert "changed this to “All sources, including future ones”" in answer.text
    assert Installation.objects.get().all_sources
    send_form(client, url, form_values(answer.text))
    assert source_ids(Installation.objects.get()) == [rows.shop.pk, rows.app.pk]


def test_sources_that_are_archived_since_stay_chosen(client, rows):
    Source.objects.filter(pk=rows.shop.pk).update(archived_at=timezone.now())
    change_form(client, page_urls(rows)["installation_settings"], name="Heap EU")
    heap = Installation.objects.get()
    assert (heap.name, source_ids(heap)) == ("Heap EU", [rows.shop.pk])


def test_line_ends_are_no_change(client, rows):
    Source.objects.filter(pk=rows.shop.pk).update(allowed_origins="https://a.a\nhttps://a.b")
    url = page_urls(rows)["integrations_source_change"]
    change_form(client, url, allowed_origins="https://a.c")
    assert Source.objects.get(pk=rows.shop.pk).allowed_origins == "https://a.c"


def test_a_secret_is_kept_by_a_stale_tab(client, rows):
    url = page_urls(rows)["integrations_webhooksource_change"]
    my_tab = open_form(client, url)
    change_form(client, url, secret="their new secret")
    send_form(client, url, my_tab, name="Mine")
    webhook = WebhookSource.objects.get()
    assert (webhook.name, webhook.secret) == ("Mine", "their new secret")


def test_all_errors_of_a_form_come_at_once(client, rows):
    url = page_urls(rows)["installation_settings"]
    my_tab = open_form(client, url)
    change_form(client, url, lane_count="2")
    wrong = {"name": "", "config.app_id": "x", "lane_count": "3", "give_up_days": "-1"}
    page = send_form(client, url, my_tab, **wrong, sources=[]).text
    for error in ("Give the", "Digits only", "to “2” since", "greater than", "Choose at least"):
        assert error in page


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["integrations_source_change", "installation_settings"])
def test_two_forms_saved_at_the_same_moment_see_each_other(client, rows, name):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite in memory has one connection")
    url = page_urls(rows)[name]
    my_tab = open_form(client, url)
    thread = Thread(target=send_and_close, args=(client, url, my_tab))
    with transaction.atomic():
        Source.objects.filter(pk=rows.shop.pk).update(rate_limit=5)
        Installation.objects.update(config={"app_id": "222"}, enabled=False)
        thread.start()
        wait_until_one_waits_for_a_lock()
    thread.join()
    shop, heap = Source.objects.get(pk=rows.shop.pk), Installation.objects.get()
    assert "Mine" in (shop.name, heap.name)
    assert (shop.rate_limit, heap.config["app_id"], heap.enabled) == (5, "222", False)


def send_and_close(client, url, values):
    send_form(client, url, values, name="Mine")
    connections.close_all()


def wait_until_one_waits_for_a_lock():
    end = monotonic() + 60
    with connection.cursor() as cursor:
        while monotonic() < end:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
    raise TimeoutError
