"""The search language of the log."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.log.search.language import (
    SEARCH_KEYS,
    SEARCH_STATES,
    SEARCH_TRIGGERS,
    Search,
    Term,
    parse_search,
    parse_time,
)
from delivery.models import Delivery

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("  ada  ", [("", "ada")]),
        ("user:ada state:failed", [("user", "ada"), ("state", "failed")]),
        ('event:"Order Completed"', [("event", "Order Completed")]),
        ('"a b" c', [("", "a b"), ("", "c")]),
        ('user:"say \\"hi\\" \\\\"', [("user", 'say "hi" \\')]),
        ("user:urn:x:1", [("user", "urn:x:1")]),
        ("auth0|64f", [("", "auth0|64f")]),
        ("STATE:Failed error:messagerejected", [("state", "failed"), ("error", "MessageRejected")]),
        ("status:503 status:4XX status:none", [("status", s) for s in ("503", "4xx", "none")]),
        ("since:2h until:2026-11-21T12:00Z", [("since", "2h"), ("until", "2026-11-21T12:00Z")]),
        ("user:ada user:ada", [("user", "ada")]),
        ("attempts:3 attempts:>=10", [("attempts", "3"), ("attempts", ">=10")]),
        ("delivery:007 request:5 replay:1", [("delivery", "7"), ("request", "5"), ("replay", "1")]),
    ],
)  # fmt: skip
def test_a_text_means_terms(text, terms):
    search = parse_search(text)
    assert [(term.key, term.value) for term in search.terms] == terms
    assert search.problems == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("usr:ada", "There is no search key usr. Did you mean user:?"),
        ("zzz:1", "There is no search key zzz. The keys are user, anon,"),
        ("user:", "user: needs a value, such as user:ada@example.com."),
        ('user:""', "user: needs a value of 1 to 300 characters."),
        ('event:"Order', "the closing quotation mark is missing"),
        ('a"b', "the closing quotation mark is missing"),
        ("12:30", "12:30 is not a valid term. To search for it as an id, put"),
        ("state:lost", "state:lost must be one of queued, delivered, filtered, failed, cancelled."),
        ("type:trak", "type:trak must be one of track, identify,"),
        ("status:5oo", "status:5oo is not a status; write a number such as 503, or 2xx,"),
        ("status:099", "is not a status"),
        ("since:yesterday", "since:yesterday is not a time; write 15m, 2h, 7d,"),
        ("since:1h since:2h", "since: can be used only once."),
        ("-stat:failed", "There is no search key -stat. Did you mean state:?"),
        ("-since:2h", "-since: cannot be negated; write until:2h."),
        ("attempts:many", "many is not a number of attempts; write 3, >3, >=3, <3 or <=3."),
        ("attempts:=>3", "is not a number of attempts"),
        ("trigger:me", "trigger:me must be one of auto, hand, replay, backfill."),
        ("trigger:test", "because a test event has attempts and no delivery."),
        ("delivery:12x", "delivery:12x is not a whole number"),
        (" ".join(f"user:{n}" for n in range(21)), "Use at most 20 terms."),
        ("user:" + "x" * 301, "user: needs a value of 1 to 300 characters."),
        ('"\x00"', "needs a value"),
    ],
)
def test_what_is_not_understood_is_said(text, said):
    [problem] = parse_search(text).problems
    assert said in problem


def test_the_rest_of_a_text_with_a_problem_is_kept():
    search = parse_search("user:ada stat:failed")
    assert search.terms == (Term("user", "ada"),)
    assert "Did you mean state:?" in search.problems[0]


def test_a_link_without_one_term_keeps_the_others():
    search = parse_search('user:ada event:"Signed Up" x')
    assert str(search.without(search.terms[1])) == "user:ada x"
    assert str(search.only("user", "grace")) == 'event:"Signed Up" x user:grace'
    assert str(search.only("user")) == 'event:"Signed Up" x'


def test_behind_a_minus_stands_what_must_not_hold():
    search = parse_search('state:failed -event:"Signed Up" -STATUS:4XX -ada')
    assert search.excluded_terms == [Term("event", "Signed Up", True), Term("status", "4xx", True)]
    assert search.values("event") == []
    assert search.values("") == ["-ada"]  # an id may begin with a minus
    assert str(search) == 'state:failed -event:"Signed Up" -status:4xx -ada'


texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), min_size=1)
terms = st.builds(
    Term,
    st.sampled_from(["", "user", "anon", "message", "event", "installation", "source"]),
    texts.filter(lambda text: text.strip() != ""),
    st.just(False),
)
excluded = st.builds(
    Term, st.sampled_from(["user", "event"]), texts.filter(str.strip), st.just(True)
)


@given(st.lists(terms | excluded, max_size=20, unique=True))
def test_a_search_written_out_is_understood_as_the_same(given):
    search = Search(tuple(given))
    assert parse_search(str(search)) == search


@given(st.text())
def test_any_text_is_understood_or_said_to_be_not(text):
    search = parse_search(text)
    assert search.terms or search.problems or not text.strip()


def test_its_states_and_triggers_are_those_of_deliveries():
    assert list(SEARCH_STATES) == Delivery.State.values
    assert list(SEARCH_TRIGGERS) == Delivery.Trigger.values


def test_every_key_understands_the_example_that_it_gives():
    for key in SEARCH_KEYS.values():
        assert parse_search(f"{key.name}:{key.help}").problems == (), key.name


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("15m", NOW - timedelta(minutes=15)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T10:00:00+02:00", datetime(2026, 11, 20, 8, tzinfo=UTC)),
    ],
)
def test_a_time_is_an_age_or_a_date(text, at):
    assert parse_time(text, NOW) == at
