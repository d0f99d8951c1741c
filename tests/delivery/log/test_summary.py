"""The summary above a view of the log."""

import re
from datetime import timedelta
from urllib.parse import parse_qs

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from benchmarks.pages import UNBOUNDED
from delivery.accounting import record
from delivery.accounting.record import MetricCounts
from delivery.actions import installations
from delivery.admin.charts import trend_svg
from delivery.log import summary
from delivery.log.search.language import parse_search
from delivery.log.search.names import resolve_names
from delivery.log.search.query import compile_search
from delivery.log.summary import Bar
from delivery.models import Lane, Metric
from integrations.models import Source
from tests.support.factories import (
    make_attempt,
    make_delivery,
    make_event,
    make_installation,
    make_user,
)

pytestmark = pytest.mark.django_db

LOG = "/admin/delivery/delivery/"


def of(text, now=None):
    now = now or timezone.now()
    search = resolve_names(parse_search(text))
    return summary.summarize(search, compile_search(search, now), now)


def settled(installation, at, **numbers):
    record.append_settlement(
        installation.pk, {Source.objects.first().pk: MetricCounts(**numbers)}, at
    )


def failed(installation, reason, status=400):
    delivery = make_delivery(
        installation, make_event(), state="failed", error="MessageRejected", reason=reason
    )
    make_attempt(delivery, status=status, outcome="MessageRejected")
    return delivery


def test_a_view_of_an_installation_is_told_by_the_metrics_however_long_its_log():
    heap, eu = make_installation(name="Heap"), make_installation(name="Heap EU")
    make_delivery(heap)
    now = timezone.now()
    settled(heap, now - timedelta(minutes=5), delivered=7_000, failed=12, filtered=3)
    settled(eu, now - timedelta(minutes=5), delivered=50)
    settled(heap, now - timedelta(days=2), delivered=9)
    found = of("installation:Heap state:failed", now)
    assert (found.delivered, found.failed, found.filtered) == (7_000, 12, 3)
    assert (found.about, found.queued) == ("last 24 hours", "1")
    assert sum(bar.delivered for bar in found.bars) == 7_000
    assert of("", now).delivered == 7_050
    assert of("since:7d", now).about == "last 7 days"
    assert of("since:7d", now).delivered == 7_059


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("since:1h", Metric.Step.MINUTE),
        ("", Metric.Step.HOUR),
        ("since:60d", Metric.Step.DAY),
        ("since:2026-01-01T10:00Z until:2026-01-01T11:00Z", Metric.Step.DAY),
    ],
)
def test_bars_are_as_short_as_they_are_kept_and_few(text, step):
    make_delivery()
    first, second, *_ = [*of(text).bars, None]
    if second:
        assert (second.at - first.at).total_seconds() == step
    assert len(of(text).bars) <= 400


def test_any_other_view_adds_up_the_newest_that_match(monkeypatch):
    heap = make_installation()
    for _ in range(3):
        make_delivery(heap, make_event(user_id="grace"), state="delivered")
    failed(heap, "HTTP 400: no name")
    found = of("user:grace")
    assert (found.about, found.delivered, found.failed) == ("newest 3 matches", 3, 0)
    assert of("user:nobody") is None
    assert of("usr:grace") is None
    monkeypatch.setattr(summary, "SUMMARY_SAMPLE_ROWS", 2)
    assert of("user:grace").about == "newest 2 matches"


def test_any_other_view_says_since_when_the_oldest_waits_and_until_when_it_goes():
    heap, now = make_installation(), timezone.now()
    ages = [timedelta(hours=hours) for hours in (3, 2, 1)]
    for age, error in zip(ages, ("VendorFailed", "", "VendorFailed"), strict=True):
        event = make_event(user_id="grace", received_at=now - age)
        make_delivery(heap, event, error=error, queued_at=now - age)
    found = of("user:grace")
    assert (found.queued, found.oldest_queued_at) == ("3", now - ages[0])
    assert found.until == now - ages[-1]


def test_errors_that_are_alike_are_one_line_the_most_frequent_first():
    heap, eu = make_installation(name="Heap"), make_installation(name="Heap EU")
    failed(heap, "HTTP 413: too large", status=413)
    reasons = [failed(eu, f"HTTP 400: no name {n}") for n in range(3)]
    for text in ("", "user:ada"):
        most, other = of(text).groups
        assert (most.count, most.installation, most.status) == (3, "Heap EU", 400)
        assert (most.sample_delivery_id, most.reason) == (reasons[-1].pk, "HTTP 400: no name 2")
        times = [reasons[n].event.received_at for n in (0, -1)]
        assert [most.first_at, most.last_at] == times
        assert (other.count, other.status) == (1, 413)
    assert [group.status for group in of("installation:Heap").groups] == [413]


def test_who_stands_still_is_said_with_why_and_until_when():
    heap, eu = make_installation(name="Heap"), make_installation(name="Heap EU")
    make_delivery(heap)
    soon = timezone.now() + timedelta(minutes=5)
    Lane.objects.filter(installation=heap).update(due_at=soon, last_error="HTTP 503: busy")
    Lane.objects.filter(installation=eu).update(paused=True, last_error="HTTP 401")
    waiting, stopped = of("").stalled_installations
    assert (waiting.installation, waiting.error, waiting.due_at) == (heap, "HTTP 503: busy", soon)
    assert (stopped.installation, stopped.due_at) == (eu, None)
    assert [each.installation for each in of('installation:"Heap EU"').stalled_installations] == [
        eu
    ]
    installations.pause_installation(eu)
    assert [each.installation for each in of("").stalled_installations] == [heap]


def test_who_is_tried_again_stands_still_until_that_went_well(client):
    heap = make_installation(name="Heap")
    due_at = timezone.now() - timedelta(seconds=3)
    Lane.objects.update(due_at=due_at, failures=2, last_error="HTTP 503: busy")
    assert of("").stalled_installations == []  # nothing is queued, so nothing is retried
    make_delivery(heap)
    [waiting] = of("").stalled_installations
    assert (waiting.installation, waiting.retry_text) == (heap, "the next attempt is due")
    client.force_login(make_user())
    assert ", the next attempt is due</span>" in client.get(LOG).content.decode()
    Lane.objects.update(failures=0)
    assert of("").stalled_installations == []


def test_the_page_shows_it_with_links_that_narrow_the_search_down(client):
    client.force_login(make_user())
    eu = make_installation(name="Heap EU")
    newest = [failed(eu, "HTTP 400: no name") for _ in range(2)][-1]
    settled(eu, timezone.now(), delivered=5, failed=2)
    html = client.get(LOG, {"q": 'installation:"Heap EU"'}).content.decode()
    assert "Last 24 hours" in html
    assert 'aria-label="5 delivered, 2 failed, last 24 hours"' in html
    line = re.search(r'<li><a href="\?([^"]*)"><span class="ps-chip ps-attention">.*?</li>', html)
    wanted = {'installation:"Heap EU"', "state:failed", "status:400", "error:MessageRejected"}
    [search] = parse_qs(line[1])["q"]
    assert {str(term) for term in parse_search(search).terms} == wanted
    assert "2 failed" in line[0]
    assert f"{LOG}{newest.pk}/change/" in line[0]
    older = client.get(LOG, {"before": newest.pk + 1}).content.decode()
    assert "Last 24 hours" not in older


def test_it_costs_few_queries_and_counts_nothing_unbounded():
    make_delivery()
    for text in ("", "installation:Heap", "user:ada status:503"):
        with CaptureQueriesContext(connection) as queries:
            of(text)
        assert len(queries) <= 8, text
        for sql in (each["sql"] for each in queries):
            assert not UNBOUNDED.search(sql), text


def test_bars_are_drawn_to_the_height_of_the_highest():
    now = timezone.now()
    html = trend_svg([Bar(now, 3, 1, 0), Bar(now, 0, 0, 0), Bar(now, 1, 0, 1)])
    assert 'class="ps-well" d="M0.0 100.0h0.8v-75.0h-0.8zM2.0 100.0h0.8v-25.0h-0.8z"' in html
    assert 'class="ps-attention" d="M0.0 25.0h0.8v-25.0h-0.8z"' in html
    assert 'class="ps-off" d="M2.0 75.0h0.8v-25.0h-0.8z"' in html
    assert trend_svg([]) == trend_svg([Bar(now, 0, 0, 0)]) == ""
