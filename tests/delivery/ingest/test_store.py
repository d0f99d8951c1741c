"""Several requests in one transaction, each stored as if it were alone."""

from datetime import timedelta

import pytest
from django.utils import timezone

from delivery.ingest import store as ingest_store
from delivery.ingest.parsing import ParsedMessage
from delivery.ingest.store import IngestRequest
from delivery.models import Delivery, Event, EventBody, Rejection, Tally
from integrations.catalog import catalog
from integrations.installations.install import install
from tests.support.factories import make_source

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def message(message_id, user_id="ada"):
    return ParsedMessage(
        message_id=message_id,
        type="track",
        name="Seen",
        user_id=user_id,
        anonymous_id="",
        timestamp=NOW,
        text=f'{{"messageId":"{message_id}"}}',
    )


@pytest.fixture
def sources():
    install(catalog()["heap"], name="Heap", config={"app_id": "1"})
    return [make_source("Shop"), make_source("App")]


def store(*intakes):
    ingest_store._store_requests(
        [
            IngestRequest(source, messages, refused, now)
            for source, messages, refused, now in intakes
        ]
    )


def test_each_source_has_its_events_deliveries_and_tally(sources):
    shop, app = sources
    store((app, [message("1")], [], NOW), (shop, [message("1"), message("2")], [], NOW))
    assert set(Event.objects.values_list("source", "message_id")) == {
        (shop.pk, "1"), (shop.pk, "2"), (app.pk, "1"),
    }  # fmt: skip
    assert EventBody.objects.count() == Delivery.objects.count() == 3
    assert set(Tally.objects.values_list("source", "events")) == {(shop.pk, 2), (app.pk, 1)}


def test_of_two_requests_with_one_message_the_first_counts_with_its_time(sources):
    shop, _ = sources
    later = NOW + timedelta(milliseconds=5)
    store((shop, [message("1", "ada")], [], NOW), (shop, [message("1", "bob")], [], later))
    event = Event.objects.get()
    assert (event.user_id, event.received_at) == ("ada", NOW)
    assert Tally.objects.get().events == Delivery.objects.count() == 1


def test_they_are_numbered_in_the_order_in_which_they_came(sources):
    shop, _ = sources
    store(*((shop, [message(each)], [], NOW) for each in ("z", "a", "m")))
    assert list(Event.objects.order_by("pk").values_list("message_id", flat=True)) == [
        "z",
        "a",
        "m",
    ]


def test_what_was_refused_of_each_is_kept(sources):
    shop, app = sources
    store(
        (shop, [], [(0, "too deep", "[[\x00")], NOW), (app, [message("1")], [(1, "no", "{}")], NOW)
    )
    kept = set(Rejection.objects.values_list("source", "reason", "text"))
    assert kept == {(shop.pk, "too deep", "[[�"), (app.pk, "no", "{}")}
    assert Event.objects.count() == 1


def test_large_and_signed_requests_have_a_transaction_to_themselves(sources, monkeypatch):
    shared = []
    monkeypatch.setattr(ingest_store, "_group_commit", type("Shared", (), {"do": shared.append}))
    few, many = (
        [message("1")],
        [message(str(n)) for n in range(ingest_store.GROUP_COMMIT_MAX_MESSAGES + 1)],
    )
    ingest_store.store_messages(sources[0], few, [], now=NOW)
    ingest_store.store_messages(sources[0], few, [], now=NOW, signature="sha256=1")
    ingest_store.store_messages(sources[0], many, [], now=NOW)
    assert [intake.messages for intake in shared] == [few]
    assert Event.objects.count() == len(many)
