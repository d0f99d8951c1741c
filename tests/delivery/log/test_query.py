"""Searches of the log: the deliveries that they find, and how much of the log they read."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from delivery.log.search import query
from delivery.log.search.language import parse_search
from delivery.log.search.names import resolve_names
from delivery.log.search.query import compile_search
from delivery.models import Replay, Replayed
from integrations.models import Installation, Source
from tests.support.factories import (
    make_attempt,
    make_delivery,
    make_event,
    make_installation,
    make_source,
)

pytestmark = pytest.mark.django_db


def page(text, **place):
    return compile_search(resolve_names(parse_search(text)), timezone.now()).page(
        **{"limit": 50, **place}
    )


def found(text):
    return page(text).rows


@pytest.fixture
def log():
    """Four deliveries that differ in everything a search can name, oldest first."""
    shop, app = make_source("Shop"), make_source("App")
    heap, eu = make_installation(name="Heap"), make_installation(name="Heap EU")
    now = timezone.now()
    ada = make_delivery(heap, make_event(shop, received_at=now - timedelta(days=3)))
    grace = make_delivery(
        eu,
        make_event(app, type="page", name="Home", user_id="grace", anonymous_id="visitor-7"),
        state="failed",
        error="MessageRejected",
        trigger="hand",
    )
    make_attempt(grace, status=404, outcome="MessageRejected")
    visitor = make_delivery(
        heap,
        make_event(app, name="Signed Up", user_id="", anonymous_id="visitor-7"),
        state="delivered",
    )
    make_attempt(visitor)
    alan = make_delivery(heap, make_event(shop, user_id="alan turing"), error="VendorUnavailable")
    make_attempt(alan, status=None, outcome="VendorUnavailable")
    return {"ada": ada, "grace": grace, "visitor": visitor, "alan": alan}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["alan", "visitor", "grace", "ada"]),
        ("ada", ["ada"]),
        ('"alan turing"', ["alan"]),
        ("visitor-7", ["visitor", "grace"]),
        ("ada grace", ["grace", "ada"]),
        ("user:grace", ["grace"]),
        ("anon:visitor-7", ["visitor", "grace"]),
        ("anon:visitor-7 user:grace", ["grace"]),
        ("user:visitor-7", []),
        ('event:"Signed Up"', ["visitor"]),
        ('event:"Signed Up" event:Home', ["visitor", "grace"]),
        ("event:page", ["grace"]),
        ("type:page", ["grace"]),
        ("state:failed", ["grace"]),
        ("state:queued", ["alan", "ada"]),
        ("state:delivered state:failed", ["visitor", "grace"]),
        ("state:cancelled", []),
        ("status:404", ["grace"]),
        ("status:4xx", ["grace"]),
        ("status:2xx status:404", ["visitor", "grace"]),
        ("status:none", ["alan"]),
        ("error:VendorUnavailable", ["alan"]),
        ('installation:"heap eu"', ["grace"]),
        ("installation:Heap", ["alan", "visitor", "ada"]),
        ('installation:Heap installation:"Heap EU"', ["alan", "visitor", "grace", "ada"]),
        ("installation:Heap state:failed", []),
        ("source:app", ["visitor", "grace"]),
        ("since:1d", ["alan", "visitor", "grace"]),
        ("until:1d", ["ada"]),
        ("source:shop state:queued since:1h", ["alan"]),
        ("user:grace status:2xx", []),
        ("event:Sign*", ["visitor"]),
        ("event:*", []),
        ("attempts:1", ["alan", "visitor", "grace"]),
        ("attempts:<1", ["ada"]),
        ("attempts:>1 attempts:<=0", ["ada"]),
        ("trigger:hand", ["grace"]),
        ("trigger:hand trigger:replay", ["grace"]),
        ("trigger:backfill", []),
        ("-trigger:auto", ["grace"]),
        ("-state:delivered", ["alan", "grace", "ada"]),
        ("-state:delivered -state:failed", ["alan", "ada"]),
        ("-status:404", ["alan", "visitor", "ada"]),
        ("-status:none", ["visitor", "grace", "ada"]),
        ("-user:ada -installation:Heap", ["grace"]),
        ("anon:visitor-7 -event:Home", ["visitor"]),
        ("-source:app -attempts:0", ["alan"]),
        ("-type:page -error:VendorUnavailable", ["visitor", "ada"]),
    ],
)  # fmt: skip
def test_terms_of_one_key_are_alternatives_and_of_different_keys_must_all_hold(log, text, names):
    assert found(text) == [log[name] for name in names]


def test_a_delivery_is_found_by_its_number_its_request_and_the_replay_that_queued_it(log):
    grace, visitor = log["grace"], log["visitor"]
    replay = Replay.objects.create(
        installation=grace.installation, wanted={}, first=0, cursor=0, end=log["alan"].pk
    )
    Replayed.objects.create(delivery=grace, replay=replay, state="failed")
    assert found(f"delivery:{visitor.pk}") == [visitor]
    assert found(f"delivery:{visitor.pk} delivery:{grace.pk}") == [visitor, grace]
    assert found(f"request:{visitor.carried.get().attempt_id}") == [visitor]
    assert found(f"replay:{replay.pk}") == [grace]
    assert grace not in found(f"-replay:{replay.pk}")
    assert len(found(f"-delivery:{grace.pk} -request:{visitor.carried.get().attempt_id}")) == 2
    assert found("delivery:999999") == found("request:999999") == found("replay:999999") == []


def test_a_message_id_is_found_with_and_without_its_key(log):
    message_id = log["visitor"].event.message_id
    assert found(f"message:{message_id}") == found(message_id) == [log["visitor"]]


def test_an_installation_is_given_by_its_id_too_and_then_named(log):
    pk = Installation.objects.get(name="Heap EU").pk
    search = resolve_names(parse_search(f"installation:{pk}"))
    assert str(search) == 'installation:"Heap EU"'


@pytest.mark.parametrize(
    "text", ["installation:nope", "source:nope", "installation:999999", "-installation:nope"]
)
def test_an_installation_or_source_that_is_not_there_is_a_problem_that_names_those_that_are(
    log, text
):
    search = resolve_names(parse_search(text))
    there = Source if text.startswith("source") else Installation
    assert all(each.name in search.problems[0] for each in there.objects.all())


def test_a_search_with_a_problem_finds_nothing_rather_than_something_else(log):
    assert found("user:ada stat:failed") == []


@pytest.mark.parametrize(
    "text", ["", "state:failed", "event:page", "user:ada", "state:failed user:ada"]
)
def test_pages_follow_each_other_without_gap_or_repetition(monkeypatch, text):
    monkeypatch.setattr(query, "SCAN_ROWS", 3)
    make_installation()
    everything = [
        make_delivery(event=make_event(type="page", name="Home"), state="failed").pk
        for _ in range(20)
    ][::-1]
    ids, before = [], None
    for _ in range(20):
        part = page(text, limit=2, before=before)
        ids += [row.pk for row in part.rows]
        if not part.has_older:
            break
        before = part.scanned_to or part.rows[-1].pk
    assert ids == everything


def test_pages_go_back_to_newer_ones_too():
    make_installation()
    ids = [make_delivery(state="failed").pk for _ in range(5)][::-1]
    newer = page("state:failed", limit=2, after=ids[4])
    assert ([row.pk for row in newer.rows], newer.has_newer) == ([ids[2], ids[3]], True)
    assert [row.pk for row in page("state:failed", limit=2, after=ids[1]).rows] == [ids[0]]


@pytest.mark.parametrize(
    "also",
    ["", "state:failed", "installation:Heap state:failed", "event:Home", "user:ada", "-status:503"],
)
@pytest.mark.parametrize("ages", [(70, 58, 62, 50), (70, 58, 63, 62, 61, 50)])
def test_a_time_is_that_of_the_event_to_the_second_whatever_else_is_asked(also, ages):
    make_installation(name="Heap")
    now, rows = timezone.now(), []
    for minutes in ages:  # the order of ids is nearly that of times
        event = make_event(received_at=now - timedelta(minutes=minutes), type="page", name="Home")
        rows.insert(0, (make_delivery(event=event, state="failed").pk, minutes))
    for times, youngest, oldest in (("since:1h", 0, 60), ("until:1h", 60, 99),
                                    ("since:65m until:55m", 55, 65)):  # fmt: skip
        within = [pk for pk, minutes in rows if youngest < minutes < oldest]
        assert [row.pk for row in found(f"{times} {also}")] == within, times


def test_nothing_is_found_in_an_empty_log():
    make_installation(name="Heap")
    nothing = compile_search(
        resolve_names(parse_search("installation:Heap event:Home state:failed")), timezone.now()
    )
    assert (
        nothing.page(limit=2).rows,
        list(nothing.newest_first()),
        nothing.count_within_scan(),
    ) == (
        [],
        [],
        (0, True),
    )


def test_what_a_backfill_made_long_after_its_event_is_found_by_the_events_time():
    now = timezone.now()
    old = make_event(received_at=now - timedelta(days=3))
    for hours in (2, 1):
        make_delivery(event=make_event(received_at=now - timedelta(hours=hours)))
    late = make_delivery(event=old, trigger="backfill")
    Replay.objects.create(
        installation=late.installation, kind="backfill", wanted={}, first=0, cursor=0, end=old.pk,
        first_delivery=late.pk, last_delivery=late.pk,
    )  # fmt: skip
    assert found("until:1d") == [late]
    assert late not in found("since:1d")


def test_a_page_that_is_not_full_says_how_far_back_it_looked(monkeypatch):
    monkeypatch.setattr(query, "SCAN_ROWS", 2)
    old = make_delivery(event=make_event(name="Rare"))
    rest = [make_delivery() for _ in range(8)]
    first = page("event:Rare")
    assert (first.rows, first.has_older) == ([], True)
    assert first.scanned_to == rest[2].pk
    assert page("event:Rare", before=first.scanned_to).rows == [old]


def test_a_look_reads_a_bounded_part_of_the_log(monkeypatch):
    monkeypatch.setattr(query, "SCAN_ROWS", 5)
    for _ in range(40):
        make_delivery()
    with CaptureQueriesContext(connection) as queries:
        page("event:Rare status:503")
    assert len(queries) <= 2 * query.MAX_SCANS
    assert all("OFFSET" not in each["sql"] for each in queries)


def test_of_a_person_with_very_many_events_the_newest_are_looked_at(monkeypatch):
    monkeypatch.setattr(query, "MAX_EVENTS_PER_ID", 3)
    ids = [make_delivery().pk for _ in range(5)]
    assert [row.pk for row in found("user:ada")] == ids[:1:-1]


def test_a_count_ends_at_its_bound(monkeypatch):
    monkeypatch.setattr(query, "SEARCH_COUNT_LIMIT", 3)
    for _ in range(6):
        make_delivery()
    assert compile_search(parse_search(""), timezone.now()).count() == 4


def test_a_name_that_was_not_looked_up_never_means_all():
    make_installation()
    with pytest.raises(ValueError, match="resolve_names"):
        compile_search(parse_search("installation:Heap"), timezone.now())
