"""The ledger: when it closes, and the discrepancies that it finds."""

import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from delivery import bulk
from delivery.accounting import rollup
from delivery.accounting.ledger import build_ledger
from delivery.accounting.reconciliation import (
    first_unpurged_hour,
    ledger_by_event_name,
    ledger_by_hour,
    list_discrepancies,
)
from delivery.ingest.parsing import ParsedMessage
from delivery.ingest.store import store_messages
from delivery.models import Attempt, Delivery, Event, Tally
from delivery.replay import job, lifecycle, pace
from delivery.replay.selection import ReplaySelection
from integrations.catalog import catalog
from integrations.installations.install import install
from integrations.models import Revision
from tests.support import factories

pytestmark = pytest.mark.django_db


def put_in(source, count, kind="track", text="{}"):
    now = timezone.now()
    messages = [
        ParsedMessage(
            message_id=f"{kind}-{Event.objects.count()}-{n}",
            type=kind,
            name="E",
            user_id="ada",
            anonymous_id="",
            timestamp=now,
            text=text,
        )
        for n in range(count)
    ]
    store_messages(source, messages, (), now=now)


def installed(name="Heap", **action):
    installation = install(catalog()["heap"], name=name, config={"app_id": "1"})
    if action:
        blueprint = {
            "version": 1,
            "actions": [{"name": "A", "kind": "track", "mapping": {}} | action],
        }
        installation.revision = Revision.objects.create(
            installation=installation, number=2, blueprint=blueprint
        )
        installation.save()
    return installation


def test_what_came_in_is_what_is_there(source):
    installed()
    put_in(source, 3)
    [line] = build_ledger().lines
    assert (line.in_scope, line.queued, line.difference) == (3, 3, 0)
    assert build_ledger().closes


def test_a_trigger_may_ask_for_what_stands_in_the_body_only(source):
    installed(trigger="properties.total > 5")
    for total in (4, 6, 8):
        put_in(source, 1, text=json.dumps({"properties": {"total": total}}))
    [line] = build_ledger().lines
    assert (line.in_scope, line.unwanted, line.queued) == (3, 1, 2)


def test_what_came_before_an_installation_is_not_in_its_scope(source):
    put_in(source, 3)
    installed()
    put_in(source, 2)
    [line] = build_ledger().lines
    assert line.in_scope == 2
    assert build_ledger().closes


def test_what_an_installation_does_not_want_makes_no_row_and_is_counted(source):
    installed(trigger='type = "page"')
    put_in(source, 5)
    put_in(source, 1, "page")
    [line] = build_ledger().lines
    assert (line.in_scope, line.unwanted, line.queued) == (6, 5, 1)
    assert Delivery.objects.count() == 1
    assert build_ledger().closes


def test_each_state_has_its_column(source):
    installed()
    put_in(source, 5)
    for delivery, state in zip(Delivery.objects.all(), Delivery.State.values, strict=True):
        bulk.update(Delivery, ["state"], [(delivery.pk, state)])
    [line] = build_ledger().lines
    assert [getattr(line, state) for state in Delivery.State.values] == [1] * 5
    assert build_ledger().closes


def test_a_missing_delivery_is_found(source):
    installed()
    put_in(source, 3)
    Delivery.objects.order_by("pk").first().delete()
    assert [line.difference for line in build_ledger().lines] == [1]
    assert not build_ledger().closes


def test_a_missing_event_is_found(source):
    put_in(source, 3)
    Tally.objects.update(events=4)
    assert not build_ledger().closes


@pytest.mark.django_db(transaction=True)  # the command sets its own isolation level
def test_the_command_prints_a_table_and_json_and_fails_when_it_does_not_close(source, capsys):
    installed()
    put_in(source, 2)
    call_command("ledger")
    assert "The ledger closes." in capsys.readouterr().out
    call_command("ledger", "--json")
    printed = json.loads(capsys.readouterr().out)
    assert printed["closes"] is True
    assert printed["installations"][0]["queued"] == 2
    Delivery.objects.all().delete()
    with pytest.raises(SystemExit) as ended:
        call_command("ledger")
    assert ended.value.code == 1
    assert "DOES NOT CLOSE" in capsys.readouterr().out


# --- by hour and by event name -----------------------------------------------------------------


def hours_ago(number):
    """Make all events and tallies look as if they were received `number` hours ago."""
    at = timezone.now() - timedelta(hours=number)
    Event.objects.update(received_at=at)
    Tally.objects.update(at=at)


def test_each_hour_has_an_account_of_its_own(source):
    installed(trigger='type = "track"')
    put_in(source, 3)
    hours_ago(5)
    put_in(source, 2)
    put_in(source, 1, "page")
    early, late = ledger_by_hour(first_unpurged_hour(timezone.now()))
    assert early.hour < late.hour
    assert [(e.in_scope, e.unwanted, e.queued, e.difference) for e in (early, late)] == [
        (3, 0, 3, 0),
        (3, 1, 2, 0),
    ]
    Delivery.objects.order_by("pk").first().delete()
    assert [each.difference for each in ledger_by_hour(first_unpurged_hour(timezone.now()))] == [
        1,
        0,
    ]


def test_an_hour_of_which_something_may_be_purged_is_left_out(source, settings):
    settings.KEEP_DELIVERIES_DAYS = 0.2
    installed()
    put_in(source, 1)
    hours_ago(5)
    assert ledger_by_hour(first_unpurged_hour(timezone.now())) == []


def test_each_name_has_its_states_and_what_has_no_name_its_type(source):
    installed()
    put_in(source, 3)
    Delivery.objects.filter(pk=Delivery.objects.earliest("pk").pk).update(state="failed")
    put_in(source, 1, "identify")
    Event.objects.filter(type="identify").update(name="")
    found = {each.event: (each.queued, each.failed) for each in ledger_by_event_name()}
    assert found == {"E": (2, 1), "identify": (1, 0)}


# --- discrepancies -----------------------------------------------------------------------------


def test_it_is_the_same_when_the_tallies_are_rolled_up(source):
    installed(trigger='type = "track"')
    put_in(source, 3)
    put_in(source, 2, "page")
    before = ledger_by_hour(first_unpurged_hour(timezone.now()))
    rollup.roll_up_metrics(timezone.now())
    assert not Tally.objects.exists()
    assert ledger_by_hour(first_unpurged_hour(timezone.now())) == before
    assert found() == []
    Delivery.objects.earliest("pk").delete()
    assert len(found()) == 1


def found():
    return [(hole.kind, hole.text) for hole in list_discrepancies(timezone.now())]


def test_a_whole_log_has_no_holes(source):
    heap = installed(trigger='type = "track"')
    put_in(source, 3)
    put_in(source, 2, "page")
    installed("Later")
    put_in(source, 1)
    delivery = Delivery.objects.filter(installation=heap).first()
    factories.make_attempt(delivery)
    assert found() == []


def test_an_event_without_a_delivery_is_named_with_its_request(source):
    installed()
    put_in(source, 3)
    put_in(source, 1)
    Delivery.objects.order_by("pk").first().delete()
    [(kind, text)] = found()
    assert kind == "event without a delivery"
    assert text.startswith("Shop, 20")
    assert text.endswith(":00: 1 of 4 were not queued for Heap.")


def test_an_event_that_is_gone_is_found(source):
    installed()
    put_in(source, 2)
    Delivery.objects.all().delete()
    Event.objects.order_by("pk").first().delete()
    kinds = [kind for kind, _ in found()]
    assert kinds == ["event missing", "event without a delivery"]


def test_a_delivery_without_an_event_is_found(source):
    installed()
    put_in(source, 1)
    Event.objects.all()._raw_delete("default")
    delivery = Delivery.objects.get()
    text = f"Delivery {delivery.pk} refers to missing event {delivery.event_id}."
    assert ("delivery without an event", text) in found()


def test_an_attempt_that_claims_more_than_it_carried_is_found_and_a_test_is_none(source):
    installed()
    put_in(source, 2)
    attempt = factories.make_attempt(*Delivery.objects.all())
    assert found() == []
    Attempt.objects.update(items=5)
    [(kind, text)] = found()
    assert kind == "attempt that claims too much"
    assert text == f"Attempt {attempt.pk} claims 5 items; 2 are recorded."
    Attempt.objects.update(is_test=True)
    assert found() == []


def test_what_a_backfill_made_is_no_hole(source):
    put_in(source, 2)
    hours_ago(2)
    heap = installed(trigger='type = "track"')
    put_in(source, 1)
    replay = lifecycle.start_replay("backfill", heap, ReplaySelection())
    job.step_replay(replay.pk, pace.ReplayWindow(), timezone.now())
    assert Delivery.objects.count() == 3
    assert found() == []
    assert [each.difference for each in ledger_by_hour(first_unpurged_hour(timezone.now()))] == [
        0,
        0,
    ]
    Delivery.objects.earliest("pk").delete()
    assert [kind for kind, _ in found()] == ["event without a delivery"]


def test_of_many_holes_some_are_named_and_the_others_counted(source, monkeypatch):
    monkeypatch.setattr("delivery.accounting.reconciliation.MAX_DISCREPANCY_EXAMPLES", 2)
    for number in range(5):
        installed(f"Heap {number}")
    put_in(source, 1)
    Delivery.objects.all().delete()
    texts = [text for _, text in found()]
    assert len(texts) == 3
    assert texts[-1] == "3 more of this kind."


@pytest.mark.django_db(transaction=True)
def test_the_command_prints_parts_and_holes_and_fails_when_there_is_one(source, capsys):
    installed()
    put_in(source, 2)
    call_command("ledger", "--by", "hour", "--holes")
    output = capsys.readouterr().out
    assert "No holes." in output
    assert "hour" in output
    call_command("ledger", "--by", "event", "--json", "--holes")
    printed = json.loads(capsys.readouterr().out)
    assert (printed["by_event"][0]["event"], printed["holes"]) == ("E", [])
    factories.make_attempt(*Delivery.objects.all(), items=3)
    with pytest.raises(SystemExit) as ended:
        call_command("ledger", "--holes")
    assert ended.value.code == 1
    output = capsys.readouterr().out
    assert "The ledger closes." in output
    assert "HOLE, attempt that claims too much" in output
