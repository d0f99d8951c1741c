"""Revisions, previews and tests of an installation in the management API."""

import copy
import json

import pytest

from delivery.models import Attempt
from integrations.models import AuditEntry
from tests.support.factories import make_event, make_installation, make_token
from tests.support.fake_vendor import FakeVendor
from tests.support.json_schema import first_problem

pytestmark = pytest.mark.django_db

CONFIG = {"app_id": "1234567890", "api_key": "canary-secret", "region": "sandbox"}
MESSAGE = {
    "type": "track",
    "event": "Order Completed",
    "userId": "ada",
    "properties": {"a": {"b": 1}},
}


@pytest.fixture
def heap(settings):
    settings.SANDBOX_URL = "http://127.0.0.1:9"
    return make_installation(config=CONFIG)


@pytest.fixture
def api(client, heap):
    """Call an address below the installation; return the status and JSON of the response."""
    return caller(client, heap, make_token())


def caller(client, heap, token):
    def call(address, body=None, **params):
        answer = client.generic(
            "GET" if body is None else "POST",
            f"/v1/admin/installations/{heap.pk}/{address}",
            b"" if body is None else json.dumps(body),
            content_type="application/json",
            query_params=params,
            headers={"authorization": f"Bearer {token}"},
        )
        return answer.status_code, answer.json()

    return call


def edited(heap, **fields):
    blueprint = copy.deepcopy(heap.revision.blueprint)
    blueprint["actions"][0] |= fields
    return blueprint


# --- revisions ---------------------------------------------------------------------------------


def test_a_blueprint_is_saved_as_the_next_revision(api, heap):
    status, saved = api(
        "revisions",
        {"blueprint": edited(heap, enabled=False), "change_summary": "Off.", "based_on": 1},
    )
    assert status == 201
    assert (saved["number"], saved["created_by"], saved["current"]) == (2, "admin", True)
    assert (saved["change_summary"], saved["blueprint"]["actions"][0]["enabled"]) == ("Off.", False)
    heap.refresh_from_db()
    assert heap.revision.number == 2
    assert AuditEntry.objects.filter(action="revision.created").count() == 1


def test_the_revisions_are_listed_newest_first_without_their_blueprints(api, heap):
    for name in ("B", "C"):
        api("revisions", {"blueprint": edited(heap, name=name)})
    status, body = api("revisions", limit=2)
    assert (status, [each["number"] for each in body["data"]]) == (200, [3, 2])
    assert [each["current"] for each in body["data"]] == [True, False]
    assert "blueprint" not in body["data"][0]
    _, rest = api("revisions", limit=2, cursor=body["next_cursor"])
    assert ([each["number"] for each in rest["data"]], rest["has_more"]) == ([1], False)


def test_all_that_is_wrong_is_named_by_its_place(api, heap):
    wrong = edited(heap, trigger="evnt = A", mapping={"a": {"@pth": "$.a"}}, kind="email")
    status, body = api("revisions", {"blueprint": wrong})
    assert status == 422
    assert body["error"]["fields"]["actions/0/trigger"].startswith("position 1: expected a field")
    assert set(body["error"]["fields"]) == {
        "actions/0/trigger", "actions/0/kind", "actions/0/mapping/a",
    }  # fmt: skip
    assert api("revisions", {"blueprint": []})[1]["error"]["fields"] == {
        "blueprint": "a blueprint must be an object, not a list"
    }


def test_who_did_not_see_the_newest_revision_is_refused(api, heap):
    api("revisions", {"blueprint": edited(heap, name="B")})
    status, body = api("revisions", {"blueprint": edited(heap, name="C"), "based_on": 1})
    assert status == 409
    assert (
        "Revision 2 was saved by admin after you started to edit revision 1"
        in body["error"]["message"]
    )


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"based_on": "1"}, "based_on"),
        ({"based_on": True}, "based_on"),
        ({"based_on": 2**80}, "based_on"),
        ({"change_summary": 5}, "change_summary"),
        ([], "body"),
    ],
)
def test_what_is_given_in_a_wrong_form_is_named(api, heap, given, field):
    body = {"blueprint": edited(heap), **given} if isinstance(given, dict) else given
    status, answer = api("revisions", body)
    assert (status, list(answer["error"]["fields"])) == (422, [field])


def test_one_revision_is_shown_with_its_blueprint(api, heap):
    status, body = api("revisions/1")
    assert status == 200
    assert list(body["blueprint"]) == ["version", "actions", "otherwise"]
    assert body["blueprint"] == heap.revision.blueprint
    assert api("revisions/7")[0] == 404


def test_two_revisions_are_compared(api, heap):
    api("revisions", {"blueprint": edited(heap, trigger="event = A")})
    api("revisions", {"blueprint": edited(heap, enabled=False)})
    status, body = api("revisions/2/diff")
    assert (status, body["old"], body["new"]) == (200, 1, 2)
    assert body["changes"] == ["Action “Tracked events”: trigger changed."]
    assert [line for line in body["unified"] if line[0] in "+-"] == [
        '-      "trigger": "type = \\"track\\"",',
        '+      "trigger": "event = A",',
    ]
    assert api("revisions/3/diff", against=1)[1]["changes"] == [
        "Action “Tracked events” switched off."
    ]
    assert api("revisions/1/diff")[1]["old"] is None
    assert [api("revisions/3/diff", against=each)[0] for each in ("9", "x", "9" * 30)] == [
        404, 422, 422,
    ]  # fmt: skip


def test_an_old_revision_is_made_the_newest_again(api, heap):
    api("revisions", {"blueprint": edited(heap, enabled=False)})
    status, body = api("revisions/1/roll-back", {})
    assert (status, body["number"], body["change_summary"]) == (
        201,
        3,
        "Rolled back to revision 1.",
    )
    assert api("revisions/9/roll-back", {})[0] == 404


# --- previews and tests ------------------------------------------------------------------------


def test_a_preview_of_a_message_shows_actions_and_requests(api, heap):
    status, body = api("preview", {"message": MESSAGE})
    assert (status, body["outcome"]) == (200, "sent")
    assert body["actions"][0]["payload"]["properties"] == {"a": {"b": 1}}
    assert body["actions"][1]["why"] == ['type = "page" is not met: the value is "track".']
    assert body["requests"][0]["body"]["events"][0]["properties"] == {"a.b": 1}
    assert body["notes"] == ["Flattened, with dots in the names: properties.a."]
    assert not Attempt.objects.exists()


def test_a_preview_of_a_stored_event_follows_the_blueprint_that_is_given(api, heap):
    event = make_event(name="Order Completed")
    unsaved = edited(heap, trigger='event = "Other"')
    status, body = api("preview", {"event_id": event.pk, "blueprint": unsaved})
    assert (status, body["outcome"]) == (200, "filtered")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "message"),
        ({"message": MESSAGE, "event_id": 1}, "message"),
        ({"message": {"type": "track"}}, "message"),
        ({"event_id": 4711}, "event_id"),
        ({"event_id": "x"}, "event_id"),
        ({"message": MESSAGE, "blueprint": {"version": 1}}, "actions"),
    ],
)
def test_a_preview_of_nothing_usable_says_what_is_wrong(api, given, field):
    status, body = api("preview", given)
    assert (status, list(body["error"]["fields"])) == (422, [field])


def test_a_stored_event_takes_the_scope_to_read_events(client, heap):
    api = caller(client, heap, make_token(scopes=["installations:read"]))
    assert api("preview", {"message": MESSAGE})[0] == 200
    assert api("preview", {"event_id": make_event().pk})[0] == 403


def test_a_test_event_is_sent_and_the_answer_told(api, heap, settings):
    with FakeVendor((400, {}, "postBody.events[0] is odd canary-secret")) as vendor:
        settings.SANDBOX_URL = vendor.url
        status, body = api("test-event", {"message": MESSAGE})
        assert (status, body["accepted"]) == (200, False)
        assert body["summary"] == "Heap did not accept it. HTTP 400: postBody.events[0] is odd ***"
        assert body["exchanges"][0]["response"]["status"] == 400
        assert api("test-event", {"message": MESSAGE})[1]["accepted"]
        assert len(vendor.received) == 2
    assert [each.is_test for each in Attempt.objects.all()] == [True, True]


def test_a_connection_is_tested(api, heap, settings):
    assert not api("test-connection", {})[1]["ok"]  # no vendor is running
    with FakeVendor(400, 200) as vendor:
        settings.SANDBOX_URL = vendor.url
        status, body = api("test-connection", {})
    assert (status, body["ok"]) == (200, True)
    assert [each["level"] for each in body["findings"]] == ["good", "good", "unknown"]


def test_an_installation_that_is_not_there_is_not_found(client, heap):
    token = make_token()
    heap.pk = 4711
    api = caller(client, heap, token)
    calls = ["revisions", "revisions/1", "revisions/1/diff"]
    assert {api(each)[0] for each in calls} == {404}
    calls = ["revisions", "revisions/1/roll-back", "preview", "test-event", "test-connection"]
    assert {api(each, {})[0] for each in calls} == {404}


def test_secrets_that_cannot_be_read_are_said_to_be(api, heap, settings):
    settings.SECRETS_KEYS = ["Zm9yLXRlc3RzLW9ubHktZm9yLXRlc3RzLW9ubHktMTI="]
    for address in ("preview", "test-event", "test-connection"):
        status, body = api(address, {"message": MESSAGE})
        assert (status, "PENSTOCK_SECRETS_KEYS" in body["error"]["message"]) == (409, True)


def test_the_schema_of_a_blueprint_is_published(client, heap):
    answer = client.get("/v1/blueprint.schema.json")
    assert answer["Content-Type"] == "application/schema+json"
    schema = json.loads(b"".join(answer.streaming_content))
    assert first_problem(heap.revision.blueprint, schema) is None
    assert first_problem({"version": 2}, schema)
