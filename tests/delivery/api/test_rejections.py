"""Rejections in the management API."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from delivery.models import Rejection
from tests.support.factories import make_source, make_token, make_user

LIST = "/v1/admin/rejections"

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client):
    bearer = {"authorization": f"Bearer {make_token()}"}

    def ask(query=""):
        answer = client.get(LIST + query, headers=bearer)
        return answer.status_code, answer.json()

    return ask


def refuse(source, number=0, **fields):
    text = f'{{"type": "track", "n": {number}}}'
    return Rejection.objects.create(
        source=source, reason="event: it is needed.", text=text, **fields
    )


def test_a_rejection_is_told_with_its_reason_and_what_was_sent(api):
    rejection = refuse(make_source())
    status, body = api()
    assert (status, body["has_more"], body["next_cursor"]) == (200, False, None)
    [told] = body["data"]
    assert told["id"] == rejection.pk
    assert told["source"] == {"id": rejection.source_id, "name": "Shop"}
    assert told["reason"] == "event: it is needed."
    assert told["message"] == {"type": "track", "n": 0}


def test_what_is_no_json_is_told_as_its_text(api):
    Rejection.objects.create(source=make_source(), reason="No JSON.", text='{"a')
    assert api()[1]["data"][0]["message"] == '{"a'


def test_pages_follow_one_another_newest_first(api):
    source = make_source()
    for n in range(5):
        refuse(source, n)
    seen, query = [], "?limit=2"
    while query:
        _, body = api(query)
        seen += [each["message"]["n"] for each in body["data"]]
        query = f"?limit=2&cursor={body['next_cursor']}" if body["has_more"] else ""
    assert seen == [4, 3, 2, 1, 0]


def test_source_and_time_can_be_asked_for(api):
    shop, app, now = make_source(), make_source("App"), timezone.now()
    refuse(shop, 1, received_at=now - timedelta(days=1))
    refuse(shop, 2)
    refuse(app, 3)

    def numbers(query):
        return [each["message"]["n"] for each in api(query)[1]["data"]]

    noon = (now - timedelta(hours=12)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert numbers(f"?source={shop.pk}") == [2, 1]
    assert numbers(f"?since={noon}") == [3, 2]
    assert numbers(f"?source={shop.pk}&until={noon}") == [1]


def test_a_wrong_filter_is_named(api):
    status, body = api("?source=shop&state=failed&limit=0")
    assert (status, set(body["error"]["fields"])) == (422, {"source", "state", "limit"})


def test_it_takes_a_token_and_the_permission_to_see_rejections(client):
    viewer = make_user("viewer", is_superuser=False)
    bearer = {"authorization": f"Bearer {make_token(viewer)}"}
    assert client.get(LIST).status_code == 401
    assert client.get(LIST, headers=bearer).status_code == 403
    viewer.user_permissions.add(Permission.objects.get(codename="view_rejection"))
    assert client.get(LIST, headers=bearer).status_code == 200
