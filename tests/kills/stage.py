"""A complete Penstock as `make run` starts it, with methods to send events, find and kill
processes, and count deliveries."""

import json
import re
import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from delivery.operations.processes import living
from delivery.operations.supervisor import title
from tests.conftest import find_free_port
from tests.support.processes import ROOT, RunningCommand, environment, eventually, manage

RECOVERY_SECONDS = 30.0  # seconds, as promised
SLOW_RESPONSE = {"delay_s": 1.0, "after": True, "times": 0}  # applied at once, with a late response
TOKEN = "pst_only-for-the-kill-tests"
WRITE_KEY = "wk_kills"
WORKERS = 3
INSTALL = {"name": "Heap", "config": {"app_id": "1234567890", "api_key": "canary"}}
ROLES = {
    "idle worker": r"^qcluster \S+ idle$",
    "worker": r"^qcluster \S+ (idle|processing .*)$",
    "monitor": r"^qcluster \S+ monitor$",
    "pusher": r"^qcluster \S+ pusher$",
    "watch": r"^(?!.*die_with_parent).*manage\.py cluster$",
}


class Stage:
    """A running Penstock; use as a context manager.

    config  of the installation of Heap that is made at the start; None for no installation
    root    folder of the sources
    options  of `manage.py up`
    """

    def __init__(
        self,
        database_url: str,
        *,
        token: str = TOKEN,
        config: Mapping[str, str] | None = INSTALL["config"],
        root: Path = ROOT,
        options: Sequence[str] = (),
        **settings: object,
    ):
        self.options = options
        self.token = token
        self.config = config
        self.root = root
        usual = {
            "PENSTOCK_API_TOKEN": token,
            "PENSTOCK_WRITE_KEY": WRITE_KEY,
            "PENSTOCK_WEB_BIND": f"127.0.0.1:{find_free_port()}",
            "PENSTOCK_SANDBOX_URL": f"http://127.0.0.1:{find_free_port()}",
            "PENSTOCK_CLUSTER_WORKERS": WORKERS,
        }
        # killed processes leave files behind
        self.folder = tempfile.TemporaryDirectory(prefix="stage-")
        self.env = environment(database_url, TMPDIR=self.folder.name, **usual | settings)
        self.web = requests.Session()
        self.sent: list[str] = []

    def __enter__(self) -> "Stage":
        self.up = RunningCommand(self.env, "up", *self.options, root=self.root)
        try:
            self.up.wait_for("Penstock is ready", 60.0)
            eventually(self.is_fully_running, 30.0, self.up.output)
            if self.config:
                self.install("Heap", self.config["app_id"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # Killing is faster than stopping, which test_up.py tests.
        self.web.close()
        with suppress(psutil.NoSuchProcess):
            family = self._all_processes()
            self.up.stop(signal.SIGKILL)
            # `living` does not count zombies
            eventually(lambda: not list(living(each.pid for each in family)), 20.0)
        self.folder.cleanup()

    def install(self, name: str, app_id: str = "") -> None:
        """Install Heap once more. The App ID is the name by default."""
        config = {**INSTALL["config"], **(self.config or {}), "app_id": app_id or name}
        body = INSTALL | {"name": name, "config": config}
        self._post("/v1/admin/integration-catalog/heap/install", body, self.token)

    # --- send and count ---

    def send(self, count: int, *, users: int = 1) -> None:
        """Send that many events in batches of 100, numbered in order for each user."""
        first = len(self.sent)
        batch = [make_event_message(number, users) for number in range(first, first + count)]
        for start in range(0, count, 100):
            self._post("/v1/batch", {"batch": batch[start : start + 100]}, WRITE_KEY)
        self.sent += [each["messageId"] for each in batch]

    def _post(self, path: str, body: object, key: str) -> None:
        answer = self.web.post(
            f"http://{self.env['PENSTOCK_WEB_BIND']}{path}",
            data=json.dumps(body),
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        )
        assert answer.ok, answer.text

    def send_one(self, number: int) -> None:
        self._post("/v1/batch", {"batch": [make_event_message(number, 1)]}, WRITE_KEY)

    def set_faults(self, *script: Mapping[str, object]) -> None:
        """Set the next responses of the sandbox."""
        self._sandbox("POST", "faults", json=script)

    def count_received(self) -> int:
        """Return how many events the sandbox holds."""
        return self._sandbox("GET", "state")["events"]

    def events_by_app(self) -> dict[str, int]:
        """Return how many events the sandbox holds for each App ID."""
        by_app = self._sandbox("GET", "state")["by_app"]
        return {app_id: each["events"] for app_id, each in by_app.items()}

    def events(self) -> Iterator[dict[str, Any]]:
        """Return the events that the sandbox holds, in order of arrival."""
        after = 0
        while after is not None:
            page = self._sandbox("GET", "events", params={"after": after, "limit": 10_000})
            yield from page["events"]
            after = page["next"]

    def count_repeats(self) -> int:
        """Return how often the sandbox received a message that it already had."""
        return sum(times - 1 for times in self._sandbox("GET", "keys").values())

    def _sandbox(self, method: str, page: str, **kwargs: Any) -> Any:
        url = f"{self.env['PENSTOCK_SANDBOX_URL']}/_sandbox/{page}"
        answer = requests.request(method, url, timeout=30, **kwargs)
        assert answer.ok, answer.text
        return answer.json()

    def has_queued(self) -> bool:
        """Return whether deliveries are queued. This is faster than the ledger, which takes a
        process."""
        url = f"http://{self.env['PENSTOCK_WEB_BIND']}/v1/admin/deliveries"
        options = {"params": {"state": "queued", "limit": 1}, "timeout": 30}
        answer = self.web.get(url, headers={"Authorization": f"Bearer {self.token}"}, **options)
        assert answer.ok, answer.text
        return bool(answer.json()["data"])

    def ledger_line(self) -> dict[str, int]:
        """Return the ledger line of the only installation. Fails if the ledger does not close."""
        [line] = self.ledger_lines().values()
        return line

    def ledger_lines(self) -> dict[str, dict[str, int]]:
        """Return the ledger line of each installation. Fails if the ledger does not close."""
        ledger = json.loads(manage(self.env, "ledger", "--json"))
        assert ledger["closes"], ledger
        return {line["installation"]: line for line in ledger["installations"]}

    # --- processes ---

    def find(self, role: str) -> list[psutil.Process]:
        """Return the processes of a role in the cluster."""
        if role == "busy worker":
            # Found by its connection, because its title says idle while its lane waits for a
            # response.
            return [p for p in self.find("worker") if self._talks_to_vendor(p)]
        if role in ROLES:
            return [p for p in self._all_processes() if re.search(ROLES[role], title(p))]
        mains = [p for p in self._all_processes() if title(p).startswith("qcluster MainProcess")]
        # The guard is a fork and child of the main process, with the same title.
        pids = {p.pid for p in mains}
        return [p for p in mains if (parent_pid(p) in pids) == (role == "guard")]

    def _talks_to_vendor(self, process: psutil.Process) -> bool:
        port = int(self.env["PENSTOCK_SANDBOX_URL"].rpartition(":")[2])
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:
            return False
        return any(c.raddr and c.raddr.port == port for c in connections)

    def _all_processes(self) -> list[psutil.Process]:
        everyone = psutil.Process(self.up.process.pid).children(recursive=True)
        return list(living(p.pid for p in everyone))

    def cluster(self) -> list[psutil.Process]:
        """Return all processes of the cluster: die_with_parent, `manage.py cluster`, the rest."""
        [watch] = self.find("watch")
        return [watch.parent(), watch, *watch.children(recursive=True)]

    def web_server(self) -> list[psutil.Process]:
        """Return all processes of the web server, die_with_parent first."""
        [leash] = [
            p
            for p in self._all_processes()
            if "granian" in (words := title(p)) and "die_with_parent" in words
        ]
        return [leash, *leash.children(recursive=True)]

    def is_fully_running(self) -> bool:
        """Return whether all parts of the cluster are running and all workers are idle."""
        roles = ["main", "guard", "monitor", "pusher"]
        workers = int(self.env["PENSTOCK_CLUSTER_WORKERS"])
        return len(self.find("idle worker")) == workers and all(self.find(role) for role in roles)


def kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # die_with_parent was faster
            process.kill()


def assert_all_arrived_once_and_in_order(stage: Stage) -> None:
    """Assert that the vendor has each message id exactly once, in the order of each user, and that
    the ledger accounts for each."""
    last: defaultdict[str, int] = defaultdict(lambda: -1)
    ids = []
    for each in stage.events():
        number = each["properties"]["number"]
        assert number > last[each["identity"]], f"{each['identity']} got {number} too late"
        last[each["identity"]] = number
        ids.append(each["idempotency_key"])
    assert sorted(ids) == sorted(stage.sent)
    account = stage.ledger_line()
    assert account["delivered"] == account["in_scope"] == len(stage.sent)


def parent_pid(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return process.ppid()
    return 0


def make_event_message(number: int, users: int) -> dict[str, object]:
    return {
        "type": "track",
        "event": "Step",
        "userId": f"user-{number % users}",
        "messageId": f"step-{number:06}",
        "properties": {"number": number},
    }
