"""A vendor's published limits: they hold, and cost nothing but time."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from delivery.models import Bucket, Delivery, Lane
from delivery.worker import attempt, drain, rate_limits
from integrations.catalog import catalog
from integrations.destination import Limit
from integrations.installations.install import install
from tests.delivery.worker.test_batch import keys, send_in, tracks

pytestmark = pytest.mark.django_db

LIMIT = Limit(name="60 a minute", endpoint="track", items=60, seconds=60, account="heap:1")
PERSONAL = replace(LIMIT, name="5 a minute for one user", items=5, per_person=True)
NOW = timezone.now()


def later(seconds):
    return NOW + timedelta(seconds=seconds)


def test_a_full_bucket_gives_all_at_once_and_then_as_time_passes():
    assert rate_limits.take_tokens(LIMIT, {"": 60}, NOW) == {}
    assert rate_limits.take_tokens(LIMIT, {"": 10}, NOW) == {"": pytest.approx(10)}
    assert rate_limits.take_tokens(LIMIT, {"": 10}, later(9)) == {"": pytest.approx(1)}
    assert rate_limits.take_tokens(LIMIT, {"": 10}, later(10)) == {}


def test_a_bucket_holds_no_more_than_the_limit_however_long_it_was_quiet():
    rate_limits.take_tokens(LIMIT, {"": 1}, NOW)
    assert rate_limits.take_tokens(LIMIT, {"": 60}, later(10_000)) == {}
    assert rate_limits.take_tokens(LIMIT, {"": 1}, later(10_000)) == {"": pytest.approx(1)}


def test_who_is_over_the_limit_waits_alone():
    assert rate_limits.take_tokens(PERSONAL, {"ada": 5, "bob": 1}, NOW) == {}
    assert rate_limits.take_tokens(PERSONAL, {"ada": 1, "bob": 1}, NOW) == {
        "ada": pytest.approx(12)
    }


def test_more_than_the_limit_ever_holds_goes_once_it_is_full():
    assert rate_limits.take_tokens(PERSONAL, {"ada": 8}, NOW) == {}
    assert rate_limits.take_tokens(PERSONAL, {"ada": 1}, NOW)["ada"] == pytest.approx(48)


def test_a_clock_set_back_gives_nothing_away():
    rate_limits.take_tokens(LIMIT, {"": 60}, NOW)
    assert rate_limits.take_tokens(LIMIT, {"": 1}, later(-3_600)) == {"": pytest.approx(1)}


def test_buckets_that_are_full_again_are_forgotten():
    rate_limits.take_tokens(LIMIT, {"": 60}, NOW)
    assert rate_limits.forget_full_buckets(later(60)) == 0
    assert rate_limits.forget_full_buckets(later(7_200)) == 1
    assert not Bucket.objects.exists()


# --- in a lane ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(drain, "IDLE_STAY", 0)
    monkeypatch.setattr(drain, "SHORT_WAIT", 0)
    yield
    attempt.shared_session().close()


def installed(monkeypatch, *kept, name="Heap"):
    limited = replace(catalog()["heap"], limits=lambda config: kept)
    monkeypatch.setitem(catalog(), "heap", limited)
    return install(limited, name=name, config={"app_id": "1"})


def test_the_lane_waits_when_the_limit_is_used_up_and_nothing_counts_as_failed(
    source, vendor, monkeypatch, settings
):
    settings.BATCH_SIZE = 40
    installed(monkeypatch, LIMIT)
    send_in(source, *tracks(100))
    drain.drain_lane(Lane.objects.get().pk)
    assert [len(each) for each in keys(vendor)] == [40]
    lane = Lane.objects.get()
    assert lane.failures == 0
    assert 15 < (lane.due_at - timezone.now()).total_seconds() < 21
    assert "60 a minute" in lane.last_error
    assert Delivery.objects.filter(state="queued", attempts=0).count() == 60


def test_installations_of_one_account_share_its_limit(source, vendor, monkeypatch):
    for name in ("One", "Two"):
        installed(monkeypatch, LIMIT, name=name)
    send_in(source, *tracks(40))
    for lane in Lane.objects.all():
        drain.drain_lane(lane.pk)
    assert [len(each) for each in keys(vendor)] == [40]


def test_a_user_over_the_limit_is_deferred_alone(source, vendor, monkeypatch):
    installed(monkeypatch, PERSONAL)
    send_in(source, *tracks(5))
    send_in(source, *tracks(3, userId="bob", messageId="of-bob"))
    drain.drain_lane(Lane.objects.get().pk)
    vendor.received.clear()
    more = [t | {"messageId": f"more-{n}-message"} for n, t in enumerate(tracks(2))]
    send_in(source, *more, *tracks(1, userId="bob", messageId="again-of-bob"))
    drain.drain_lane(Lane.objects.get().pk)
    assert keys(vendor) == [["again-of-bob"]]
    deferred = Delivery.objects.filter(state="queued")
    assert {d.event.user_id for d in deferred.select_related("event")} == {"ada"}
    assert all("5 a minute" in d.reason and d.due_at > timezone.now() for d in deferred)
    assert Lane.objects.get().due_at is None
    Bucket.objects.all().delete()  # later deliveries do not overtake deferred ones
    send_in(source, *tracks(1, messageId="even-later-message"))
    drain.drain_lane(Lane.objects.get().pk)
    assert keys(vendor) == [["again-of-bob"]]
    deferred.update(due_at=timezone.now())
    drain.drain_lane(Lane.objects.get().pk)
    assert keys(vendor)[1:] == [["more-0-message", "more-1-message", "even-later-message"]]
