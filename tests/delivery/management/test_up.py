"""`manage.py up`, with real processes and real signals."""

import http.client
import json
import re
import signal
import socket
import sqlite3
from contextlib import suppress
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
import pytest
from cryptography.fernet import Fernet

from delivery.operations.processes import living
from delivery.operations.supervisor import title
from tests.conftest import find_free_port
from tests.support.processes import RunningCommand, environment, eventually, manage

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def env(tmp_path):
    return environment(
        f"sqlite:///{tmp_path}/penstock.sqlite3",
        PENSTOCK_WEB_BIND=f"127.0.0.1:{find_free_port()}",
        PENSTOCK_SANDBOX_URL=f"http://127.0.0.1:{find_free_port()}",
        PENSTOCK_CLUSTER_WORKERS=2,
    )


def status(address: str, path: str) -> int:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def family(running: RunningCommand) -> list[psutil.Process]:
    return psutil.Process(running.process.pid).children(recursive=True)


def names(processes: list[psutil.Process]) -> str:
    return "\n".join(title(each) for each in alive(processes))


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return list(living(each.pid for each in processes))


def wait_until_whole(up: RunningCommand) -> None:
    """Wait for every process, because stopping a cluster that still starts may take 15 s."""
    up.wait_for("Penstock is ready")
    eventually(lambda: "pusher" in names(family(up)), 20.0)


def rows(env: dict[str, str]) -> list[list[tuple]]:
    with sqlite3.connect(env["DATABASE_URL"].removeprefix("sqlite:///")) as database:
        tables = ["auth_user", "integrations_source", "integrations_apitoken", "django_migrations"]
        found = [
            database.execute(f"select * from {table} order by id").fetchall() for table in tables
        ]
    database.close()
    return found


def test_it_starts_everything_and_ctrl_c_ends_it_without_a_trace(env):
    with RunningCommand(env, "up") as up:
        up.wait_for("Penstock is ready: http://" + env["PENSTOCK_WEB_BIND"])
        wait_until_whole(up)
        assert status(env["PENSTOCK_WEB_BIND"], "/admin/login/") == 200
        assert status(env["PENSTOCK_SANDBOX_URL"].removeprefix("http://"), "/_sandbox/") == 200
        processes = family(up)

        code = up.stop(signal.SIGINT)

        assert code == 0, up.output
        assert not alive(processes)
        assert up.output.endswith("Penstock has stopped.\n")
        assert "Traceback" not in up.output


def test_a_second_start_is_quick_and_changes_nothing(env):
    with RunningCommand(env, "up") as up:
        wait_until_whole(up)
        up.stop()
    before = rows(env)

    with RunningCommand(env, "up") as up:
        up.wait_for("Penstock is ready", seconds=10.0)
        wait_until_whole(up)
        up.stop()

    assert rows(env) == before
    assert "already exist" in up.output
    assert "Password" not in up.output


def test_what_dies_is_started_again(env):
    with RunningCommand(env, "up") as up:
        wait_until_whole(up)
        [web] = [p for p in family(up) if re.search("^granian .*:application$", names([p]))]

        web.kill()

        up.wait_for("[web] ended unexpectedly; restarting in 0 s.")
        eventually(lambda: up.output.count("Listening at") == 2, 10.0)
        assert up.stop() == 0


def test_killed_itself_it_leaves_nothing_behind(env):
    with RunningCommand(env, "up") as up:
        wait_until_whole(up)
        processes = family(up)

        up.stop(signal.SIGKILL)

        eventually(lambda: not alive(processes), 5.0)


@pytest.mark.parametrize("setting", ["PENSTOCK_WEB_BIND", "PENSTOCK_SANDBOX_URL"])
def test_a_port_in_use_is_named_with_its_setting_before_anything_starts(env, setting):
    port = int(env[setting].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), RunningCommand(env, "up") as up:
        assert up.process.wait(20) == 1
        up.reader.join()

    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use." in up.output
    assert setting in up.output
    assert "Traceback" not in up.output
    assert Path(env["DATABASE_URL"].removeprefix("sqlite:///")).stat().st_size == 0


def test_one_port_for_web_and_sandbox_is_named_before_anything_starts(env):
    with RunningCommand(
        {**env, "PENSTOCK_SANDBOX_URL": f"http://{env['PENSTOCK_WEB_BIND']}"}, "up"
    ) as up:
        assert up.process.wait(20) == 1
        up.reader.join()

    assert f"PENSTOCK_SANDBOX_URL are both {env['PENSTOCK_WEB_BIND']}." in up.output


def test_an_address_that_is_none_is_named_with_its_setting(env):
    with RunningCommand({**env, "PENSTOCK_WEB_BIND": "8084"}, "up") as up:
        assert up.process.wait(20) == 1
        up.reader.join()

    assert "PENSTOCK_WEB_BIND is '8084', which is not host:port" in up.output


SEAL_A_SECRET = """
from integrations.models import Source
source = Source.objects.get()
source.new_signing_secret()
source.save()
"""


def test_a_key_that_does_not_open_what_is_stored_stops_the_start_unless_allowed(env):
    manage(env, "migrate", "-v", "0")
    manage(env, "bootstrap")
    manage(env, "shell", "-v", "0", "-c", SEAL_A_SECRET)
    wrong = {**env, "PENSTOCK_SECRETS_KEYS": Fernet.generate_key().decode()}
    with RunningCommand(wrong, "up") as up:
        assert up.process.wait(60) == 1
        up.reader.join()
    assert "PENSTOCK_SECRETS_KEYS cannot open the secrets of source My source." in up.output
    assert "[web]" not in up.output
    with RunningCommand(wrong, "up", "--allow-unreadable-secrets") as up:
        wait_until_whole(up)
        up.stop()


def test_a_database_that_is_away_is_one_clear_line(env):
    away = {**env, "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"}
    with RunningCommand(away, "up") as up:
        assert up.process.wait(20) == 1
        up.reader.join()

    assert "The database of DATABASE_URL cannot be used" in up.output
    assert "Traceback" not in up.output


def test_without_a_local_sandbox_none_is_started(env):
    with RunningCommand({**env, "PENSTOCK_SANDBOX_URL": "https://sandbox.example"}, "up") as up:
        wait_until_whole(up)
        assert "manage.py sandbox" not in names(family(up))
        assert up.stop() == 0


def test_its_processes_count_together_and_log_json(env):
    env |= {"LOG_FORMAT": "json", "PENSTOCK_WRITE_KEY": "wk_of-this-test"}
    address = env["PENSTOCK_WEB_BIND"]
    with RunningCommand(env, "up") as up:
        wait_until_whole(up)
        before = samples(address)
        for number in range(20):
            send_message(address, number)
        eventually(lambda: status(address, "/readyz") == 200, 30.0)
        eventually(lambda: samples(address)["penstock_events_accepted_total"] == 20, 10.0)
        name = 'penstock_http_request_duration_seconds_count{endpoint="ingest",status="2xx"}'
        expected = before.get(name, 0.0) + 20
        eventually(lambda: samples(address).get(name, 0.0) >= expected, 10.0)
        for _ in range(8):  # by whichever process accepts the connection
            assert samples(address)[name] >= expected

        [web] = [p for p in family(up) if re.search("^granian .*:application$", names([p]))]
        for worker in web.children():
            worker.kill()
        eventually(lambda: is_up(address), 20.0)
        assert samples(address)[name] >= expected
        up.stop()

    lines = [json.loads(line) for line in up.output.splitlines()]
    assert {"timestamp", "level", "logger", "message"} <= set.intersection(*map(set, lines))
    assert "django-q" not in {line["logger"] for line in lines if line["level"] == "INFO"}


def is_up(address: str) -> bool:
    with suppress(OSError, http.client.HTTPException):
        return status(address, "/healthz") == 200
    return False


def samples(address: str) -> dict[str, float]:
    with urlopen(f"http://{address}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}


def send_message(address: str, number: int) -> None:
    body = {"event": "Seen", "userId": "ada", "messageId": f"m-{number}"}
    headers = {"X-Write-Key": "wk_of-this-test"}
    request = Request(f"http://{address}/v1/track", json.dumps(body).encode(), headers)
    urlopen(request, timeout=60).close()
