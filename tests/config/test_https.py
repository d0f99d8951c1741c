"""PENSTOCK_HTTPS=on, through a proxy that terminates TLS, and past it."""

import json
import re
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import pytest

from tests.config.test_web_server import BEARER, KEY, MESSAGE, running
from tests.support import databases
from tests.support.processes import ROOT, without_options
from tests.support.tls_proxy import tls_proxy

pytestmark = pytest.mark.xdist_group("https")  # one server

ON = {
    "PENSTOCK_HTTPS": "on",
    "PENSTOCK_TRUSTED_PROXIES": "127.0.0.1",
    "PENSTOCK_SESSION_HOURS": "1.5",
    "PENSTOCK_ADMIN_PASSWORD": "of-this-test",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    url = databases.new_sqlite(tmp_path_factory.mktemp("https"))
    with running(url, "config.rsgi:application", **ON) as server:
        yield server


@pytest.fixture
def secure(server, tmp_path):
    """A function that asks through the proxy, with the cookies of a browser; it returns headers."""
    context = ssl._create_unverified_context()  # noqa: S323  (the proxy is of this test)
    jar = urllib.request.HTTPCookieProcessor()
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), jar)
    with tls_proxy(server.port, tmp_path) as port:
        address = f"https://127.0.0.1:{port}"

        def ask(path, data=None, headers=None):
            request = urllib.request.Request(address + path, data, headers or {})  # noqa: S310
            with opener.open(request, timeout=60) as response:
                return response.headers, response.read().decode()

        ask.address, ask.cookies = address, jar.cookiejar
        yield ask


def test_the_deploy_check_has_nothing_to_say():
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT, env={**without_options(), **ON, "SECRET_KEY": "0123456789abcdef" * 4},
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_browser_logs_in_over_https_with_secure_cookies_that_end(secure):
    headers, page = secure("/admin/login/")
    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    token = re.search('name="csrfmiddlewaretoken" value="(.*?)"', page)[1]
    login = {"username": "admin", "password": "of-this-test", "csrfmiddlewaretoken": token}

    form = urllib.parse.urlencode({**login, "next": "/admin/password_change/"}).encode()
    _, page = secure("/admin/login/", form, {"Referer": f"{secure.address}/admin/login/"})
    assert "Old password" in page
    cookies = {each.name: each for each in secure.cookies}
    assert all(each.secure for each in cookies.values())
    assert cookies["sessionid"].expires - time.time() == pytest.approx(5_400, abs=120)


def test_programs_send_over_https(secure):
    _, body = secure("/v1/track", MESSAGE, KEY)
    assert json.loads(body)["success"] is True
    _, body = secure("/v1/admin/installations", headers=BEARER)
    assert "Heap" in body


@pytest.mark.parametrize("path", ["/", "/admin", "/admin/login/?a=b", "/v1/docs", "/static/a.js"])
def test_a_page_over_http_redirects_to_https(server, path):
    status, headers, _ = server.ask("GET", path)
    assert (status, headers["Location"]) == (301, f"https://127.0.0.1:{server.port}{path}")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/track"),
        ("POST", "/v1/b/"),
        ("POST", "/api/s/track"),
        ("GET", "/v1/pixel/track"),
        ("GET", "/v1/projects/wk/settings"),
        ("POST", "/v1/webhook"),
    ],
)
def test_ingest_over_http_is_refused_with_words(server, method, path):
    status, _, body = server.ask(method, path, MESSAGE, KEY)
    assert (status, json.loads(body)["code"]) == (403, "https_required")
    assert "Use https://" in json.loads(body)["message"]


def test_the_management_api_over_http_is_refused_in_its_own_format(server):
    status, _, body = server.ask("GET", "/v1/admin/installations", headers=BEARER)
    assert (status, json.loads(body)["error"]["code"]) == (403, "HTTPS_REQUIRED")


def test_a_health_check_needs_no_tls(server):
    assert server.ask("GET", "/healthz")[0] == 200


def test_only_a_trusted_proxy_can_say_that_a_request_came_over_https(settings, client):
    settings.HTTPS, settings.TRUSTED_PROXIES = True, ["10.0.0.7"]
    claim = {"x-forwarded-proto": "https"}
    for address, status in (("10.0.0.7", 401), ("10.0.0.8", 403)):
        sent = client.get("/v1/admin/users", headers=claim, REMOTE_ADDR=address)
        assert sent.status_code == status
