"""Resolutions of failed deliveries, and actions on all deliveries that match a search."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from delivery.accounting import ledger
from delivery.actions import apply_to_search
from delivery.actions import deliveries as actions_deliveries
from delivery.actions.resolve import InvalidNote, resolve_deliveries
from delivery.admin import home
from delivery.log.search import language
from delivery.log.search.names import resolve_names
from delivery.log.search.query import compile_search
from delivery.models import Delivery, Replay, Resolution
from delivery.operations import retention
from delivery.replay import job, lifecycle, pace
from delivery.replay.selection import ReplayKind, ReplaySelection, build_replay_range
from delivery.status.installations import with_state
from integrations.models import AuditEntry, Installation
from tests.support.factories import (
    make_delivery,
    make_event,
    make_installation,
    make_user,
)

pytestmark = pytest.mark.django_db

LOG = "/admin/delivery/delivery/"
API = "/v1/admin/deliveries"
FAILED = {"state": "failed", "error": "MessageRejected", "reason": "HTTP 400: no total"}


@pytest.fixture(autouse=True)
def _nobody_delivers(monkeypatch):
    monkeypatch.setattr("delivery.lanes.wakeups.wake_lanes", lambda lanes: None)


@pytest.fixture
def heap():
    return make_installation()


def found(text):
    rows = (
        compile_search(resolve_names(language.parse_search(text)), timezone.now())
        .page(limit=100)
        .rows
    )
    return {each.pk for each in rows}


def resolve_all(note="Sent by hand."):
    return resolve_deliveries(Delivery.objects.all(), note, timezone.now())


# --- the effect of a resolution ----------------------------------------------------------------


def test_it_stays_failed_and_says_who_when_and_what_was_done(api, heap):
    delivery, other = make_delivery(heap, **FAILED), make_delivery(heap, state="delivered")
    assert api("POST", f"{API}/{delivery.pk}/resolve", {"note": " Refunded. "})[0] == 200
    body = api("GET", f"{API}/{delivery.pk}")[1]
    assert (body["state"], body["resolved_by"], body["resolution"]) == (
        "failed", "admin", "Refunded.",
    )  # fmt: skip
    assert re.match(r"Resolved by admin at .*: Refunded\. HTTP 400: no total\.", body["summary"])
    assert body["fix"] is None
    assert api("GET", f"{API}/{other.pk}")[1]["resolved_at"] is None
    [entry] = AuditEntry.objects.filter(action="delivery.resolved")
    assert (entry.actor, entry.object_id) == ("admin", str(delivery.pk))
    assert entry.changes["note"]["new"] == "Refunded."


def test_its_page_asks_for_nothing_any_more(client, heap):
    client.force_login(make_user("boss"))
    delivery = make_delivery(heap, **FAILED)
    page = f"/admin/delivery/delivery/{delivery.pk}/change/"
    assert "<dt>Cause</dt>" in client.get(page).text
    resolve_all()
    assert "<dt>Cause</dt>" not in client.get(page).text


def test_only_what_is_failed_is_resolved_and_only_once(api, heap):
    failed, queued = make_delivery(heap, **FAILED), make_delivery(heap)
    assert resolve_all() == 1
    assert resolve_all("Again.") == 0
    assert Resolution.objects.get().note == "Sent by hand."
    for delivery in (failed, queued):
        assert api("POST", f"{API}/{delivery.pk}/resolve", {"note": "x"})[0] == 409


@pytest.mark.parametrize("note", ["", "   ", "x" * 501])
def test_a_note_is_needed(api, heap, note):
    delivery = make_delivery(heap, **FAILED)
    with pytest.raises(InvalidNote):
        resolve_all(note)
    status, body = api("POST", f"{API}/{delivery.pk}/resolve", {"note": note})
    assert (status, set(body["error"]["fields"])) == (422, {"note"})
    assert not Resolution.objects.exists()


def test_the_ledger_is_as_before(heap):
    make_delivery(heap, **FAILED)
    before = ledger.build_ledger()
    resolve_all()
    assert ledger.build_ledger() == before


def test_it_leaves_what_needs_a_person_and_the_state_of_the_installation(client, heap):
    resolved, left = make_delivery(heap, **FAILED), make_delivery(heap, **FAILED)
    resolve_deliveries(Delivery.objects.filter(pk=resolved.pk), "Sent by hand.", timezone.now())
    [failure] = home.recent_failure_groups(timezone.now())
    assert (failure.count, failure.sample) == (1, left.pk)
    assert with_state(Installation.objects.all()).get().failed == 1
    resolve_all()
    assert home.recent_failure_groups(timezone.now()) == []
    assert with_state(Installation.objects.all()).get().failed == 0


def test_home_looks_through_so_many_failures_and_no_further(heap, monkeypatch):
    old, new = make_delivery(heap, **FAILED), make_delivery(heap, **FAILED)
    resolve_deliveries(Delivery.objects.filter(pk=new.pk), "Sent by hand.", timezone.now())
    assert [each.sample for each in home.recent_failure_groups(timezone.now())] == [old.pk]
    monkeypatch.setattr(home, "FAILURE_SCAN_ROWS", 1)
    assert home.recent_failure_groups(timezone.now()) == []


# --- after a resolution: delivering again, replays, purges -------------------------------------


def test_to_deliver_it_again_undoes_it_and_a_new_failure_is_not_resolved(heap):
    delivery = make_delivery(heap, **FAILED)
    resolve_all()
    actions_deliveries.deliver_again(Delivery.objects.all(), timezone.now())
    delivery.refresh_from_db()
    assert delivery.current_resolution is None
    later = timezone.now()
    Delivery.objects.update(state="failed", settled_at=later)
    assert Delivery.objects.get().current_resolution is None
    assert (found("resolved:yes"), found("resolved:no")) == (set(), {delivery.pk})
    assert resolve_all("Now it is.") == 1
    assert Delivery.objects.get().current_resolution.note == "Now it is."


def test_a_replay_that_is_cancelled_gives_it_back_resolved(heap):
    delivery = make_delivery(heap, **FAILED)
    resolve_all()
    wanted = ReplaySelection(resolved="any")
    replay = lifecycle.start_replay(ReplayKind.REPLAY, heap, wanted)
    job.step_replay(replay.pk, pace.ReplayWindow(), timezone.now())
    assert Delivery.objects.get().state == "queued"
    lifecycle.cancel_replay(Replay.objects.get())
    assert Delivery.objects.get().current_resolution.note == "Sent by hand."
    assert found("resolved:yes") == {delivery.pk}


def test_a_replay_leaves_out_what_is_resolved_unless_it_is_asked_for(heap):
    resolved, left = make_delivery(heap, **FAILED), make_delivery(heap, **FAILED)
    delivered = make_delivery(heap, state="delivered")
    resolve_deliveries(Delivery.objects.filter(pk=resolved.pk), "Sent by hand.", timezone.now())

    def matching_ids(**wanted):
        rows = build_replay_range(ReplayKind.REPLAY, heap.pk, ReplaySelection(**wanted)).matching()
        return set(rows.values_list("pk", flat=True))

    assert matching_ids() == {left.pk}
    assert matching_ids(resolved="yes") == {resolved.pk}
    assert matching_ids(resolved="any") == {resolved.pk, left.pk}
    assert matching_ids(states=("failed", "delivered")) == {left.pk, delivered.pk}


def test_it_is_purged_with_its_delivery(heap):
    old = timezone.now() - timedelta(days=400)
    event = make_event(received_at=old)
    make_delivery(heap, event, **FAILED, settled_at=old)
    resolve_all()
    retention.purge_old_rows(timezone.now())
    assert (Delivery.objects.count(), Resolution.objects.count()) == (0, 0)


# --- search and export -------------------------------------------------------------------------


def test_the_search_and_the_files_know_it(client, api, heap):
    resolved, left = make_delivery(heap, **FAILED), make_delivery(heap, **FAILED)
    other = make_delivery(heap, state="delivered")
    resolve_deliveries(Delivery.objects.filter(pk=resolved.pk), "Sent by hand.", timezone.now())
    assert found("resolved:yes") == {resolved.pk}
    assert found("resolved:no") == {left.pk}
    assert found("-resolved:yes") == {left.pk, other.pk}
    assert found("state:failed resolved:no") == {left.pk}
    answer = api("GET", f"{API}/export", q="resolved:yes", format="csv")[1]
    head, row, *rest = answer.getvalue().decode().splitlines()
    assert (head.endswith("resolved_at,resolved_by,resolution"), rest) == (True, [])
    assert row.endswith("Sent by hand.")
    client.force_login(make_user("eve"))
    assert "Failed, resolved" in client.get(f"{LOG}{resolved.pk}/change/").content.decode()


# --- selected deliveries and whole searches ----------------------------------------------------


def test_those_that_are_ticked_after_a_page_that_asks_for_the_note(client, heap):
    client.force_login(make_user())
    ticked, other = make_delivery(heap, **FAILED), make_delivery(heap, **FAILED)
    page = client.post(f"{LOG}ticked/resolve/", {"id": [ticked.pk]}).content.decode()
    assert "Resolution" in page
    assert f'name="id" value="{ticked.pk}"' in page
    form = {"id": [ticked.pk], "go": "1", "note": ""}
    assert (
        "Describe what was done instead"
        in client.post(f"{LOG}ticked/resolve/", form).content.decode()
    )
    form["note"] = "Sent by hand."
    assert client.post(f"{LOG}ticked/resolve/", form).status_code == 302
    assert found("resolved:yes") == {ticked.pk}
    assert found("resolved:no") == {other.pk}


def test_all_that_match_in_one_installation(client, api, heap):
    client.force_login(make_user("eve"))
    mine, other = make_delivery(heap, **FAILED), make_delivery(make_installation("Eu"), **FAILED)
    log = client.get(LOG, {"q": "installation:Heap state:failed"}).content.decode()
    assert "Mark all matches resolved" in log
    search = {"q": "installation:Heap state:failed"}
    assert (
        "<strong>1</strong> failed delivery"
        in client.get(f"{LOG}all/resolve/", search).content.decode()
    )
    client.post(f"{LOG}all/resolve/", {**search, "go": "1", "note": "Sent by hand."})
    assert found("resolved:yes") == {mine.pk}
    entry = AuditEntry.objects.filter(action="delivery.resolved").latest("pk")
    assert "installation:Heap" in entry.changes["search"]["new"]
    selection = {"installation": other.installation_id, "note": "By the API.", "q": "event:Order*"}
    status, body = api("POST", f"{API}/resolve", selection)
    assert (status, body["count"], body["is_whole"]) == (200, 1, True)
    assert found("resolved:yes") == {mine.pk, other.pk}


@pytest.mark.parametrize(
    "q", ["state:failed", "installation:Heap state:delivered", "installation:Heap -state:failed"]
)
def test_a_search_that_is_not_about_one_installation_s_failed_ones_is_refused(client, heap, q):
    client.force_login(make_user())
    delivery = make_delivery(heap, **FAILED)
    form = {"q": q, "go": "1", "note": "Sent by hand."}
    page = client.post(f"{LOG}all/resolve/", form).content.decode()
    assert 'role="alert"' in page
    assert found("resolved:no") == {delivery.pk}


def test_many_have_to_be_confirmed_by_the_name(client, heap, monkeypatch):
    client.force_login(make_user())
    monkeypatch.setattr("delivery.admin.log.bulk_actions.CONFIRM_BY_NAME_ABOVE", 1)
    for _ in range(2):
        make_delivery(heap, **FAILED)
    form = {"q": "installation:Heap state:failed", "go": "1", "note": "Sent by hand."}
    page = client.post(f"{LOG}all/resolve/", form).content.decode()
    assert "Type Heap exactly" in page
    assert found("resolved:yes") == set()
    client.post(f"{LOG}all/resolve/", {**form, "typed": "Heap"})
    assert len(found("resolved:yes")) == 2


def test_what_takes_too_long_ends_after_a_part_and_goes_on_when_asked_again(heap, monkeypatch):
    monkeypatch.setattr(apply_to_search, "BULK_PAGE_SIZE", 2)
    for _ in range(5):
        make_delivery(heap, **FAILED)
    search = resolve_names(language.parse_search("installation:Heap"))

    def some(budget):
        def act(rows):
            return resolve_deliveries(rows, "Sent by hand.", timezone.now())

        return apply_to_search.apply_to_all(
            apply_to_search.select_unresolved(search, timezone.now()), act, budget=budget
        )

    assert apply_to_search.count_matching(
        apply_to_search.select_unresolved(search, timezone.now())
    ) == apply_to_search.BulkResult(5, True)
    with monkeypatch.context() as short:
        short.setattr("delivery.log.search.query.SCAN_ROWS", 3)
        found = apply_to_search.select_unresolved(search, timezone.now())
        assert apply_to_search.count_matching(found) == apply_to_search.BulkResult(3, False)
    assert some(-1.0) == apply_to_search.BulkResult(2, False)
    assert some(60.0) == apply_to_search.BulkResult(3, True)


def test_all_queued_ones_of_an_installation_are_cancelled_and_counted(client, api, heap):
    client.force_login(make_user("eve"))
    for _ in range(3):
        make_delivery(heap)
    kept = make_delivery(make_installation("Eu"))
    late = make_delivery(heap, make_event(name="Late"))
    page = client.get(f"{LOG}all/cancel/", {"q": "installation:Heap"}).content.decode()
    assert "<strong>4</strong> queued deliveries" in page
    selection = {"installation": heap.pk, "q": "event:Late"}
    assert api("POST", f"{API}/cancel", selection)[1]["count"] == 1
    assert Delivery.objects.get(pk=late.pk).state == "cancelled"
    client.post(f"{LOG}all/cancel/", {"q": "installation:Heap", "go": "1"})
    assert set(Delivery.objects.filter(state="queued")) == {kept}


def test_the_api_does_by_ids_what_the_log_does_by_ticks(api, heap):
    ids = [make_delivery(heap, **FAILED).pk for _ in range(2)]
    status, result = api("POST", f"{API}/deliver-again", {"ids": ids})
    assert (status, result["count"]) == (202, 2)
    assert api("POST", f"{API}/cancel", {"ids": ids[:1]})[1]["count"] == 1
    assert api("POST", f"{API}/{ids[1]}/cancel")[0] == 200
    assert api("POST", f"{API}/{ids[1]}/cancel")[0] == 409
    assert set(Delivery.objects.values_list("state", flat=True)) == {"cancelled"}
    for body in ({}, {"ids": ids, "installation": heap.pk}):
        assert api("POST", f"{API}/cancel", body)[0] == 422


def test_a_viewer_may_do_none_of_it(client, heap):
    delivery = make_delivery(heap, **FAILED)
    client.force_login(make_user("eve", role="source_viewer"))
    form = {"id": [delivery.pk], "q": "installation:Heap", "go": "1", "note": "x"}
    for address in ("ticked/resolve/", "all/resolve/", "all/cancel/", f"{delivery.pk}/resolve/"):
        assert client.post(f"{LOG}{address}", form).status_code == 403, address
    assert not Resolution.objects.exists()
