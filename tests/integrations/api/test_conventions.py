"""The conventions of all calls: errors, rate limit, ETag and If-Match, Idempotency-Key."""

import json
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from integrations.models import ApiToken, IdempotentCall
from tests.support.factories import make_token, make_user

pytestmark = pytest.mark.django_db

USERS, TOKENS = "/v1/admin/users", "/v1/admin/tokens"


@pytest.fixture
def bearer():
    return {"authorization": f"Bearer {make_token()}"}


def post(client, address, body, headers, key=None):
    text = body if isinstance(body, bytes) else json.dumps(body)
    with_key = {**headers, "idempotency-key": key} if key else headers
    return client.post(address, text, content_type="application/json", headers=with_key)


def code(answer):
    return answer.status_code, answer.json()["error"]["code"]


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"{broken", b"\xff", b"[" * 5_000, b'{"a": NaN}'],
)
def test_a_body_that_cannot_be_read_is_400(client, bearer, body):
    assert code(post(client, USERS, body, bearer)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"name": "\\ud800"}', "name"),
        (b'{"\\u0000": 1}', "?"),
        (b'{"scopes": ["a", "b\\u0000"]}', "scopes.1"),
        (b'"\\u0000"', "body"),
    ],
)
def test_a_text_that_no_database_stores_is_named(client, bearer, body, place):
    answer = post(client, TOKENS, body, bearer)
    assert code(answer) == (422, "VALIDATION_FAILED")
    assert set(answer.json()["error"]["fields"]) == {place}


# --- parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("GET", USERS),
        ("GET", "/v1/admin/metrics"),
        ("GET", "/v1/admin/auth/me"),
        ("GET", "/v1/admin/users/1"),
        ("POST", TOKENS),
        ("DELETE", "/v1/admin/tokens/1"),
    ],
)
def test_a_parameter_that_there_is_not_is_refused_by_name(client, bearer, method, address):
    answer = client.generic(method, f"{address}?colour=red", headers=bearer)
    assert code(answer) == (422, "VALIDATION_FAILED")
    assert set(answer.json()["error"]["fields"]) == {"colour"}


def test_metrics_are_no_list_and_take_no_page(client, bearer):
    answer = client.get("/v1/admin/metrics?limit=5&cursor=x", headers=bearer)
    assert set(answer.json()["error"]["fields"]) == {"limit", "cursor"}


def test_a_method_that_is_not_there_is_405_and_says_which_are(client, bearer):
    answer = client.put(USERS, headers=bearer)
    assert code(answer) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "GET, POST, HEAD, OPTIONS"


def test_no_answer_may_be_kept_by_a_cache(client, bearer):
    assert client.get(USERS, headers=bearer).headers["Cache-Control"] == "no-store"


# --- rate limit --------------------------------------------------------------------------------


def test_a_token_may_call_so_often_and_is_told_when_to_come_again(client, bearer, settings):
    settings.API_RATE_LIMIT = 3
    answers = [client.get(USERS, headers=bearer) for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert [each.headers["RateLimit-Remaining"] for each in answers] == ["2", "1", "0", "0"]
    assert {each.headers["RateLimit-Limit"] for each in answers} == {"3"}
    assert code(answers[-1]) == (429, "RATE_LIMITED")
    assert 15 <= int(answers[-1].headers["Retry-After"]) <= 20
    assert "3 calls a minute" in answers[-1].json()["error"]["message"]


def test_another_token_has_a_rate_of_its_own(client, bearer, settings):
    settings.API_RATE_LIMIT = 1
    other = {"authorization": f"Bearer {make_token(make_user('ada'), token='pst_ada')}"}
    assert [client.get(USERS, headers=each).status_code for each in (bearer, other, bearer)] == [
        200, 200, 429,
    ]  # fmt: skip


# --- If-Match ----------------------------------------------------------------------------------


@pytest.fixture
def user():
    return make_user("ada", role="source_viewer")


def change(client, user, bearer, tag, **fields):
    headers = {**bearer, "if-match": tag} if tag else bearer
    address = f"{USERS}/{user.pk}"
    return client.patch(
        address, json.dumps(fields), content_type="application/json", headers=headers
    )


def test_who_changes_what_somebody_else_changed_is_told_so(client, bearer, user):
    tag = client.get(f"{USERS}/{user.pk}", headers=bearer).headers["ETag"]
    first = change(client, user, bearer, tag, name="Ada")
    assert first.status_code == 200
    second = change(client, user, bearer, tag, name="Eve")
    assert code(second) == (412, "PRECONDITION_FAILED")
    user.refresh_from_db()
    assert user.first_name == "Ada"
    assert change(client, user, bearer, first.headers["ETag"], name="Eve").status_code == 200


def test_another_role_is_another_tag(client, bearer, user):
    tag = client.get(f"{USERS}/{user.pk}", headers=bearer).headers["ETag"]
    assert change(client, user, bearer, tag, role="source_editor").status_code == 200
    assert change(client, user, bearer, tag, role="source_admin").status_code == 412


@pytest.mark.parametrize("tag", [None, "*"])
def test_without_a_tag_the_last_one_wins(client, bearer, user, tag):
    assert change(client, user, bearer, tag, name="Ada").status_code == 200


def test_one_of_several_tags_is_enough_and_weak_ones_count(client, bearer, user):
    tag = client.get(f"{USERS}/{user.pk}", headers=bearer).headers["ETag"]
    assert change(client, user, bearer, f'"x", W/{tag}', name="Ada").status_code == 200
    assert change(client, user, bearer, '"nonsense"', name="Ada").status_code == 412


@pytest.mark.parametrize("tag", [" ", "nonsense", '"a" "b"', '"a",'])
def test_what_is_no_tag_is_named(client, bearer, user, tag):
    answer = change(client, user, bearer, tag, name="Ada")
    assert code(answer) == (422, "VALIDATION_FAILED")
    assert set(answer.json()["error"]["fields"]) == {"If-Match"}


# --- Idempotency-Key ---------------------------------------------------------------------------

BODY = {"name": "CI", "scopes": ["users:read"]}


def test_a_call_that_comes_again_is_answered_as_before_and_done_once(client, bearer):
    first, second = (post(client, TOKENS, BODY, bearer, key="one") for _ in range(2))
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert ApiToken.objects.filter(name="CI").count() == 1


def test_a_secret_in_the_answer_is_not_kept_in_the_clear(client, bearer):
    token = post(client, TOKENS, BODY, bearer, key="one").json()["token"]
    assert token not in str(IdempotentCall.objects.values())


def test_another_key_is_another_call(client, bearer):
    made = [post(client, TOKENS, BODY, bearer, key=key).json()["id"] for key in ("one", "two")]
    assert made[0] != made[1]


def test_another_callers_key_is_another_call(client, bearer):
    other = {"authorization": f"Bearer {make_token(make_user('eve'), token='pst_eve')}"}
    made = [post(client, TOKENS, BODY, each, key="one").json()["id"] for each in (bearer, other)]
    assert made[0] != made[1]


def test_a_key_is_for_one_body(client, bearer):
    post(client, TOKENS, BODY, bearer, key="one")
    answer = post(client, TOKENS, {**BODY, "name": "Other"}, bearer, key="one")
    assert code(answer) == (422, "IDEMPOTENCY_KEY_REUSED")


def test_what_failed_can_be_mended_and_sent_again(client, bearer):
    assert post(client, TOKENS, {"name": "CI"}, bearer, key="one").status_code == 422
    assert post(client, TOKENS, BODY, bearer, key="one").status_code == 201


def test_a_key_that_is_under_way_is_a_conflict(client, bearer):
    post(client, TOKENS, BODY, bearer, key="one")
    IdempotentCall.objects.update(status=None)
    assert code(post(client, TOKENS, BODY, bearer, key="one")) == (409, "IDEMPOTENCY_KEY_IN_USE")


def test_a_day_later_the_key_is_free(client, bearer):
    first = post(client, TOKENS, BODY, bearer, key="one").json()
    IdempotentCall.objects.update(at=timezone.now() - timedelta(hours=25))
    assert post(client, TOKENS, BODY, bearer, key="one").json()["id"] != first["id"]


@pytest.mark.parametrize("key", [" ", "a" * 256, "a b"])
def test_a_key_that_is_none_is_named(client, bearer, key):
    answer = post(client, TOKENS, BODY, bearer, key=key)
    assert code(answer) == (422, "VALIDATION_FAILED")


@pytest.mark.django_db(transaction=True)
def test_of_calls_at_once_with_one_key_one_is_done(client, bearer):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite in memory has one connection")
    answers = []

    def call():
        answers.append(post(client, TOKENS, BODY, bearer, key="one").status_code)
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {201, 409}
    assert ApiToken.objects.filter(name="CI").count() == 1
