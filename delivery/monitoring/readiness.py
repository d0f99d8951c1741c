"""Checks whether Penstock can accept and deliver: the database, the cluster, the broker, the disk.

The answers are for strangers too, so they name neither hosts nor versions nor errors. The doctor
does (`delivery/operations/doctor.py`).
"""

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from functools import cache
from pathlib import Path

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from delivery.operations import system

Reasons = dict[str, str]  # of each component; "" when it is ready

CLUSTER_SILENT = timedelta(minutes=1)
CHECK_SECONDS = 1.5  # for which a probe waits for its checks

DATABASE_AWAY = "The database does not answer. Check that the server of DATABASE_URL is running."
MIGRATIONS_MISSING = "The database lacks migrations of this version. Run `manage.py migrate`."
NO_CLUSTER = "No cluster has been running for a minute, so nothing is delivered. Start one."
BROKER_AWAY = "The broker does not answer. Check that the server of BROKER_URL is running."
DISK_FULL = "The disk is nearly full. Free some space."
UNKNOWN = "Unknown: this is only checked while the database answers and has all migrations."


class SharedCheck:
    """Runs a check in a thread, so that a server that hangs does not make the probe hang.

    Concurrent probes share one run, and a run that hangs is not repeated until it has ended.
    """

    def __init__(self, check: Callable[[], Reasons], otherwise: Reasons):
        """otherwise  the reasons when the check takes too long"""
        self.check = check
        self.otherwise = otherwise
        self.lock = threading.Lock()
        self.running: Future[Reasons] | None = None

    def start(self) -> Future[Reasons]:
        with self.lock:
            if self.running is None or self.running.done():
                self.running = Future()
                threading.Thread(target=self._run, args=[self.running], daemon=True).start()
            return self.running

    def result(self, run: Future[Reasons], until: float) -> Reasons:
        """until  monotonic"""
        try:
            return run.result(max(until - time.monotonic(), 0.0))
        except TimeoutError:
            return self.otherwise

    def _run(self, run: Future[Reasons]) -> None:
        try:
            try:
                reasons = self.check()
            finally:
                connections.close_all()  # a new one each time, because others will need one too
        except Exception as error:  # the probe raises it
            run.set_exception(error)
        else:
            run.set_result(reasons)


def check_readiness() -> Reasons:
    """Return why each component is not ready, or "". Takes little longer than CHECK_SECONDS."""
    until = time.monotonic() + CHECK_SECONDS
    runs = [(each, each.start()) for each in (database_check, broker_check)]
    reasons = check_disk()
    for check, run in runs:
        reasons |= check.result(run, until)
    return reasons


def check_database() -> Reasons:
    """Check the database, then what can only be read from it."""
    reasons = {"database": "", "migrations": UNKNOWN, "cluster": UNKNOWN}
    try:
        applied = MigrationRecorder(connection).applied_migrations()
        missing = _newest_migrations() - applied.keys()
        reasons["migrations"] = MIGRATIONS_MISSING if missing else ""
        if not missing:
            reasons["cluster"] = "" if _has_cluster() else NO_CLUSTER
    except DatabaseError:
        return {**reasons, "database": DATABASE_AWAY}
    return reasons


@cache
def _newest_migrations() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


def _has_cluster() -> bool:
    now = timezone.now()
    clusters = system.list_clusters(system.read_heartbeats(), now)
    return any(now - each.at < CLUSTER_SILENT for each in clusters)


def check_broker() -> Reasons:
    return {"broker": BROKER_AWAY if system.get_broker_status().trouble else ""}


def check_disk() -> Reasons:
    folders = [Path(settings.VAR_DIR)]
    if connection.vendor == "sqlite":
        folders.append(Path(connection.settings_dict["NAME"]).parent)
    free = min(shutil.disk_usage(each).free for each in folders)
    return {"disk": "" if free >= settings.READY_FREE_MB * 1_000_000 else DISK_FULL}


database_check = SharedCheck(
    check_database, {"database": DATABASE_AWAY, "migrations": UNKNOWN, "cluster": UNKNOWN}
)
broker_check = SharedCheck(check_broker, {"broker": BROKER_AWAY})
