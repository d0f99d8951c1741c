"""Secrets that must not appear in logs, pages, the API or a dump of the database."""

import re
import secrets
import subprocess
from contextlib import suppress
from urllib.parse import urljoin

import psycopg
import requests
from cryptography.fernet import Fernet

from tests.faults.registry import Result, RowContext, row
from tests.kills.stage import INSTALL, Stage
from tests.support.processes import eventually

LINK = re.compile(r'(?:href|action)="(/[^"#?]*)')
APIS = (
    "integration-catalog", "integrations", "installations", "deliveries", "rejections", "sources",
    "events", "attempts", "audit-log", "tokens", "nothing-of-that-name",
)  # fmt: skip


@row("19", "Secrets as canaries", short=1, full=1)
def canaries(context: RowContext, result: Result) -> None:
    """Seven secrets are in use during successful and refused deliveries, with a vendor that repeats
    one of them, and with a lost key. They are then searched for in a dump of the database, the
    logs, the API and the admin: in the first 150 pages that its links lead to, in the short form in
    the first 30."""
    pages = context.full_or_short(150, 30)
    kept = {
        name: f"canary-{name}-{secrets.token_hex(8)}"
        for name in ("api-key", "api-token", "admin-password", "secret-key", "database-password")
    }
    kept["first-fernet-key"], kept["second-fernet-key"] = (
        Fernet.generate_key().decode() for _ in range(2)
    )
    url = context.url().replace("postgres@", f"postgres:{kept['database-password']}@")
    settings = {
        "SECRET_KEY": kept["secret-key"], "PENSTOCK_API_TOKEN": kept["api-token"],
        "PENSTOCK_ADMIN_PASSWORD": kept["admin-password"],
        "PENSTOCK_SECRETS_KEYS": kept["first-fernet-key"],
    }  # fmt: skip
    config = {**INSTALL["config"], "api_key": kept["api-key"]}
    with Stage(url, token=kept["api-token"], config=config, **settings) as stage:
        stage.send(50)
        stage.set_faults({"status": 400, "times": 1, "body": f"you said {kept['api-key']}"})
        stage.send(1)
        eventually(lambda: not stage.has_queued(), 30.0)
        places = {"the log": stage.up.output, **collect_pages(stage, kept, pages)}
    rotated = settings | {"PENSTOCK_SECRETS_KEYS": kept["second-fernet-key"]}
    options = ["--allow-unreadable-secrets"]
    with Stage(url, token=kept["api-token"], config=None, options=options, **rotated) as stage:
        stage.send_one(51)
        eventually(lambda: "can decrypt these secrets" in read_lane_column(url, "last_error"), 30.0)
        places |= {
            f"{name}, key lost": text
            for name, text in collect_pages(stage, kept, pages // 3).items()
        }
        places["the log, key lost"] = stage.up.output
    places["the dump"] = dump_database(url)
    result.accepted = 52
    result.note = f"{len(kept)} secrets searched for in {len(places)} places"
    assert find_canaries(kept, places) == []


def find_canaries(kept: dict[str, str], places: dict[str, str]) -> list[str]:
    return [
        f"{name} in {where}"
        for where, text in places.items()
        for name, canary in kept.items()
        if canary in text
    ]


def collect_pages(stage: Stage, kept: dict[str, str], pages: int) -> dict[str, str]:
    """Return the responses of the API and the pages of the admin, by path."""
    base = f"http://{stage.env['PENSTOCK_WEB_BIND']}"
    places = {}
    with requests.Session() as web:
        web.headers["Authorization"] = f"Bearer {kept['api-token']}"
        for name in APIS:
            for path in (f"/v1/admin/{name}", f"/v1/admin/{name}/1"):
                places[path] = web.get(base + path, timeout=30).text
    with requests.Session() as web:
        login(web, base, kept["admin-password"])
        todo, done = ["/admin/"], set()
        while todo and len(done) < pages:
            path = todo.pop(0)
            if path in done or "logout" in path or path.startswith("/static"):
                continue
            done.add(path)
            answer = web.get(urljoin(base, path), timeout=30)
            places[path] = answer.text
            todo += LINK.findall(answer.text)
    assert len(done) > 5, "the links of the admin could not be followed"
    return places


def read_lane_column(url: str, column: str) -> str:
    with psycopg.connect(url) as connection:
        rows = connection.execute(f"SELECT {column} FROM delivery_lane").fetchall()
    return " ".join(str(value) for (value,) in rows)


def login(web: requests.Session, base: str, password: str) -> None:
    page = f"{base}/admin/login/"
    web.get(page, timeout=30)
    form = {
        "username": "admin", "password": password, "next": "/admin/",
        "csrfmiddlewaretoken": web.cookies["csrftoken"],
    }  # fmt: skip
    assert web.post(page, data=form, headers={"Referer": page}, timeout=30).ok


def dump_database(url: str) -> str:
    with suppress(FileNotFoundError):
        return subprocess.run(["pg_dump", url], capture_output=True, text=True, check=True).stdout
    return ""
