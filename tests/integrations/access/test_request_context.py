"""Every response and every log line has the id of its request."""

import logging

import pytest

from integrations.log_records import IdsFilter
from integrations.request_context import Caller, acting_as
from tests.support.factories import make_token

pytestmark = pytest.mark.django_db

ADDRESSES = ["/healthz", "/admin/login/", "/v1/admin/deliveries", "/nowhere", "/v1/nowhere"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_each_answer_has_an_id_of_its_own(client, address):
    first, second = client.get(address), client.get(address)
    assert len(first.headers["X-Request-Id"]) == 24
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]


@pytest.mark.parametrize("given", ["abc-1", "a" * 100, "01J:x/y+z="])
def test_an_id_that_the_caller_brings_is_kept(client, given):
    answer = client.get("/healthz", headers={"x-request-id": given})
    assert answer.headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "a" * 101, "a b", "<script>", "é", 'a"b'])
def test_one_that_is_not_well_formed_is_replaced(client, given):
    answer = client.get("/healthz", headers={"x-request-id": given})
    assert len(answer.headers["X-Request-Id"]) == 24


def line():
    record = logging.makeLogRecord({"msg": "Something."})
    assert IdsFilter().filter(record)
    return record.request_id


def test_a_log_line_has_the_id_of_the_request_that_it_is_about():
    with acting_as(Caller("abc-1")):
        assert line() == "abc-1"
    assert line() == "-"


def test_what_django_says_of_a_request_has_its_id_as_well(client, caplog):
    client.get("/v1/admin/deliveries", headers={"x-request-id": "abc-1"})
    [record] = [each for each in caplog.records if each.name == "django.request"]
    IdsFilter().filter(record)
    assert record.request_id == "abc-1"


def test_an_error_names_the_request(client):
    answer = client.get(
        "/v1/admin/deliveries/0",
        headers={"authorization": f"Bearer {make_token()}", "x-request-id": "abc-1"},
    )
    assert answer.json()["error"]["request_id"] == "abc-1"


def test_under_v1_what_no_view_answers_is_json(client):
    answer = client.get("/v1/admin/nowhere")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "NOT_FOUND"
    assert client.get("/nowhere").headers["Content-Type"].startswith("text/html")


def test_an_error_of_ours_is_json_without_a_traceback(client, monkeypatch):
    from delivery.api import deliveries as api_deliveries

    def broken(*args, **kwargs):
        raise RuntimeError("canary-5b1d9c")

    monkeypatch.setattr(api_deliveries, "serialize_page", broken)
    client.raise_request_exception = False
    headers = {"authorization": f"Bearer {make_token()}"}
    answer = client.get("/v1/admin/deliveries", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert answer.json()["error"]["request_id"] == answer.headers["X-Request-Id"]
    assert "canary" not in answer.content.decode()
