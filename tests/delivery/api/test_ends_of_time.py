"""Times at the ends of what Python and databases can hold, wherever a caller may give one."""

import json

import pytest

from integrations.models import Installation
from tests.support.factories import make_delivery, make_token, make_user

ENDS = [
    "0001-01-01T00:00:00Z",  # .NET's default
    "0001-01-01T00:00:00+14:00",
    "0001-01-01",
    "1899-12-30T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999-14:00",
    "9999-12-31",
    "-292277022-12-31",  # Java's Instant.MIN and Go's zero time in nanoseconds
    "292278994-08-17T07:12:55Z",
    "0000-00-00 00:00:00",  # MySQL's zero date
    "10000-01-01T00:00:00Z",
]
LISTS = ["deliveries", "events", "attempts", "rejections", "audit-log", "incidents", "replays"]


@pytest.fixture
def caller(db, client):
    make_delivery(state="delivered")
    user = make_user()
    client.force_login(user)
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {make_token(user)}"
    return client


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("side", ["since", "until"])
def test_a_list_takes_it_or_names_it(caller, side, end):
    for name in LISTS:
        for asked in ({side: end}, {"q": f"{side}:{end}"}):
            answer = caller.get(f"/v1/admin/{name}", asked)
            assert answer.status_code in (200, 422), (name, asked, answer.content)
            if answer.status_code == 422:
                assert asked.keys() <= answer.json()["error"]["fields"].keys()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("side", ["since", "until"])
def test_a_page_of_the_log_takes_it_or_names_it(caller, side, end):
    for name in ("delivery", "event"):
        page = caller.get(f"/admin/delivery/{name}/", {"q": f"{side}:{end}"})
        assert page.status_code == 200


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("side", ["since", "until"])
def test_a_replay_takes_it_or_names_it(caller, side, end):
    installation = Installation.objects.get().pk
    body = json.dumps({"installation": installation, "states": ["delivered"], side: end})
    answer = caller.post("/v1/admin/replays/preview", body, content_type="application/json")
    assert answer.status_code in (200, 422), answer.content
    if answer.status_code == 422:
        assert side in answer.json()["error"]["fields"]


def test_everything_lies_between_the_ends(caller):
    asked = {"since": "0001-01-01T00:00:00+14:00", "until": "9999-12-31T23:59:59-14:00"}
    assert len(caller.get("/v1/admin/deliveries", asked).json()["data"]) == 1
    swapped = {"q": f"since:{asked['until']}"}
    assert caller.get("/v1/admin/deliveries", swapped).json()["data"] == []
