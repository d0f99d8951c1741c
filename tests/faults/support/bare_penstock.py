"""A Penstock without web server and cluster: a database with events, bare workers, a raw vendor."""

import json
import sqlite3
import tempfile
from contextlib import closing
from typing import Any

import psycopg

from tests.faults.registry import Result
from tests.faults.support.bare_worker import BareWorker
from tests.support.processes import environment, manage

INSTALL_SCRIPT = """
from integrations.catalog import catalog
from integrations.installations.install import install
from integrations.models import Source
from delivery.lanes import routes
made = install(catalog()["heap"], name="Heap", config={"app_id": "1", "region": "sandbox"})
made.lane_count = LANES
made.save()
Source.objects.create(name="Faults")
routes.plan_routes()
"""
SEND_SCRIPT = """
import json
from pathlib import Path
from integrations.models import Source
from tests.delivery.worker.test_batch import send_in
batch = json.loads(Path("BATCH").read_text())
source = Source.objects.get(name="Faults")
for start in range(0, len(batch), 1_000):
    send_in(source, *batch[start : start + 1_000])
"""
STATES_SQL = """
SELECT e.message_id, d.state, d.reason, d.attempts
FROM delivery_delivery d JOIN delivery_event e ON e.id = d.event_id
"""


class BarePenstock:
    def __init__(self, url: str, vendor_url: str, *, lanes: int = 1, **settings: object):
        usual = {"PENSTOCK_SANDBOX_URL": vendor_url, "LOG_LEVEL": "ERROR"}
        self.env = environment(url, **usual | settings)
        self.shell(INSTALL_SCRIPT.replace("LANES", str(lanes)))

    def shell(self, script: str) -> str:
        return manage(self.env, "shell", "-v", "0", "-c", script)

    def send(self, *messages: dict[str, object]) -> None:
        # A file, because an argument is limited to 128 KB, too little for 2,000 messages.
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(messages, file)
            file.flush()
            self.shell(SEND_SCRIPT.replace("BATCH", file.name))

    def worker(self, name: str, **options: Any) -> BareWorker:
        return BareWorker(self.env, name, **options)

    def states(self) -> dict[str, tuple[str, str, int]]:
        """Return state, reason and attempts of each message."""
        return {key: tuple(each) for key, *each in self.read(STATES_SQL)}

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        """Return rows without a Django process, whose start takes a second."""
        url = self.env["DATABASE_URL"]
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20.0)) as database:
                return database.execute(sql).fetchall()
        with psycopg.connect(url) as connection:
            return connection.execute(sql).fetchall()

    def add_ledger_to(self, result: Result) -> None:
        book = json.loads(manage(self.env, "ledger", "--json"))
        assert book["closes"], book
        [line] = book["installations"]
        result.add(line)
        result.accepted += book["events"]["accepted"]
