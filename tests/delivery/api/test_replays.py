"""Replays in the management API and in the admin."""

import json

import pytest
from django.utils import timezone

from delivery.models import Delivery, Replay
from delivery.replay.job import step_replay
from delivery.replay.pace import ReplayWindow
from delivery.replay.selection import stored_replay_range
from integrations.models import AuditEntry
from tests.support.factories import (
    make_attempt,
    make_delivery,
    make_installation,
    make_token,
    make_user,
)

pytestmark = pytest.mark.django_db

REPLAYS = "/v1/admin/replays"


@pytest.fixture
def heap():
    return make_installation()


def test_one_is_started_followed_and_turned(api, heap):
    failed = make_delivery(heap, state="failed")
    status, replay = api("POST", REPLAYS, {"installation": heap.pk, "rate": 5})
    assert status == 201
    assert (replay["state"], replay["kind"], replay["rate"]) == ("running", "replay", 5)
    assert replay["filter"]["states"] == ["failed"]
    one = f"{REPLAYS}/{replay['id']}"
    assert api("POST", f"{one}/pause")[1]["state"] == "paused"
    assert api("POST", f"{one}/pause")[0] == 409
    assert api("POST", f"{one}/resume")[1]["state"] == "running"
    step_replay(replay["id"], ReplayWindow(), timezone.now())
    assert api("GET", one)[1]["queued"] == 1
    assert api("POST", f"{one}/cancel")[1]["state"] == "cancelled"
    failed.refresh_from_db()
    assert failed.state == "failed"
    actions = AuditEntry.objects.filter(object_type="replay").order_by("pk")
    assert [each.action for each in actions] == [
        "replay.started", "replay.paused", "replay.resumed", "replay.cancelled",
    ]  # fmt: skip


def test_a_preview_counts_and_starts_nothing(api, heap):
    make_delivery(heap, state="failed")
    make_delivery(heap, state="cancelled")
    selection = {"installation": heap.pk, "states": ["failed", "cancelled"], "user_id": "ada"}
    status, found = api("POST", f"{REPLAYS}/preview", selection)
    assert (status, found["count"], found["exact"], found["seconds"]) == (200, 2, True, None)
    assert found["oldest_at"] < found["newest_at"]
    _, found = api("POST", f"{REPLAYS}/preview", {**selection, "rate": 0.5})
    assert found["seconds"] == 4.0
    assert not Replay.objects.exists()


def test_every_wrong_field_is_named(api, heap):
    status, body = api(
        "POST",
        REPLAYS,
        {"installation": 99, "states": ["queued"], "since": "soon", "rate": 0, "colour": "red"},
    )
    assert status == 422
    assert body["error"]["fields"].keys() == {"installation", "states", "since", "rate", "colour"}
    assert api("POST", REPLAYS, [1])[0] == 422
    wrong = {"installation": heap.pk, "kind": "backfill", "error": "TooLarge"}
    assert api("POST", REPLAYS, wrong)[1]["error"]["fields"].keys() == {"error"}


def test_the_same_one_again_is_a_conflict_and_there_is_none_of_an_unknown_id(api, heap):
    assert api("POST", REPLAYS, {"installation": heap.pk})[0] == 201
    assert api("POST", REPLAYS, {"installation": heap.pk})[0] == 409
    assert api("GET", f"{REPLAYS}/99")[0] == 404


def test_the_newest_come_first_and_an_installation_has_its_own(api, heap):
    other = make_installation("Other")
    ids = [
        api("POST", REPLAYS, {"installation": each.pk, "kind": kind})[1]["id"]
        for each in (heap, other)
        for kind in ("replay", "backfill")
    ]
    _, page = api("GET", REPLAYS, limit="3")
    assert [each["id"] for each in page["data"]] == ids[:0:-1]
    _, page = api("GET", REPLAYS, limit="3", cursor=page["next_cursor"])
    assert [each["id"] for each in page["data"]] == ids[:1]
    assert len(api("GET", REPLAYS, installation=str(heap.pk))[1]["data"]) == 2


def test_who_may_only_look_starts_nothing(client, heap):
    user = make_user("viewer", role="source_viewer")
    bearer = {"authorization": f"Bearer {make_token(user)}"}
    assert client.get(REPLAYS, headers=bearer).status_code == 200
    body = json.dumps({"installation": heap.pk})
    assert client.post(REPLAYS, body, "application/json", headers=bearer).status_code == 403
    client.force_login(user)
    assert client.get("/admin/delivery/replay/").status_code == 200
    assert client.get("/admin/delivery/replay/new/").status_code == 403
    replay = Replay.objects.create(installation=heap, wanted={}, first=0, cursor=0, end=1)
    assert "Cancel" not in client.get(f"/admin/delivery/replay/{replay.pk}/change/").text
    assert client.post(f"/admin/delivery/replay/{replay.pk}/turn/cancel/").status_code == 403


def test_in_the_admin_one_is_previewed_started_and_cancelled(client, heap):
    make_delivery(heap, state="failed")
    client.force_login(make_user())
    assert "New replay" in client.get("/admin/delivery/replay/").text
    form = client.get("/admin/delivery/replay/new/?states=filtered&user_id=ada").text
    assert 'value="ada"' in form
    fields = {"installation": heap.pk, "kind": "replay", "states": ["failed"]}
    assert "<strong>1</strong>" in client.post(
        "/admin/delivery/replay/new/", {**fields, "preview": "1"}
    ).text  # fmt: skip
    page = client.post("/admin/delivery/replay/new/", fields, follow=True).text
    replay = Replay.objects.get()
    assert f"Replay {replay.pk} has started." in page
    assert 'data-refresh="1000"' in page
    step_replay(replay.pk, ReplayWindow(), timezone.now())
    page = client.post(f"/admin/delivery/replay/{replay.pk}/turn/cancel/", follow=True).text
    assert "1 delivery queued; 1 of them taken back" in page
    assert "data-refresh" not in page
    assert "Cancelled" in client.get("/admin/delivery/replay/").text
    assert Delivery.objects.get().state == "failed"


def test_the_form_shows_what_is_wrong(client):
    client.force_login(make_user())
    page = client.post("/admin/delivery/replay/new/", {"since": "soon"}).text
    assert page.count("ps-error") == 2


def test_a_search_says_what_has_no_field(api, heap):
    refused = make_delivery(heap, state="failed")
    make_attempt(refused, status=400)
    make_delivery(heap, state="failed")
    selection = {"installation": heap.pk, "q": "status:4xx"}
    assert api("POST", f"{REPLAYS}/preview", selection)[1]["count"] == 1
    assert api("POST", REPLAYS, selection)[1]["filter"]["q"] == "status:4xx"
    assert set(stored_replay_range(Replay.objects.get()).matching()) == {refused}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"q": "statsu:4xx"}, "Did you mean status"),
        ({"q": "state:failed"}, "use the separate field instead"),
        ({"q": "source:Nowhere"}, "there is no source"),
        ({"q": "status:4xx", "kind": "backfill"}, "A backfill creates new deliveries"),
    ],
)
def test_a_search_that_cannot_be_meant_is_refused(api, heap, asked, words):
    status, body = api("POST", f"{REPLAYS}/preview", {"installation": heap.pk, **asked})
    assert (status, set(body["error"]["fields"])) == (422, {"q"})
    assert words in body["error"]["fields"]["q"]
