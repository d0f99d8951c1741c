"""Incidents in the management API."""

from datetime import timedelta

import pytest
from django.utils import timezone

from delivery.models import Incident, Lane
from delivery.operations import alerts
from tests.support import factories

pytestmark = pytest.mark.django_db

INCIDENTS = "/v1/admin/incidents"


@pytest.fixture
def refused():
    """An installation whose vendor rejected the credentials, which opened an incident."""
    heap = factories.make_installation()
    Lane.objects.update(paused=True, last_error="HTTP 401")
    alerts.update_incidents(timezone.now() - timedelta(hours=1))
    return heap


def listed(api, **params):
    status, answer = api("GET", INCIDENTS, **params)
    assert status == 200, answer
    return [each["kind"] for each in answer["data"]]


def test_an_incident_tells_what_is_wrong_with_what_and_since_when(api, refused):
    [shown] = api("GET", INCIDENTS)[1]["data"]
    assert (shown["title"], shown["about"]) == ("Needs attention", "Heap")
    assert shown["subject"] == {"type": "installation", "id": refused.pk}
    assert "HTTP 401" in shown["text"]
    assert (shown["is_open"], shown["closed_at"], shown["mailed_at"]) == (True, None, None)
    assert api("GET", f"{INCIDENTS}/{shown['id']}") == (200, shown)


def test_what_is_over_is_listed_apart(api, refused):
    Lane.objects.update(paused=False)
    alerts.update_incidents(timezone.now())
    now = timezone.now()
    Incident.objects.create(
        kind="silent", about="All sources", text="Nothing.", opened_at=now, seen_at=now
    )
    assert listed(api) == ["silent", "attention"]
    assert listed(api, open="true") == ["silent"]
    assert listed(api, open="false") == ["attention"]
    assert listed(api, kind="late") == []
    middle = (now - timedelta(minutes=30)).isoformat()
    assert listed(api, since=middle) == ["silent"]
    assert listed(api, until=middle) == ["attention"]
    assert api("GET", INCIDENTS, open="true")[1]["data"][0]["subject"] is None


def test_they_are_paged(api):
    now = timezone.now()
    for kind in Incident.Kind.values:
        Incident.objects.create(kind=kind, about="Heap", opened_at=now, seen_at=now)
    status, first = api("GET", INCIDENTS, limit="3")
    assert (len(first["data"]), first["has_more"]) == (3, True)
    status, second = api("GET", INCIDENTS, limit="3", cursor=first["next_cursor"])
    assert (len(second["data"]), second["has_more"]) == (1, False)


def test_one_that_there_is_not_is_404(api):
    assert api("GET", f"{INCIDENTS}/7")[0] == 404
    assert api("GET", INCIDENTS, open="yes")[0] == 422


def test_a_test_alarm_says_by_which_way_it_was_told(api, settings):
    settings.ALARM_EMAILS, settings.ALARM_WEBHOOK_URL = [], ""
    assert api("POST", f"{INCIDENTS}/test") == (200, {"told": {}})
    settings.ALARM_EMAILS, settings.EMAIL_URL = ["ops@example.com"], "memory://"
    assert api("POST", f"{INCIDENTS}/test") == (200, {"told": {"mail": ""}})
