"""The ledger closes, and says so when it does not."""

import json

import pytest
from django.core.management import call_command
from django.utils import timezone

from delivery import bulk
from delivery.ingest.parsing import Parsed
from delivery.ingest.storing import store
from delivery.ledger import ledger
from delivery.models import Delivery, Event, Tally
from integrations.catalog import catalog
from integrations.installing import install
from integrations.models import Revision, Source

pytestmark = pytest.mark.django_db


@pytest.fixture
def source():
    return Source.objects.create(name="Shop")


def put_in(source, count, kind="track", text="{}"):
    now = timezone.now()
    messages = [
        Parsed(
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
    store(source, messages, (), now=now)


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
    [line] = ledger().lines
    assert (line.in_scope, line.queued, line.difference) == (3, 3, 0)
    assert ledger().closes


def test_a_trigger_may_ask_for_what_stands_in_the_body_only(source):
    installed(trigger="properties.total > 5")
    for total in (4, 6, 8):
        put_in(source, 1, text=json.dumps({"properties": {"total": total}}))
    [line] = ledger().lines
    assert (line.in_scope, line.unwanted, line.queued) == (3, 1, 2)


def test_what_came_before_an_installation_is_not_in_its_scope(source):
    put_in(source, 3)
    installed()
    put_in(source, 2)
    [line] = ledger().lines
    assert line.in_scope == 2
    assert ledger().closes


def test_what_an_installation_does_not_want_makes_no_row_and_is_counted(source):
    installed(trigger='type = "page"')
    put_in(source, 5)
    put_in(source, 1, "page")
    [line] = ledger().lines
    assert (line.in_scope, line.unwanted, line.queued) == (6, 5, 1)
    assert Delivery.objects.count() == 1
    assert ledger().closes


def test_each_state_has_its_column(source):
    installed()
    put_in(source, 5)
    for delivery, state in zip(Delivery.objects.all(), Delivery.State.values, strict=True):
        bulk.update(Delivery, ["state"], [(delivery.pk, state)])
    [line] = ledger().lines
    assert [getattr(line, state) for state in Delivery.State.values] == [1] * 5
    assert ledger().closes


def test_a_missing_delivery_is_found(source):
    installed()
    put_in(source, 3)
    Delivery.objects.order_by("pk").first().delete()
    assert [line.difference for line in ledger().lines] == [1]
    assert not ledger().closes


def test_a_missing_event_is_found(source):
    put_in(source, 3)
    Tally.objects.update(events=4)
    assert not ledger().closes


@pytest.mark.django_db(transaction=True)  # it sets the isolation of its own transaction
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
