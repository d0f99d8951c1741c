"""PostgreSQL and Redis servers of the suite's own, which it may kill."""

import shutil
import signal
import subprocess
from contextlib import ExitStack
from functools import cached_property

import psycopg
import redis

from tests.conftest import find_free_port
from tests.support.postgres import PostgresServer
from tests.support.processes import eventually
from tests.support.services import ServiceMissing, database_url_on


class Servers:
    """The servers of a run, each started on first use; use as a context manager."""

    def __init__(self) -> None:
        self.stack = ExitStack()

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    @cached_property
    def postgres(self) -> "Postgres":
        return self.stack.enter_context(Postgres())

    @cached_property
    def redis(self) -> "Redis":
        server = Redis()
        self.stack.callback(server.close)
        return server


class Postgres(PostgresServer):
    """One server with many databases."""

    def crash(self) -> None:
        """Stop at once, as in a power failure; anything not in the write-ahead log is lost."""
        self.stop("immediate")

    def new_database(self) -> str:
        url = database_url_on(self.url)
        self.execute(f"CREATE DATABASE {url.rpartition('/')[2]}")
        return url

    def execute(self, statement: str, url: str = "") -> None:
        with psycopg.connect(url or self.url, autocommit=True) as connection:
            connection.execute(statement)


class Redis:
    """A Redis that keeps nothing on disk. Raises ServiceMissing without a redis-server in PATH."""

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if not program:
            raise ServiceMissing("no redis-server in PATH")
        self.program, self.port = program, find_free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0?socket_connect_timeout=3&socket_timeout=10"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        eventually(self.answers, 10.0, "Redis does not respond")

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
