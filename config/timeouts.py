"""How long we wait for what we stand on. SDKs wait 10 s for an answer; then they send again, and
after some of that they give up."""

from typing import Any

WEB_DATABASE_SECONDS = 6  # seconds that the web server waits for the database, or the answer is 503
BROKER_SECONDS = 5  # seconds; more than the one that django-q2 waits for a task on Redis


def database_options(database: dict[str, Any], seconds: int) -> dict[str, Any]:
    """Return the OPTIONS of a database with which nobody waits longer than that for it."""
    options = database.get("OPTIONS", {})
    if database["ENGINE"] == "django.db.backends.sqlite3":
        return {**options, "timeout": seconds}
    limits = f"-c lock_timeout={seconds}s -c statement_timeout={seconds}s"
    return {
        **options,
        "connect_timeout": seconds,
        "tcp_user_timeout": seconds * 1_000,  # ms, for a host that is cut off
        "options": f"{options.get('options', '')} {limits}".strip(),
    }


def redis_url(url: str) -> str:
    """Return the address of a Redis that is not waited for longer than BROKER."""
    sign = "&" if "?" in url else "?"
    return f"{url}{sign}socket_timeout={BROKER_SECONDS}&socket_connect_timeout={BROKER_SECONDS}"
