"""The blueprint pages of the admin, as a browser requests them."""

import copy
import json

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from delivery.actions import installations
from delivery.log.field_suggestions import build_vocabulary
from delivery.models import Attempt
from integrations.models import Installation
from tests.support.admin_pages import form_values
from tests.support.factories import make_event, make_installation, make_user
from tests.support.fake_vendor import FakeVendor

pytestmark = pytest.mark.django_db

MESSAGE = json.dumps({"type": "track", "event": "Order Completed", "userId": "ada"})


@pytest.fixture
def heap(settings):
    settings.SANDBOX_URL = "http://127.0.0.1:9"
    config = {"app_id": "1234567890", "api_key": "canary-secret", "region": "sandbox"}
    return make_installation(config=config)


@pytest.fixture
def admin(client):
    client.force_login(make_user())
    return client


def looker(client, *names):
    user = make_user("looker", is_superuser=False)
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(user)
    return client


def address(heap, rest="blueprint/"):
    return f"/admin/integrations/installation/{heap.pk}/{rest}"


def edited(heap, **fields):
    blueprint = copy.deepcopy(heap.revision.blueprint)
    blueprint["actions"][0] |= fields
    return json.dumps(blueprint)


def test_the_editor_holds_the_blueprint_each_mapping_as_text(admin, heap):
    page = admin.get(address(heap))
    data = page.context["data"]
    assert [each["name"] for each in data["actions"]][:2] == ["Tracked events", "Page views"]
    assert data["actions"][0]["mapping"] == (
        '{\n  "event": {"@path": "$.event"},\n  "properties": {"@path": "$.properties"}\n}'
    )
    assert "<script>" not in page.content.decode()


def test_a_number_larger_than_javascript_knows_keeps_its_digits(admin, heap):
    large = '{"event": "A", "properties": {"n": 12345678901234567890123}}'
    blueprint = edited(heap, mapping="MAPPING").replace('"MAPPING"', large)
    admin.post(address(heap), {"blueprint": blueprint, "based_on": "1"})
    assert (
        "12345678901234567890123"
        in admin.get(address(heap)).context["data"]["actions"][0]["mapping"]
    )


def test_saving_makes_a_revision(admin, heap):
    form = {"blueprint": edited(heap, enabled=False), "based_on": "1", "summary": "Off for now."}
    answer = admin.post(address(heap), form, follow=True)
    assert "Revision 2 is saved" in answer.content.decode()
    saved = Installation.objects.get().revision
    assert (saved.number, saved.change_summary, saved.author) == (2, "Off for now.", "admin")


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1, "actions": [7]}', "{"])
def test_what_cannot_be_saved_is_said_with_the_page(admin, heap, text):
    answer = admin.post(address(heap), {"blueprint": text, "based_on": "1"})
    assert answer.status_code == 200
    assert answer.context["problems"]
    assert heap.revisions.count() == 1


def test_two_editors_do_not_overwrite_each_other(admin, heap):
    admin.post(address(heap), {"blueprint": edited(heap, name="B"), "based_on": "1"})
    answer = admin.post(address(heap), {"blueprint": edited(heap, name="C"), "based_on": "1"})
    page = answer.content.decode()
    assert "Revision 2 was saved by admin" in page
    assert "/revisions/2/?against=1" in page
    assert answer.context["data"]["actions"][0]["name"] == "C"
    admin.post(address(heap), form_values(page) | {"blueprint": edited(heap, name="C")})
    assert heap.revisions.get(number=3).blueprint["actions"][0]["name"] == "C"


def test_a_blueprint_with_problems_still_tells_that_another_was_saved(admin, heap):
    admin.post(address(heap), {"blueprint": edited(heap, name="B"), "based_on": "1"})
    page = admin.post(address(heap), {"blueprint": "{", "based_on": "1"}).text
    answer = admin.post(address(heap), form_values(page) | {"blueprint": edited(heap, name="C")})
    assert "Revision 2 was saved by admin" in answer.text
    assert heap.revisions.count() == 2


def test_a_preview_is_answered_with_problems_or_a_page(admin, heap):
    wrong = admin.post(
        address(heap, "blueprint/preview/"),
        {"blueprint": edited(heap, trigger="type = "), "message": MESSAGE},
    ).json()
    [found] = wrong["problems"]
    assert (found["place"], found["position"], wrong["html"]) == ("actions/0/trigger", 8, None)
    right = admin.post(
        address(heap, "blueprint/preview/"), {"blueprint": edited(heap), "message": MESSAGE}
    ).json()
    assert right["triggered"][:2] == [True, False]
    assert "Would be sent" in right["html"]


@pytest.mark.parametrize("message", ["", "{", "[]", "{}", '{"type": "track"}'])
def test_a_message_that_is_none_is_told(admin, heap, message):
    form = {"blueprint": edited(heap), "message": message}
    for each in ("preview", "test-event"):
        answer = admin.post(address(heap, f"blueprint/{each}/"), form)
        assert "ps-error" in answer.json()["html"]


def test_a_test_event_goes_out_by_the_blueprint_on_the_page(admin, heap, settings):
    with FakeVendor() as vendor:
        settings.SANDBOX_URL = vendor.url
        renamed = edited(heap, mapping={"event": "Renamed"})
        form = {"blueprint": renamed, "event_id": str(make_event().pk)}
        answer = admin.post(address(heap, "blueprint/test-event/"), form)
    assert "Heap accepted it." in answer.json()["html"]
    assert vendor.received[0][2]["events"][0]["event"] == "Renamed"
    assert Attempt.objects.get().is_test


def test_what_events_hold_is_not_shown_to_who_may_not_see_events(client, heap):
    event = make_event(name="Secret Event")
    client = looker(client, "view_installation")
    page = client.get(address(heap))
    assert b"Secret Event" not in page.content
    form = {"blueprint": edited(heap), "event_id": str(event.pk)}
    assert client.post(address(heap, "blueprint/preview/"), form).status_code == 403


def test_who_may_only_look_changes_and_sends_nothing(client, heap):
    client = looker(client, "view_installation", "view_event")
    form = {"blueprint": edited(heap), "message": MESSAGE, "based_on": "1"}
    posts = ["blueprint/", "blueprint/test-event/", "revisions/1/roll-back/"]
    assert [client.post(address(heap, each), form).status_code for each in posts] == [403] * 3
    assert client.post(address(heap, "blueprint/preview/"), form).status_code == 200
    assert b'id="save"' not in client.get(address(heap)).content


def test_who_may_not_see_installations_sees_no_page_of_theirs(client, heap):
    client = looker(client)
    pages = ["blueprint/", "revisions/", "revisions/1/"]
    assert [client.get(address(heap, each)).status_code for each in pages] == [403] * 3


def test_the_revisions_are_listed_compared_and_rolled_back(admin, heap):
    admin.post(address(heap), {"blueprint": edited(heap, trigger="event = A"), "summary": "Less."})
    page = admin.get(address(heap, "revisions/")).content.decode()
    assert page.index("Less.") < page.index("Installed with the variant")
    page = admin.get(address(heap, "revisions/2/")).content.decode()
    assert "Action “Tracked events”: trigger changed." in page
    assert "ps-minus" in page
    assert "nothing" not in admin.get(address(heap, "revisions/1/?against=2")).content.decode()
    answer = admin.post(address(heap, "revisions/1/roll-back/"), follow=True)
    assert "Revision 3 restores revision 1" in answer.content.decode()
    assert admin.get(address(heap, "revisions/9/")).status_code == 404
    assert admin.get(address(heap, "revisions/1/roll-back/")).status_code == 405


@pytest.mark.parametrize(
    "page",
    ["revisions/1/roll-back/", "blueprint/", "blueprint/test-event/"]
    + ["pause/", "resume/", "connection/", "test-event/"],
)
def test_what_is_uninstalled_is_changed_and_tried_no_more(admin, heap, page):
    installations.uninstall(heap, timezone.now())
    form = {"blueprint": edited(heap), "message": MESSAGE, "based_on": "1"}
    assert admin.post(address(heap, page), form).status_code == 403
    heap.refresh_from_db()
    assert (heap.enabled, heap.revisions.count(), Attempt.objects.count()) == (False, 1, 0)


def test_many_revisions_come_in_pages(admin, heap, monkeypatch):
    monkeypatch.setattr("delivery.admin.installations.blueprints.REVISIONS_PER_PAGE", 2)
    for name in ("B", "C"):
        admin.post(address(heap), {"blueprint": edited(heap, name=name)})
    page = admin.get(address(heap, "revisions/"))
    assert [each.number for each in page.context["revisions"]] == [3, 2]
    older = admin.get(address(heap, "revisions/?before=2"))
    assert [each.number for each in older.context["revisions"]] == [1]
    assert older.context["older"] is None


def test_the_fields_of_recent_events_are_offered_in_both_languages(heap):
    make_event(
        name="Order Completed",
        body={
            "type": "track",
            "event": "Order Completed",
            "properties": {
                "total": 5,
                "items": [{"sku": "A"}, {"sku": "B"}],
                "first name": "Ada",
                "a.b": 1,
                'q"': 1,
            },
            "sentAt": "now",
        },
    )
    found = build_vocabulary()
    fields = {each.path: (each.trigger, each.example) for each in found.fields}
    assert fields["$.properties.total"] == ("properties.total", "5")
    assert fields["$.properties.items[0].sku"] == ("properties.items[0].sku", '"A"')
    assert fields["$.properties['first name']"] == ('properties["first name"]', '"Ada"')
    assert fields["$.sentAt"] == ("", '"now"')
    assert ("", 'properties["a.b"]') in [(each.path, each.trigger) for each in found.fields]
    assert found.names == ["Order Completed"]
