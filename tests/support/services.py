"""Services and programs that tests may need: PostgreSQL, Redis, Chromium, Node, the SDKs.

A test is skipped if it needs one that is missing. With PENSTOCK_REQUIRE=postgres,redis,chromium it
fails instead. `python -m tests.support.services postgres` prints the address of a test database.
"""

import os
import secrets
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis

POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"
REDIS = "redis://127.0.0.1:6379/9"
SDKS = Path(__file__).resolve().parents[2] / "var" / "sdks"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class ServiceMissing(Exception):
    """The service is missing on this machine; the text says what was tried."""


def find_postgres() -> str:
    """Return the address of a server's `postgres` database. Raises ServiceMissing."""
    url = os.environ.get("TEST_POSTGRES_URL", POSTGRES)
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise ServiceMissing(f"no PostgreSQL at TEST_POSTGRES_URL ({reason})") from None
    return url


def find_initdb() -> str:
    """Return the path of PostgreSQL's initdb, beside its other programs. Raises ServiceMissing."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([*map(str, debian), os.environ["PATH"]])
    if found := shutil.which("initdb", path=path):
        return found
    raise ServiceMissing(
        "no PostgreSQL to start: initdb is neither in PATH nor in /usr/lib/postgresql"
    )


def find_redis() -> str:
    """Return the address of a Redis database that tests may write to. Raises ServiceMissing."""
    url = os.environ.get("TEST_REDIS_URL", REDIS)
    try:
        with redis.from_url(url, socket_connect_timeout=3) as server:
            server.ping()
    except redis.RedisError as error:
        raise ServiceMissing(f"no Redis at TEST_REDIS_URL ({error})") from None
    return url


def find_chromium() -> str:
    """Return the path of a Chromium. Raises ServiceMissing."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise ServiceMissing(f"no browser: none of {', '.join(BROWSERS)} is in PATH")


def find_node() -> str:
    """Return the path of Node. Raises ServiceMissing."""
    if path := shutil.which("node"):
        return path
    raise ServiceMissing("no Node: node is not in PATH")


def find_sdks() -> str:
    """Return the folder into which `make sdks` installed the SDKs. Raises ServiceMissing."""
    if (SDKS / "installed").exists():
        return str(SDKS)
    raise ServiceMissing("no SDKs: `make sdks` installs them (it needs npm)")


SERVICES = {
    "postgres": find_postgres,
    "initdb": find_initdb,
    "redis": find_redis,
    "chromium": find_chromium,
    "node": find_node,
    "sdks": find_sdks,
}


def is_required(name: str) -> bool:
    return name in os.environ.get("PENSTOCK_REQUIRE", "").split(",")


def database_url_on(server: str, name: str = "") -> str:
    """Return the address of another database on the server, by default a new name."""
    name = name or f"penstock_test_{secrets.token_hex(4)}"
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def main() -> int:
    try:
        # Commits need not survive a crash of that server, because no test crashes it.
        sys.stdout.write(
            f"{database_url_on(find_postgres())}?options=-c%20synchronous_commit%3Doff\n"
        )
    except ServiceMissing as missing:
        if is_required("postgres"):
            sys.stderr.write(f"PENSTOCK_REQUIRE names postgres, but there is {missing}\n")
            return 1
        sys.stderr.write(f"Database tests run on SQLite only: {missing}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
