"""Timeouts for the database and the broker.

SDKs wait 10 s for a response, then send again, and give up after a few retries.
"""

from typing import Any

from django.db import connections

WEB_DATABASE_SECONDS = 6  # seconds that the web server waits for the database before a 503
BROKER_SECONDS = 5  # seconds; must exceed the one second that django-q2 waits for a task on Redis


def limit_web_database() -> None:
    """Limit every wait for a database in this web process to WEB_DATABASE_SECONDS."""
    for database in connections.settings.values():
        database["OPTIONS"] = database_options(database, WEB_DATABASE_SECONDS)


def database_options(database: dict[str, Any], seconds: int) -> dict[str, Any]:
    """Return the database's OPTIONS with every wait limited to that many seconds."""
    options = database.get("OPTIONS", {})
    if database["ENGINE"] == "django.db.backends.sqlite3":
        return {**options, "timeout": seconds}
    limits = f"-c lock_timeout={seconds}s -c statement_timeout={seconds}s"
    return {
        **options,
        "connect_timeout": seconds,
        "tcp_user_timeout": seconds * 1_000,  # ms, for an unreachable host
        "options": f"{options.get('options', '')} {limits}".strip(),
    }


def redis_url(url: str) -> str:
    """Return the Redis URL with its waits limited to BROKER_SECONDS."""
    sign = "&" if "?" in url else "?"
    return f"{url}{sign}socket_timeout={BROKER_SECONDS}&socket_connect_timeout={BROKER_SECONDS}"
