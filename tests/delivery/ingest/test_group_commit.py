"""Group commit: concurrent work is done together, and no caller returns before it is done."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, OperationalError

from config import timeouts
from delivery.ingest import group_commit
from delivery.ingest.group_commit import GroupCommit
from tests.support.processes import eventually

SDKS_HANG_UP = 10  # seconds


class Work:
    """Records the work that it is given, and waits while a test holds it up."""

    def __init__(self):
        self.done, self.tries = [], 0
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.may_end.set()
        self.fails = {}  # by piece of work: the error it raises

    def __call__(self, brought):
        self.tries += 1
        self.begun.release()
        self.may_end.wait()
        for each in brought:
            if each in self.fails:
                raise self.fails[each]
        self.done.append(list(brought))


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def gather(work):
    return GroupCommit(work)


@pytest.fixture
def held(work, gather):
    """A group commit that works on "first", while "a", "b" and "c" wait in this order."""
    with ThreadPoolExecutor(8) as pool:
        work.may_end.clear()
        futures = {"first": pool.submit(gather.do, "first")}
        work.begun.acquire()
        for number, each in enumerate("abc", 1):
            futures[each] = pool.submit(gather.do, each)
            eventually(lambda number=number: len(gather.waiting) == number, 5.0)
        yield futures
        work.may_end.set()


def test_who_comes_alone_waits_for_nobody(work, gather):
    for each in "abc":
        gather.do(each)
    assert work.done == [["a"], ["b"], ["c"]]


def test_what_comes_meanwhile_is_done_together_in_order(work, held):
    work.may_end.set()
    for future in held.values():
        assert future.result(5) is None
    assert work.done == [["first"], ["a", "b", "c"]]


def test_who_was_in_company_waits_for_it(work, gather, monkeypatch):
    monkeypatch.setattr(group_commit, "LINGER_SECONDS", 5.0)
    gather.expected = 3
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(gather.do, "abc"))
    [together] = work.done
    assert sorted(together) == ["a", "b", "c"]


def test_company_that_does_not_come_is_not_waited_for_again(work, gather, monkeypatch):
    gather.expected = 3
    gather.do("a")
    monkeypatch.setattr(group_commit, "LINGER_SECONDS", 60.0)
    gather.do("b")
    assert work.done == [["a"], ["b"]]


def test_nobody_is_answered_before_it_is_done(work, held):
    assert not any(future.done() for future in held.values())
    assert work.done == []


def test_when_the_database_is_away_all_of_them_are_told_and_it_is_not_tried_for_each(work, held):
    work.fails = {"b": OperationalError("away")}
    work.may_end.set()
    assert held["first"].result(5) is None
    for each in "abc":
        assert isinstance(held[each].exception(5), OperationalError)
    assert work.done == [["first"]]
    assert work.tries == 2  # one for the first, and one for the three together


@pytest.mark.parametrize("error", [IntegrityError("twice"), KeyError("no such thing")])
def test_one_that_cannot_be_done_costs_the_others_nothing(work, held, error):
    work.fails = {"b": error}
    work.may_end.set()
    assert held["b"].exception(5) is error
    assert (held["a"].result(5), held["c"].result(5)) == (None, None)
    assert work.done == [["first"], ["a"], ["c"]]


def test_after_a_failure_it_goes_on(work, gather):
    work.fails = {"a": KeyError("no such thing")}
    with pytest.raises(KeyError):
        gather.do("a")
    gather.do("b")
    assert work.done == [["b"]]


def test_a_turn_that_is_cut_off_is_no_success(work, held):
    """After Ctrl-C, for example, it is unknown whether the work was done."""
    work.fails = {"a": SystemExit()}
    work.may_end.set()
    assert isinstance(held["a"].exception(5), SystemExit)
    for each in "bc":
        assert isinstance(held[each].exception(5), group_commit.LeaderFailed)


def test_who_waits_too_long_for_a_turn_goes_alone(work, gather, monkeypatch):
    monkeypatch.setattr(group_commit, "TURN_TIMEOUT_SECONDS", 0.05)
    with ThreadPoolExecutor(2) as pool:
        work.may_end.clear()
        futures = [pool.submit(gather.do, each) for each in ("first", "second")]
        for _ in futures:
            assert work.begun.acquire(timeout=60)  # both have begun, and neither has ended
        work.may_end.set()
        assert [future.result(60) for future in futures] == [None, None]
    assert sorted(work.done) == [["first"], ["second"]]
    assert gather.waiting == []


def test_waiting_for_a_turn_and_for_the_database_ends_before_sdks_hang_up():
    assert group_commit.TURN_TIMEOUT_SECONDS + timeouts.WEB_DATABASE_SECONDS < SDKS_HANG_UP


def test_many_threads_leave_nothing_undone(work, gather):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(gather.do, range(2_000)))
    assert sorted(each for group in work.done for each in group) == list(range(2_000))
    assert gather.waiting == []
    assert not gather.is_busy
