"""`manage.py penstock`, as people and programs use it at a terminal."""

import json

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from delivery.log.search import query
from delivery.log.search.language import parse_search
from delivery.log.tail import follow_deliveries
from delivery.management.cli import replays
from delivery.models import Delivery, Replay
from delivery.replay import lifecycle
from integrations.models import AuditEntry, Installation, Source
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(capsys):
    """Run a command and return what it prints."""

    def runs(*words):
        call_command("penstock", *words)
        return capsys.readouterr().out

    return runs


def printed(run, *words):
    return json.loads(run(*words, "--json"))


def test_heap_is_installed_with_what_is_said(run):
    words = ["install", "heap", "--config", "app_id=42", "--name", "Heap EU", "--variant", "retail"]
    assert "Heap EU is installed" in run(*words)
    heap = Installation.objects.get()
    assert (heap.name, heap.variant, heap.config["app_id"]) == ("Heap EU", "retail", "42")
    assert AuditEntry.objects.get().actor == "penstock install"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["install", "hep"], "There is no 'hep' in the catalog. Use one of: heap"),
        (["install", "heap"], "config.app_id: "),
        (["install", "heap", "--config", "app_id"], "use app_id=VALUE"),
        (["sources", "rotate", "Shop"], "There is no source 'Shop'"),
        (["deliveries", "--state", "lost"], "state:lost must be one of"),
        (["deliveries", "--installation", "Hep"], "there is no installation with this name"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(run, words, said):
    with pytest.raises(CommandError, match=said) as refused:
        run(*words)
    assert refused.value.returncode == 1


def test_installations_are_listed_with_how_they_are_doing(run):
    factories.make_delivery()
    [line] = printed(run, "installations")
    assert (line["name"], line["queued"], line["destination"]) == ("Heap", 1, "heap")
    assert "Heap" in run("installations")


def test_a_source_is_made_and_its_key_rotated(run):
    made = printed(run, "sources", "create", "Shop")
    assert made["write_key"] == Source.objects.get().write_key
    rotated = printed(run, "sources", "rotate", "Shop", "--overlap", "1")
    source = Source.objects.get()
    assert rotated["write_key"] == source.write_key != made["write_key"]
    assert source.further_keys.get().key == made["write_key"]
    assert source.write_key in run("sources")
    assert printed(run, "sources", "list")[0]["name"] == "Shop"


def test_deliveries_are_listed_by_filter_the_newest_last(run):
    ada, bob = factories.make_event(), factories.make_event(user_id="bob")
    factories.make_delivery(event=ada, state="failed", reason="Too [red]long[/red]")
    factories.make_delivery(event=bob)
    users = [line["event"]["user_id"] for line in printed(run, "deliveries")]
    assert users == ["ada", "bob"]
    [line] = printed(run, "deliveries", "--state", "failed", "--user", "ada")
    assert line["event"]["user_id"] == "ada"
    assert printed(run, "deliveries", "--search", "state:failed user:bob") == []
    assert "Too [red]long[/red]" in run("deliveries")


def test_a_pipe_gets_no_colour(run):
    factories.make_delivery(state="failed")
    assert "\x1b" not in run("deliveries") + run("installations")


def test_who_follows_sees_each_delivery_come_in_and_settle():
    factories.make_delivery(event=factories.make_event(user_id="before"))
    steps = iter(
        [
            lambda: factories.make_delivery(event=factories.make_event(user_id="new")),
            lambda: None,
            lambda: Delivery.objects.update(state="delivered"),
        ]
    )

    def wait():
        step = next(steps, None)
        if step:
            step()
        return step is not None

    scope = query.compile_search(parse_search("", []), timezone.now())
    seen = [
        [(each.event.user_id, each.state) for each in some]
        for some in follow_deliveries(scope, wait)
    ]
    assert seen == [
        [("new", "queued")],
        [],
        [("before", "delivered"), ("new", "delivered")],
    ]


def test_a_replay_is_started_for_what_is_said(run):
    heap = factories.make_installation()
    for user in ("ada", "bob"):
        factories.make_delivery(heap, factories.make_event(user_id=user), state="failed")
    shown = printed(run, "replay", "heap", "--user", "ada", "--since", "2h", "--detach")
    replay = Replay.objects.get()
    assert (shown["id"], shown["state"], replay.wanted["user_id"]) == (replay.pk, "running", "ada")
    assert replay.wanted["since"]
    with pytest.raises(CommandError, match="there is no installation with this name"):
        run("replay", "hep")
    with pytest.raises(CommandError, match="since:soon"):
        run("replay", "heap", "--since", "soon")


def test_who_waits_is_told_how_a_replay_ended(run, monkeypatch):
    heap = factories.make_installation()
    factories.make_delivery(heap, state="failed")

    def work(seconds):
        lifecycle.cancel_replay(Replay.objects.get())

    monkeypatch.setattr(replays.time, "sleep", work)
    assert "is cancelled: 0 queued" in run("replay", "Heap")
