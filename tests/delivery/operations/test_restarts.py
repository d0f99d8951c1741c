"""Recorded restarts of clusters, and what doctor reports about them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from delivery.models import Heartbeat
from delivery.operations import doctor, restarts
from delivery.operations.system import get_system_status

pytestmark = pytest.mark.django_db


def happened(reason: str, ago: timedelta) -> None:
    restarts.record_restart(reason)
    newest = Heartbeat.objects.filter(name__endswith=reason).latest("at")
    Heartbeat.objects.filter(pk=newest.pk).update(at=timezone.now() - ago)


def found() -> doctor.CheckResult:
    [finding] = doctor._check_restarts()
    return finding


def test_the_newest_comes_first_and_the_same_reason_may_come_twice():
    for reason, minutes in (("b", 2), ("a", 3), ("b", 1)):
        happened(reason, timedelta(minutes=minutes))

    since = restarts.list_restarts_since(timezone.now() - timedelta(hours=1))

    assert [each.reason for each in since] == ["b", "b", "a"]


def test_a_reason_is_cut_where_there_is_no_room():
    restarts.record_restart("x" * 200)

    [restart] = restarts.list_restarts_since(timezone.now() - timedelta(hours=1))
    assert restart.reason == "x" * 83


def test_restarts_of_more_than_a_day_ago_are_deleted():
    Heartbeat.objects.create(name="sweep", at=timezone.now() - timedelta(days=9))
    happened("old", timedelta(hours=25))

    restarts.record_restart("last")

    since = restarts.list_restarts_since(timezone.now() - timedelta(days=30))
    assert [each.reason for each in since] == ["last"]
    assert Heartbeat.objects.filter(name="sweep").exists()


def test_only_the_newest_restarts_are_kept(monkeypatch):
    monkeypatch.setattr(restarts, "MAX_RESTARTS_KEPT", 2)
    for number in range(3):
        happened(f"number {number}", timedelta(minutes=10 - number))

    restarts.record_restart("last")

    since = restarts.list_restarts_since(timezone.now() - timedelta(days=30))
    assert [each.reason for each in since] == ["last", "number 2"]


def test_they_are_no_clusters():
    restarts.record_restart("gone: qcluster Process-1 idle (pid 11)")

    assert get_system_status(timezone.now()).clusters == []


def test_doctor_says_that_there_were_none():
    happened("old", timedelta(hours=25))

    assert found() == doctor.CheckResult("Restarts", "none in the last 24 hours")


def test_doctor_names_the_last_one_with_its_reason():
    happened("gone: qcluster Process-1 idle (pid 11)", timedelta(hours=3))
    happened("the database was unavailable", timedelta(minutes=30))

    assert found().message.startswith("2 in the last 24 hours, the last at ")
    assert found().message.endswith(" UTC: the database was unavailable")
    assert found().is_well


def test_three_within_an_hour_are_something_to_look_into():
    for minutes in (10, 20, 61):
        happened("only 2 of 5 processes were ready after 15 s", timedelta(minutes=minutes))
    assert found().is_well

    happened("only 2 of 5 processes were ready after 30 s", timedelta(minutes=40))

    assert "short of processor time" in found().fix
