"""Cookies are Secure over HTTPS and read in linear time; a wrong Host costs one log line."""

import io
import logging
import time

import pytest
from django.test import Client

from tests.support.factories import make_user

BACKSLASH = "\\"
PROXY, STRANGER = "10.0.0.7", "203.0.113.9"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "scheme", "secure"),
    [
        (PROXY, "https", True),
        (PROXY, "http", ""),
        (PROXY, None, ""),
        (STRANGER, "https", ""),
    ],
)
def test_cookies_are_secure_if_a_trusted_proxy_says_https(settings, address, scheme, secure):
    settings.TRUSTED_PROXIES = [PROXY]
    make_user("ada")
    client = Client(REMOTE_ADDR=address, headers={"x-forwarded-proto": scheme} if scheme else {})
    client.get("/admin/login/")
    client.post("/admin/login/", {"username": "ada", "password": "secret"})
    found = {name: cookie["secure"] for name, cookie in client.cookies.items()}
    assert found == {"csrftoken": secure, "sessionid": secure}


@pytest.mark.django_db
def test_cookies_are_secure_if_the_server_itself_has_tls(client):
    client.get("/admin/login/", secure=True)
    assert client.cookies["csrftoken"]["secure"] is True


@pytest.mark.django_db
def test_a_cookie_full_of_backslashes_takes_no_time_and_leaves_the_others(client):
    client.force_login(make_user("ada"))
    session = client.cookies["sessionid"].value
    cookies = f'a="{BACKSLASH * 60_000}"; sessionid={session}; b="{BACKSLASH}000"'
    started = time.process_time()
    response = Client().get("/admin/password_change/", headers={"cookie": cookies})
    assert response.status_code == 200
    assert time.process_time() - started < 1


@pytest.fixture
def log(monkeypatch):
    """What the configured handler writes."""
    [handler] = [each for each in logging.getLogger().handlers if each.name == "stderr"]
    monkeypatch.setattr(handler, "stream", io.StringIO())
    return handler.stream


@pytest.mark.parametrize("path", ["/v1/track", "/v1/admin/users", "/admin/"])
def test_a_wrong_host_is_one_line(client, log, path):
    assert client.get(path, headers={"host": "evil.example"}).status_code == 400
    [line] = log.getvalue().splitlines()
    assert "Invalid HTTP_HOST header: 'evil.example'" in line


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded; charset=utf-7", b"a=b"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 1_000 + b"\r\n--x--\r\n"),
    ],
    ids=["charset", "multipart"],
)
def test_a_form_that_cannot_be_read_is_refused_in_one_line(log, content_type, body):
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = "a" * 32
    response = client.post("/admin/logout/", body, content_type=content_type)
    assert response.status_code == 400
    [_] = log.getvalue().splitlines()


def test_another_error_keeps_its_traceback(log):
    try:
        raise ValueError("a fault")
    except ValueError:
        logging.getLogger("delivery").exception("Something failed.")
    assert "Traceback" in log.getvalue()
