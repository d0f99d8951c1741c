"""Settings that people's pages live by: the content security policy, and compression."""

import pytest

from tests.make import make_user


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
