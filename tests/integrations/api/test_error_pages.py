"""Pages of errors: with the look of the admin where people come, and plain elsewhere."""

import pytest
from django.urls import reverse

from integrations.installations.change import mark_uninstalled
from tests.support.admin_pages import text_of
from tests.support.factories import make_installation, make_user

pytestmark = pytest.mark.django_db


def is_admin_page(answer):
    return "Back to Home" in answer.text and "penstock/penstock.css" in answer.text


def test_what_is_missing_in_the_admin_has_its_look(client):
    client.force_login(make_user())
    answer = client.get("/admin/nothing/here/")
    assert (answer.status_code, is_admin_page(answer)) == (404, True)
    assert "There is no such page" in text_of(answer.text)
    answer = client.get(reverse("admin:installation_settings", args=[99]))
    assert answer.status_code == 404
    assert "There is no installation 99." in text_of(answer.text)


def test_what_is_not_allowed_in_the_admin_says_why(client):
    client.force_login(make_user())
    heap = make_installation()
    mark_uninstalled(heap, heap.created_at)
    heap.refresh_from_db()
    answer = client.post(reverse("admin:installation_pause", args=[heap.pk]))
    assert (answer.status_code, is_admin_page(answer)) == (403, True)
    assert f"{heap} is uninstalled and can no longer be changed." in text_of(answer.text)


def test_robots_get_no_page_that_costs_queries(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = client.get("/wp-login.php")
    assert (answer.status_code, is_admin_page(answer)) == (404, False)


def test_a_fault_of_the_code_has_a_page_that_needs_nothing(client, monkeypatch):
    client.force_login(make_user())
    client.raise_request_exception = False
    monkeypatch.delattr("delivery.admin.home.home")
    answer = client.get("/admin/")
    assert answer.status_code == 500
    assert "Something went wrong in Penstock" in answer.text
