"""While the database is away, the API and the pages ask for a retry, as ingest does."""

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError, connection
from django.test import Client

from tests.support.factories import make_token, make_user

CALLS = [
    ("GET", "/v1/admin/users"),
    ("POST", "/v1/admin/sources"),
    ("POST", "/v1/admin/auth/login"),
    ("GET", "/admin/"),
    ("GET", "/admin/delivery/delivery/"),
    ("POST", "/admin/login/"),
]


def ask(method, path, error):
    client = Client(raise_request_exception=False)
    client.force_login(make_user())
    headers = {"authorization": f"Bearer {make_token(make_user('ada'))}"}
    is_login = path.endswith(("/login", "/login/"))
    form = {"username": "ada", "password": "secret"} if is_login else {"name": "Shop"}
    body = {"data": form}
    if path.startswith("/v1/"):
        body["content_type"] = "application/json"

    def fail(*_):
        raise error

    with connection.execute_wrapper(fail):
        if method == "GET":
            return client.get(path, headers=headers)
        return client.post(path, headers=headers, **body)


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError("is away"), InterfaceError("is closed")])
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_caller_is_asked_to_retry(method, path, error):
    answer = ask(method, path, error)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    if path.startswith("/v1/"):
        assert answer.json()["error"]["code"] == "UNAVAILABLE"
    else:
        assert "database cannot be reached" in answer.content.decode()


@pytest.mark.django_db
def test_the_api_logs_why_in_one_line(caplog):
    ask("GET", "/v1/admin/users", OperationalError("is away"))
    assert "The database cannot be reached: is away" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_fault_of_the_code_is_still_a_500(method, path):
    assert ask(method, path, ProgrammingError("no such column")).status_code == 500
