"""Reports the status of the system: processes, lanes, broker, database and retention."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.db.models import Count, Q
from django_q.brokers import get_broker

from delivery.models import Heartbeat, Lane
from delivery.operations.supervisor import HEARTBEAT, SWEEP_SILENCE

CLUSTER_SILENT_AFTER = 3 * HEARTBEAT  # a cluster writes one every HEARTBEAT
REPORTED_PACKAGES = ("Django", "django-q2", "granian", "django-unfold", "requests")


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """One `manage.py cluster`: its host, its pid and its last heartbeat."""

    host: str
    pid: str
    at: datetime
    is_alive: bool


@dataclass(frozen=True, slots=True)
class LaneCounts:
    total: int
    at_work: int
    waiting: int
    paused: int


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """The queue of wake-ups; `trouble` says why the broker is not reachable, or is ""."""

    name: str
    queued: int | None
    trouble: str


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """size  in bytes, or None if unknown"""

    name: str
    version: str
    size: int | None


@dataclass(frozen=True, slots=True)
class SystemStatus:
    clusters: Sequence[ClusterStatus]
    swept_at: datetime | None
    sweep_is_late: bool
    lanes: LaneCounts
    broker: BrokerStatus
    database: DatabaseInfo
    retention: Sequence[tuple[str, float]]
    versions: Sequence[tuple[str, str]]

    @property
    def trouble(self) -> str:
        """The most serious problem with its fix, or ""."""
        if not any(each.is_alive for each in self.clusters):
            return "No cluster is running: nothing is delivered. Start `manage.py cluster`."
        if self.broker.trouble:
            return f"The broker is not reachable: {self.broker.trouble}"
        if self.sweep_is_late:
            return "The sweep is late. Run `manage.py bootstrap` to restore its schedule."
        return ""


def get_system_status(now: datetime) -> SystemStatus:
    beats = read_heartbeats()
    swept_at = beats.get("sweep")
    return SystemStatus(
        clusters=list_clusters(beats, now),
        swept_at=swept_at,
        # No sweep yet means a fresh start; the supervisor enqueues one that does not come.
        sweep_is_late=swept_at is not None and now - swept_at > SWEEP_SILENCE,
        lanes=get_lane_counts(now),
        broker=get_broker_status(),
        database=get_database_info(),
        retention=_retention_days(),
        versions=[
            ("Python", platform.python_version()),
            *((p, version(p)) for p in REPORTED_PACKAGES),
        ],
    )


def read_heartbeats() -> dict[str, datetime]:
    return dict(Heartbeat.objects.values_list("name", "at"))


def list_clusters(beats: Mapping[str, datetime], now: datetime) -> list[ClusterStatus]:
    """Return the clusters among the heartbeats, living ones first."""
    clusters = [_cluster_status(name, at, now) for name, at in beats.items() if _is_cluster(name)]
    return sorted(clusters, key=lambda each: (not each.is_alive, each.host, each.pid))


def _is_cluster(name: str) -> bool:
    return name.startswith("cluster ")


def _cluster_status(name: str, at: datetime, now: datetime) -> ClusterStatus:
    holder = name.removeprefix("cluster ")
    place, pid, _ = holder.rsplit(":", 2)
    host, _, _ = place.partition("/")  # followed by the boot time and the PID namespace
    return ClusterStatus(host=host, pid=pid, at=at, is_alive=now - at < CLUSTER_SILENT_AFTER)


def get_lane_counts(now: datetime) -> LaneCounts:
    counts = Lane.objects.aggregate(
        total=Count("pk"),
        at_work=Count("pk", filter=Q(lease_until__gt=now)),
        waiting=Count("pk", filter=Q(due_at__gt=now)),
        paused=Count("pk", filter=Q(paused=True) | Q(installation__enabled=False)),
    )
    return LaneCounts(**counts)


def get_broker_status() -> BrokerStatus:
    name = "Redis" if settings.BROKER_URL else "the database"
    try:
        broker = get_broker()
        broker.ping()
        return BrokerStatus(name, broker.queue_size(), "")
    except Exception as error:  # noqa: BLE001  (any broker may fail in any way)
        return BrokerStatus(name, None, type(error).__name__)


def get_database_info() -> DatabaseInfo:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT current_setting('server_version'), pg_database_size(current_database())"
            )
            return DatabaseInfo("PostgreSQL", *cursor.fetchone())
        cursor.execute("SELECT sqlite_version()")
        (known,) = cursor.fetchone()
    name = str(connection.settings_dict["NAME"])
    files = [file for file in (Path(name), Path(f"{name}-wal")) if file.is_file()]
    return DatabaseInfo("SQLite", known, sum(f.stat().st_size for f in files) if files else None)


def _retention_days() -> list[tuple[str, float]]:
    return [
        ("Events and their bodies", settings.KEEP_EVENTS_DAYS),
        ("Deliveries", settings.KEEP_DELIVERIES_DAYS),
        ("Attempts", settings.KEEP_ATTEMPTS_DAYS),
        ("Request and response bodies", settings.KEEP_ATTEMPT_BODIES_DAYS),
    ]
