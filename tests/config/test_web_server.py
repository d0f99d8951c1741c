"""The web server as `manage.py up` starts it: slow clients, large bodies, chunks, streams."""

import gzip
import http.client
import json
import socket
import subprocess
import threading
import time
from contextlib import closing, contextmanager, suppress

import psutil
import pytest
from django.conf import settings as django_settings

from config import request_bodies
from delivery.management.commands import up
from tests.conftest import find_free_port
from tests.support import databases
from tests.support.processes import ROOT, environment, eventually, manage

WRITE_KEY = "wk_of-this-test"
TOKEN = "pst_of-this-test-0123456789"
KEY = {"X-Write-Key": WRITE_KEY}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
MESSAGE = b'{"type":"track","event":"Seen","userId":"ada","messageId":"m-1"}'
HEAD = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\nX-Write-Key: " + WRITE_KEY.encode()
INSTALL = """
from integrations.catalog import catalog
from integrations.installations.install import install
install(catalog()["heap"], name="Heap", config={"app_id": "1", "region": "us"})
"""


class Server:
    """A running web server; `process` is its main process."""

    def __init__(self, port, process, env):
        self.port = port
        self.process = process
        self.env = env

    def ask(self, method, path, body=None, headers=None, *, chunked=False):
        """Return the status, the headers and the body of the response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with closing(connection):
            connection.request(method, path, body, headers or {}, encode_chunked=chunked)
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def connect(self, data):
        wire = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        wire.sendall(data)
        return wire

    def exchange(self, data, *, end=False):
        """Send bytes; return all bytes that come back until the server closes the connection."""
        with self.connect(data) as wire:
            if end:
                wire.shutdown(socket.SHUT_WR)
            return read_all(wire)

    def megabytes(self):
        """Return the memory of all its processes."""
        main = psutil.Process(self.process.pid)
        return sum(each.memory_info().rss for each in main.children(recursive=True)) / 1e6

    def connections(self):
        """Return how many connections its workers hold."""
        workers = psutil.Process(self.process.pid).children(recursive=True)
        return sum(
            each.status == "ESTABLISHED" for one in workers for each in one.net_connections()
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    url = databases.new_sqlite(tmp_path_factory.mktemp("web"))
    with running(url, "tests.support.impatient_server:application") as server:
        yield server


@contextmanager
def running(url, application, **settings):
    env = environment(
        url,
        PENSTOCK_WRITE_KEY=WRITE_KEY,
        PENSTOCK_API_TOKEN=TOKEN,
        PENSTOCK_SANDBOX_URL="",
        **settings,
    )
    manage(env, "bootstrap")
    manage(env, "shell", "-v", "0", "-c", INSTALL)
    port = find_free_port()
    *command, _ = up.web_command(("127.0.0.1", port))
    log = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, application], cwd=ROOT, env=env, **log)
    try:
        eventually(lambda: up.is_responding(("127.0.0.1", port), "/healthz"), 20.0)
        # Granian does not stop if it is told to while one of its workers is still starting.
        eventually(lambda: started_workers(process.pid) == django_settings.WEB_WORKERS, 20.0)
        yield Server(port, process, env)
    finally:
        process.terminate()
        process.wait(60)


def started_workers(pid):
    """Return how many web processes have their threads for requests."""
    workers = psutil.Process(pid).children(recursive=True)
    return sum(each.num_threads() > django_settings.WEB_THREADS for each in workers)


def read_all(wire):
    return b"".join(iter(lambda: wire.recv(65_536), b""))


def chunks(*parts):
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


# --- slow clients --------------------------------------------------------------------------------


def test_unfinished_requests_do_not_stop_others_and_unfinished_bodies_end(server):
    unfinished = [
        b"POST /v1/track HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ",
        HEAD % (b"/v1/track", b"Content-Length: 1000") + b"{",
        HEAD % (b"/v1/track", b"Content-Length: 100000") + b"{",
        HEAD % (b"/v1/admin/auth/login", b"Content-Length: 1000") + b"{",
        HEAD % (b"/v1/track", CHUNKED) + b"400\r\n{",
    ]
    held = [server.connect(data) for data in unfinished for _ in range(100)]
    try:
        assert server.ask("GET", "/healthz")[0] == 200
        assert server.ask("POST", "/v1/track", MESSAGE, KEY)[0] == 200
        for number, wire in enumerate(held[100:]):
            status = b"408" if 200 <= number < 300 else b"503"  # SDKs send again after a 503
            assert wire.recv(65_536).startswith(b"HTTP/1.1 %s " % status)
            assert wire.recv(1) == b""  # closed
    finally:
        for wire in held:
            wire.close()


def test_a_body_that_arrives_byte_by_byte_ends_at_the_same_deadline(server):
    with server.connect(HEAD % (b"/v1/track", b"Content-Length: 1000")) as wire:
        wire.settimeout(0.2)
        started, answer = time.monotonic(), b""
        while not answer and time.monotonic() - started < 60:
            wire.sendall(b" ")
            try:
                answer = wire.recv(100)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 503 ")


def test_stopping_finishes_the_requests_in_flight(tmp_path):
    with running(databases.new_sqlite(tmp_path), "config.rsgi:application") as server:
        body = HEAD % (b"/v1/track", b"Content-Length: %d" % len(MESSAGE))
        with server.connect(
            body.replace(b"\r\n\r\n", b"\r\nX-Write-Key: wk_of-this-test\r\n\r\n")
        ) as wire:
            time.sleep(0.5)
            server.process.terminate()
            wire.sendall(MESSAGE)
            assert wire.recv(65_536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz", b"/metrics"])
def test_a_load_balancer_that_asks_for_the_head_only_gets_no_body(server, path):
    answer = server.exchange(b"HEAD %s HTTP/1.1\r\nHost: lb\r\nConnection: close\r\n\r\n" % path)
    assert answer.startswith(b"HTTP/1.1 503 " if path == b"/readyz" else b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")
    assert answer.count(b"\r\n\r\n") == 1


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "most"),
    [
        (b"/v1/batch", 5_000_000),
        (b"/v1/admin/installations", 2_000_000),
        (b"/admin/integrations/source/add/", 2_000_000),
        (b"/nowhere", 2_000_000),
        (b"/v1/admin/auth/login", 10_000),
        (b"/admin/login/", 10_000),
    ],
)
def test_a_body_over_the_limit_of_its_url_is_refused_before_it_is_read(server, path, most):
    head = HEAD % (path, b"Content-Length: %d" % (most + 1))
    with server.connect(head) as wire:
        answer = wire.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert f"larger than {most:,} bytes".encode() in answer
    assert not server.exchange(
        HEAD % (path, b"Connection: close\r\nContent-Length: %d" % most) + b" " * most
    ).startswith(b"HTTP/1.1 413 ")


def test_a_body_in_chunks_is_refused_when_it_passes_the_limit_and_is_held_no_longer(server):
    before, sent = server.megabytes(), 0
    # OSError: the server has closed the connection
    with server.connect(HEAD % (b"/v1/batch", CHUNKED)) as wire, suppress(OSError):
        while sent < 500:
            wire.sendall(chunks(b" " * 1_000_000))
            sent += 1
    assert sent < 50  # what the kernel's buffers hold
    assert server.megabytes() - before < 20  # of both processes together


def test_large_bodies_together_hold_a_bounded_number_of_bytes(server, monkeypatch):
    size = 4_999_999
    head = HEAD % (b"/v1/batch", b"Content-Length: 5000000")
    held = []
    try:
        for _ in range(2 * 2 * request_bodies.MAX_HELD_BYTES // size):
            held.append(server.connect(head))
            with suppress(ConnectionError):  # refused in the middle, if no more is held
                held[-1].sendall(b" " * size)
        assert server.megabytes() < 3 * 2 * request_bodies.MAX_HELD_BYTES / 1e6
        assert server.ask("POST", "/v1/track", MESSAGE, KEY)[0] == 200
    finally:
        for wire in held:
            wire.close()


# --- chunks --------------------------------------------------------------------------------------


def test_a_body_in_chunks_is_read_as_sdks_for_android_send_it(server):
    packed = gzip.compress(b'{"batch":[%s]}' % MESSAGE)
    headers = {**KEY, "Content-Encoding": "gzip", "Content-Type": "text/plain"}
    status, _, body = server.ask(
        "POST", "/v1/b", iter([packed[:20], packed[20:]]), headers, chunked=True
    )
    assert (status, json.loads(body)) == (200, {"success": True, "accepted": 1})


def test_a_change_sent_in_chunks_to_the_management_api_is_made(server):
    headers = {**BEARER, "Transfer-Encoding": "chunked"}
    status, _, body = server.ask(
        "PATCH",
        "/v1/admin/installations/1",
        iter([b'{"enabled":', b"false}"]),
        headers,
        chunked=True,
    )
    assert (status, json.loads(body)["enabled"]) == (200, False)


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        (b"/v1/batch", chunks(b'{"batch":[')),  # no last chunk
        (b"/v1/batch", chunks(b'{"batch":[') + b"zz\r\n"),
        (b"/v1/admin/installations", b""),
    ],
)
def test_an_unfinished_body_in_chunks_is_a_400(server, path, sent):
    answer = server.exchange(HEAD % (path, CHUNKED) + sent, end=True)
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_body_shorter_than_its_length_is_a_400_even_if_it_is_whole_json(server):
    for length in (len(MESSAGE) + 1, 100_000):
        head = HEAD % (b"/v1/track", b"Content-Length: %d" % length)
        assert server.exchange(head + MESSAGE, end=True).startswith(b"HTTP/1.1 400 ")


def test_a_form_in_chunks_needs_a_length(server):
    answer = server.exchange(
        HEAD % (b"/admin/login/", CHUNKED) + chunks(b"username=a") + b"0\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 411 ")


# --- headers, files and streams ------------------------------------------------------------------


def test_headers_reach_django_as_from_a_wsgi_server(server):
    get = (
        b"GET /v1/admin/installations HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\n%s\r\n\r\n"
    )
    assert b"\r\nx-request-id: abc\r\n" in server.exchange(get % b"X-Request-Id: abc")
    # It would pass for X-Request-Id, which a proxy may have removed.
    assert b"\r\nx-request-id: abc\r\n" not in server.exchange(get % b"X_Request_Id: abc")


def test_a_header_beyond_ascii_does_not_pass_for_absent(server):
    end = b"Content-Length: 2\r\nConnection: close\r\n%s: Gr\xc3\xbcn\r\n\r\n{}"
    signed = b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Signature: t=1,v1=a\r\n"
    answer = server.exchange(signed + end % b"X-Source")
    assert b"X-Source can hold only ASCII characters." in answer
    post = b"POST /v1/admin/sources HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
    answer = server.exchange(post + TOKEN.encode() + b"\r\n" + end % b"Idempotency-Key")
    assert b"Must be 1 to 255 visible ASCII characters." in answer


def test_a_static_file_is_sent_whole_and_in_ranges(server):
    path = "/static/penstock/log.js"
    status, headers, whole = server.ask("GET", path)
    assert (status, headers["Content-Length"]) == (200, str(len(whole)))
    assert whole == (ROOT / "delivery/static/penstock/log.js").read_bytes()
    status, _, part = server.ask("GET", path, headers={"Range": "bytes=10-19"})
    assert (status, part) == (206, whole[10:20])
    status, headers, none = server.ask("HEAD", path)
    assert (status, headers["Content-Length"], none) == (200, str(len(whole)), b"")


def test_a_stream_that_fails_is_not_taken_for_complete(server):
    with pytest.raises(http.client.HTTPException):
        server.ask("GET", "/failing-stream")


def test_readers_that_stall_do_not_stop_others_and_get_no_whole_response(server):
    get = b"GET /long-stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    before = server.megabytes()
    stalled = [server.connect(get) for _ in range(8)]
    try:
        assert server.ask("GET", "/healthz")[0] == 200
        _, _, rows = server.ask("GET", "/long-stream")
        assert rows.endswith(b"the last row")
        assert server.megabytes() - before < 100  # 8 whole responses are 152
        eventually(lambda: server.connections() == 0, 60.0)
        for wire in stalled:
            with suppress(ConnectionResetError):
                assert b"the last row" not in read_all(wire)
    finally:
        for wire in stalled:
            wire.close()


def test_many_logins_at_once_are_refused_and_ingest_goes_on(server):
    answers = []

    def log_in(number):
        body = json.dumps({"username": f"name-{number}", "password": "wrong"})
        answers.append(server.ask("POST", "/v1/admin/auth/login", body)[:2])

    threads = [threading.Thread(target=log_in, args=(number,)) for number in range(32)]
    for each in threads:
        each.start()
    while any(each.is_alive() for each in threads):
        assert server.ask("POST", "/v1/track", MESSAGE, KEY)[0] == 200
    refused = [headers for status, headers, *_ in answers if status == 429]
    assert refused
    assert all(int(each["Retry-After"]) >= 1 for each in refused)
