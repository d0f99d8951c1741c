"""PostgreSQL and Redis of our own, to be killed: nobody else's is touched."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from functools import cached_property
from glob import glob
from pathlib import Path

import psycopg
import redis

from tests.conftest import a_free_port
from tests.live import eventually
from tests.services import Missing


class Servers:
    """Those that a run needs, each started when it is asked for first; use as a context manager."""

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self.__dict__.get("postgres"), self.__dict__.get("redis")):
            if server:
                server.close()

    @cached_property
    def postgres(self) -> "Postgres":
        return Postgres()

    @cached_property
    def redis(self) -> "Redis":
        return Redis()


class Postgres:
    """A PostgreSQL in a temporary folder, as it is configured by default: fsync is on.

    Raises Missing where there is no initdb.
    """

    def __init__(self) -> None:
        self.bin = _postgres_programs()
        self.port = a_free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-faults-"))
        self.data = self.folder / "data"
        self.user = _unprivileged()
        if self.user:
            shutil.chown(self.folder, self.user)
            self.folder.chmod(0o755)
        self._run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", str(self.data))
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        self._run(
            "pg_ctl", "start", "-w", "-D", str(self.data), "-o", options,
            "-l", str(self.folder / "log"),
        )  # fmt: skip

    def crash(self) -> None:
        """Stop at once, as after a loss of power; what is not in the log is gone."""
        self._run("pg_ctl", "stop", "-D", str(self.data), "-m", "immediate")

    def close(self) -> None:
        self._run("pg_ctl", "stop", "-D", str(self.data), "-m", "immediate", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, name: str = "postgres") -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/{name}"

    def new_database(self) -> str:
        name = f"faults_{secrets.token_hex(4)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, url: str = "") -> None:
        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def fetch(self, statement: str, url: str) -> list[tuple]:
        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    def dump(self, url: str) -> str:
        name = url.rpartition("/")[2]
        return self._run(
            "pg_dump", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", name
        ).stdout

    def _run(
        self, program: str, *arguments: str, check: bool = True
    ) -> subprocess.CompletedProcess:
        as_user = {"user": self.user, "extra_groups": []} if self.user else {}
        with tempfile.TemporaryFile("w+") as output:  # no pipe: the server would inherit it
            done = subprocess.run(
                [str(self.bin / program), *arguments],
                cwd=self.folder, stdout=output, stderr=subprocess.STDOUT, text=True, timeout=120,
                **as_user,
            )  # fmt: skip
            output.seek(0)
            done.stdout = output.read()
        assert done.returncode == 0 or not check, done.stdout
        return done


class Redis:
    """A Redis that keeps nothing on disk. Raises Missing where there is no redis-server."""

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if not program:
            raise Missing("no redis-server in PATH")
        self.program, self.port = program, a_free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0?socket_connect_timeout=3&socket_timeout=10"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        eventually(self.answers, 10.0, "Redis does not answer")

    def answers(self) -> bool:
        try:
            with redis.from_url(self.url) as server:
                return bool(server.ping())
        except redis.RedisError:
            return False

    def flush(self) -> None:
        with redis.from_url(self.url) as server:
            server.flushall()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()


def _postgres_programs() -> Path:
    """Return the folder of initdb and pg_ctl; Debian keeps them out of PATH."""
    packaged = sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True)
    for folder in [*packaged, *os.environ.get("PATH", "").split(":")]:
        if all((Path(folder) / name).exists() for name in ("initdb", "pg_ctl", "pg_dump")):
            return Path(folder)
    raise Missing("no initdb: PostgreSQL's server programs are not installed")


def _unprivileged() -> str:
    """Return the user to run PostgreSQL as, which refuses root; "" for ourselves."""
    return "postgres" if os.geteuid() == 0 else ""
