"""Saving blueprints as revisions, comparing revisions, and rolling back."""

import copy
import json
from threading import Barrier, Thread

import pytest
from django.db import connection, connections
from django.utils import timezone

from delivery.lanes import wakeups
from delivery.models import Lane
from integrations.blueprints import BlueprintError
from integrations.blueprints.diff import describe_changes, diff_lines, format_blueprint
from integrations.installations import change
from integrations.installations import revisions as installations_revisions
from integrations.models import Installation, Revision
from tests.support.factories import make_installation, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def heap():
    return make_installation()


def edited(installation, **fields):
    """Return the installation's blueprint with its first action changed."""
    blueprint = copy.deepcopy(installation.revision.blueprint)
    blueprint["actions"][0] |= fields
    return blueprint


def test_each_save_is_a_new_revision_and_the_installation_follows_it(heap):
    ada = make_user("ada")
    off = edited(heap, enabled=False)
    saved = installations_revisions.save_revision(heap, off, by=ada, summary="No events for now.")
    assert (saved.number, saved.change_summary, saved.author) == (2, "No events for now.", "ada")
    assert Installation.objects.get(pk=heap.pk).revision == saved == heap.revision
    assert [each.number for each in heap.revisions.order_by("pk")] == [1, 2]
    assert heap.revisions.get(number=1).blueprint["actions"][0]["enabled"] is True


def test_a_save_without_a_summary_says_what_was_changed(heap):
    saved = installations_revisions.save_revision(heap, edited(heap, trigger="event = A"), by=None)
    assert saved.change_summary == "Action “Tracked events”: trigger changed."


def test_a_summary_too_long_for_its_column_is_cut(heap):
    saved = installations_revisions.save_revision(heap, edited(heap), by=None, summary="a" * 201)
    assert saved.change_summary == "a" * 199 + "…"


def test_what_is_wrong_is_said_at_once_and_nothing_is_saved(heap):
    wrong = edited(heap, trigger='evnt = "A"', kind="email", mapping={"a": {"@pth": "$.a"}})
    with pytest.raises(BlueprintError) as error:
        installations_revisions.save_revision(heap, wrong, by=None)
    assert [each.place for each in error.value.problems] == [
        "actions/0/trigger",
        "actions/0/kind",
        "actions/0/mapping/a",
    ]
    assert heap.revisions.count() == 1


def test_who_edited_an_older_revision_is_told_so(heap):
    installations_revisions.save_revision(heap, edited(heap), by=make_user("ada"), based_on=1)
    with pytest.raises(
        installations_revisions.OutdatedRevision, match="Revision 2 was saved by ada"
    ):
        installations_revisions.save_revision(heap, edited(heap), by=None, based_on=1)
    assert heap.revisions.count() == 2


def test_rolling_back_saves_the_old_blueprint_again(heap):
    first = heap.revision.blueprint
    installations_revisions.save_revision(heap, edited(heap, enabled=False), by=None)
    back = installations_revisions.roll_back(heap, 1, by=None)
    assert (back.number, back.change_summary) == (3, "Rolled back to revision 1.")
    assert back.blueprint == first
    assert Installation.objects.get(pk=heap.pk).revision == back


def test_a_mapping_keeps_the_order_of_its_keys(heap):
    mapping = {"zebra": 1, "a": {"@literal": {"long": 1, "b": 2}}, "nul": "\x00"}
    saved = installations_revisions.save_revision(heap, edited(heap, mapping=mapping), by=None)
    kept = Revision.objects.get(pk=saved.pk).blueprint["actions"][0]["mapping"]
    assert json.dumps(kept) == json.dumps(mapping)


def test_an_uninstalled_installation_gets_no_revision(heap):
    change.mark_uninstalled(heap, timezone.now())
    with pytest.raises(Installation.DoesNotExist):
        installations_revisions.roll_back(heap, 1, by=None)
    assert heap.revisions.count() == 1


def test_there_is_no_way_back_to_a_revision_that_never_was(heap):
    with pytest.raises(Revision.DoesNotExist):
        installations_revisions.roll_back(heap, 7, by=None)


def test_a_lane_that_stood_still_for_its_blueprint_goes_on(heap, monkeypatch):
    woken = []
    monkeypatch.setattr(wakeups, "wake_lanes", woken.extend)
    lane = Lane.objects.get(installation=heap)
    Lane.objects.update(paused=True, last_error="The blueprint cannot be used.")
    from django.test import TestCase

    with TestCase.captureOnCommitCallbacks(execute=True):
        installations_revisions.save_revision(heap, edited(heap), by=None)
    lane.refresh_from_db()
    assert not lane.paused
    assert woken == [lane.pk]


@pytest.mark.django_db(transaction=True)
def test_two_who_save_at_once_get_two_numbers():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite in memory has one connection")
    heap = make_installation()
    together, saved = Barrier(4), []

    def save():
        try:
            mine = Installation.objects.get(pk=heap.pk)
            together.wait()
            saved.append(installations_revisions.save_revision(mine, edited(mine), by=None).number)
        finally:
            connections.close_all()

    threads = [Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(saved) == [2, 3, 4, 5]
    assert Installation.objects.get(pk=heap.pk).revision.number == 5


# --- differences ---


def action(name, **fields):
    return {"name": name, "trigger": "type = track", "kind": "track", "mapping": {}, **fields}


def blueprint(*actions, **fields):
    return {"version": 1, "actions": list(actions), **fields}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ([action("A")], [action("A", enabled=True)], ["Nothing changed."]),
        ([action("A")], [action("A"), action("B")], ["Action “B” added."]),
        ([action("A"), action("B")], [action("B")], ["Action “A” removed."]),
        ([action("A", kind="link")], [action("B", kind="link")], ["Action “A” renamed to “B”."]),
        ([action("A"), action("B")], [action("B"), action("A")], ["Actions reordered."]),
        ([action("A")], [action("A", enabled=False)], ["Action “A” switched off."]),
        ([action("A", enabled=False)], [action("A")], ["Action “A” switched on."]),
        (
            [action("A"), action("A")],
            [action("A"), action("A", kind="link", mapping={"a": 1})],
            ["Action “A” (2): kind and mapping changed."],
        ),
    ],
)
def test_changes_are_told_in_sentences(old, new, said):
    assert describe_changes(blueprint(*old), blueprint(*new)) == said


def test_what_becomes_of_the_rest_is_told():
    assert describe_changes(blueprint(), blueprint(otherwise="pass")) == [
        "Otherwise changed to “pass”."
    ]


def test_the_difference_has_a_line_for_each_line_changed():
    lines = diff_lines(blueprint(action("A")), blueprint(action("A", kind="link")))
    assert [line for line in lines if line[0] in "-+"] == [
        '-      "kind": "track",',
        '+      "kind": "link",',
    ]


def test_the_order_of_keys_makes_no_difference():
    turned = {"actions": [dict(reversed(action("A").items()))], "version": 1}
    assert diff_lines(blueprint(action("A")), turned) == []
    assert format_blueprint(turned).startswith(
        '{\n  "version": 1,\n  "actions": [\n    {\n      "name"'
    )
