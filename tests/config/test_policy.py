"""The content security policy and compression of pages, and the fast path of ingest."""

import pytest
from django.urls import resolve

from delivery.ingest import urls
from tests.support.factories import make_user


@pytest.mark.django_db
def test_a_page_may_load_only_what_is_here_and_run_no_script_of_its_own(client):
    client.force_login(make_user())
    policy = client.get("/admin/")["Content-Security-Policy"].split("; ")
    assert "script-src 'self' 'unsafe-eval'" in policy
    assert "style-src 'self' 'unsafe-inline'" in policy
    assert "default-src 'self'" in policy
    assert not any("http" in each or "*" in each for each in policy)


@pytest.mark.django_db
def test_pages_are_compressed_and_answers_to_programs_have_neither_policy_nor_compression(client):
    client.force_login(make_user())
    assert client.get("/admin/", headers={"Accept-Encoding": "gzip"})["Content-Encoding"] == "gzip"
    answer = client.post("/v1/track", "{}", "application/json")
    assert "Content-Security-Policy" not in answer
    assert "Content-Encoding" not in answer


def test_what_sdks_send_goes_straight_to_its_view_and_lacks_nothing_it_needs(client):
    answer = client.post("/v1/m", b"{}", content_type="text/plain")
    assert answer.status_code == 200
    assert answer["Content-Length"] == str(len(answer.content))
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "X-Request-Id" in answer
    assert "X-Frame-Options" not in answer  # set only by the middleware of pages


def test_what_sdks_send_must_be_for_a_host_of_ours(client):
    answer = client.post("/v1/m", b"{}", content_type="text/plain", headers={"host": "elsewhere"})
    assert answer.status_code == 400


def test_every_address_for_sdks_without_a_variable_part_is_known():
    patterns = [each for each in urls.urlpatterns if "<" not in str(each.pattern)]
    assert urls.views_by_path.keys() == {f"/{each.pattern}" for each in patterns}
    for address, view in urls.views_by_path.items():
        found = resolve(address)
        assert (view.func, view.keywords) == (found.func, found.kwargs)
