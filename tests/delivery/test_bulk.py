"""Bulk transactions: few messages to the database, all or nothing, and no silent failure."""

from contextlib import suppress

import pytest
from django.db import IntegrityError, OperationalError, connection, connections
from django.utils import timezone

from delivery import bulk
from delivery.models import Signature, Tally
from tests.conftest import TERMINATE_OTHER_SESSIONS

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ("text", "received_at")


def inserted(text, **how):
    return bulk.insert_statement(Signature, NAMES, [(text, timezone.now())], **how)


def stored():
    return list(Signature.objects.order_by("text").values_list("text", flat=True))


def test_what_is_done_and_what_is_read_is_committed_together():
    with bulk.transaction() as transaction:
        transaction.do(inserted("a"))
        first, second = transaction.rows(
            inserted("b", returning=("text",)),
            inserted("b", ignore_conflicts=True, returning=("id",)),
        )
        transaction.do(inserted("c"))
    assert (first, second) == ([("b",)], [])
    assert stored() == ["a", "b", "c"]


def test_what_comes_after_the_commit_gives_its_rows():
    with bulk.transaction() as transaction:
        transaction.do(inserted("a"))
        transaction.on_commit([inserted("b", returning=("text",)), inserted("c")])
    assert transaction.on_commit_rows == [[("b",)], []]
    assert stored() == ["a", "b", "c"]


def fails(error, act):
    """Run a transaction in which `act` does something; expect it to end in this error."""
    with pytest.raises(error):
        run(act)


def run(act):
    with bulk.transaction() as transaction:
        act(transaction)


def test_what_fails_after_the_commit_undoes_nothing_of_it():
    def act(transaction):
        transaction.do(inserted("a"))
        transaction.on_commit([inserted("a")])

    fails(IntegrityError, act)
    assert stored() == ["a"]


def test_a_statement_that_fails_at_the_end_undoes_all_and_the_next_transaction_is_well():
    def act(transaction):
        transaction.rows(inserted("a", returning=("id",)))
        transaction.do(inserted("b"))
        transaction.do(inserted("b"))

    fails(IntegrityError, act)
    assert stored() == []
    run(lambda transaction: transaction.do(inserted("d")))
    assert stored() == ["d"]


def test_what_the_commit_refuses_undoes_all():
    def act(transaction):
        transaction.do(inserted("a"))
        names = ("source_id", "at", "events", "unwanted")
        transaction.do(
            bulk.insert_statement(Tally, names, [(1, timezone.now(), 1, "{}")])
        )  # no such source

    fails(IntegrityError, act)
    assert stored() == []


def test_an_error_of_ours_undoes_all():
    def act(transaction):
        transaction.rows(inserted("a", returning=("id",)))
        raise KeyError("ours")

    fails(KeyError, act)
    assert stored() == []


@pytest.fixture
def postgresql():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite reports each failure at once")


def test_a_failure_that_somebody_overlooked_is_told_at_the_end(postgresql):
    """PostgreSQL rolls back on the COMMIT of a failed transaction and reports no error."""

    def act(transaction):
        transaction.do(inserted("a"))
        with suppress(IntegrityError):
            transaction.rows(inserted("b"), inserted("b"))

    fails(OperationalError, act)
    assert stored() == []


def test_a_connection_that_died_while_it_was_idle_is_replaced(postgresql, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "CONN_HEALTH_CHECKS", True)
    connection.health_check_enabled = True
    for moment in ("before", "after"):
        with bulk.transaction() as transaction:
            transaction.do(inserted(moment))
        connection.health_check_done = False  # as at the end of a request
        monkeypatch.setattr(bulk, "CONNECTION_TRUST_SECONDS", 0.0)
        end_this_session()
    assert stored() == ["after", "before"]


def end_this_session():
    other = connection.copy()
    connection.ensure_connection()
    with other.cursor() as cursor:
        cursor.execute(TERMINATE_OTHER_SESSIONS)
    other.close()
