"""The formatting of states, figures and times in the admin."""

from datetime import UTC, datetime, timedelta

from delivery.status.status_text import StatusText
from integrations.formatting import ago, chip, exact, mark_times, sparkline
from integrations.humanize import timed_text
from integrations.models import Installation, Source
from integrations.templatetags.penstock import page_name, raw

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_a_chip_has_its_state_as_a_word_and_escapes_it():
    html = chip(StatusText("attention", "error", "<Failed>"))
    assert "ps-attention" in html
    assert "&lt;Failed&gt;" in html


def test_a_sparkline_is_as_high_as_its_highest_number_and_nothing_without_numbers():
    html = sparkline([0, 1, 2])
    assert 'd="M40.0 28.0h39.0v-14.0h-39.0zM80.0 28.0h39.0v-28.0h-39.0z"' in html
    assert sparkline([]) == sparkline([0, 0]) == ""


def test_times_are_written_in_utc_and_marked_for_the_viewers_zone():
    assert exact(NOON) == (
        '<time datetime="2026-11-21T12:00:00+00:00" data-exact>2026-11-21 12:00:00 UTC</time>'
    )
    assert 'title="2026-11-21 12:00:00 UTC" data-ago' in ago(NOON)
    assert exact(None) == ago(None) == "–"


def test_a_time_in_a_sentence_is_marked_too_and_the_rest_is_escaped():
    now = NOON + timedelta(days=8)  # both times end with the same text
    inner = timed_text("next attempt {at}", now, at=now)
    html = mark_times(timed_text("<b> since {since}; {inner}", now, since=NOON, inner=inner))
    assert f'&lt;b&gt; since <time datetime="{NOON.isoformat()}" data-clock>2026-11-21 12:' in html
    assert f'; next attempt <time datetime="{now.isoformat()}" data-clock>{now:%H:%M:%S}' in html


def test_a_time_that_a_vendor_wrote_is_not_marked():
    assert mark_times("HTTP 503 at 12:00:00 UTC") == "HTTP 503 at 12:00:00 UTC"


def test_models_are_called_as_in_the_navigation_and_objects_as_somebody_named_them():
    assert page_name(Installation._meta.verbose_name_plural) == "My Integrations"
    assert page_name(Source._meta.verbose_name_plural) == "Sources"
    assert page_name(Source(name="org_admin")) == "org_admin"
    assert page_name(Source(name="groups")) == "groups"


def test_json_is_offered_as_it_came_only_where_it_is_a_text_that_looks_otherwise():
    assert raw('{"total": 1.0}') == '{"total": 1.0}'
    assert raw({"total": 1.0}) == raw("{}") == raw("no JSON") == raw("") == ""
