"""Checks the whole installation and names the fix for each problem. Changes nothing."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core import checks
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Min
from django.utils import timezone

from delivery.lanes import wakeups
from delivery.models import Delivery, Incident
from delivery.operations import alerts, restarts, system
from delivery.operations.indexes import invalid_indexes, unapplied_migrations
from integrations.access.sealed_columns import find_unreadable

MAX_CLOCK_SKEW = timedelta(seconds=2)  # between our clock and the database's
LANE_STALLED_AFTER = timedelta(minutes=1)  # that due work may wait without a worker
STALL_RECHECK_SECONDS = 3.0  # the supervisor wakes such a lane every second
MANY_RESTARTS = 3  # within an hour; this many or more are a problem
MAX_NAMES_LISTED = 3

INCIDENT_FIXES = {
    Incident.Kind.ATTENTION: "Fix its settings in the admin, then press Resume on its page.",
    Incident.Kind.LATE: "See the vendor's response on its page. Nothing is lost while it waits.",
    Incident.Kind.FAILING: "Filter the log by this installation to see the errors by reason.",
    Incident.Kind.SILENT: "Check that the sender is running and its write key is still valid.",
}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check. A non-empty fix means that there is a problem."""

    subject: str
    message: str
    fix: str = ""

    @property
    def is_well(self) -> bool:
        return not self.fix


def examine() -> Iterator[CheckResult]:
    """Run every check. A check runs after those that it depends on, and only if they passed."""
    yield from _check_settings()
    database = _run_check("Database", _check_database)
    yield from database
    if not all(each.is_well for each in database):
        return
    yield from _run_check("Clock", _check_clock)
    yield from _run_check("Indexes", _check_indexes)
    migrations = _run_check("Migrations", _check_migrations)
    yield from migrations
    if all(each.is_well for each in migrations):
        for subject, check in CHECKS_AFTER_MIGRATIONS:
            yield from _run_check(subject, check)


def _run_check(subject: str, check: Callable[[], Iterator[CheckResult]]) -> list[CheckResult]:
    try:
        return list(check())
    except DatabaseError as error:
        message = f"not reachable: {str(error).strip().splitlines()[0]}"
        return [CheckResult(subject, message, "Check that the server of DATABASE_URL is running.")]


def _check_settings() -> Iterator[CheckResult]:
    found = [each for each in checks.run_checks() if each.level >= checks.WARNING]
    for each in found:
        yield CheckResult("Settings", str(each.msg), each.hint or "See `manage.py check`.")
    if not found:
        yield CheckResult("Settings", "no problems")


def _check_database() -> Iterator[CheckResult]:
    found = system.get_database_info()
    message = f"{found.name} {found.version}"
    oldest = connection.features.minimum_database_version
    if oldest and connection.get_database_version() < oldest:
        wanted = ".".join(map(str, oldest))
        yield CheckResult(
            "Database", message, f"Upgrade it: {wanted} is the oldest supported version."
        )
    else:
        yield CheckResult("Database", message)


def _check_clock() -> Iterator[CheckResult]:
    """Compare our clock with the database's, because leases and retries depend on it."""
    if connection.vendor != "postgresql":  # SQLite uses our clock
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        skew = timezone.now() - cursor.fetchone()[0]
    message = f"{skew.total_seconds():+.1f} s from the database's"
    yield CheckResult(
        "Clock", message, "Run NTP on both machines." if abs(skew) > MAX_CLOCK_SKEW else ""
    )


def _check_indexes() -> Iterator[CheckResult]:
    names = invalid_indexes()
    for name in names:
        message = f"the build of {name} was interrupted, so it is updated but never used"
        yield CheckResult("Indexes", message, "manage.py doctor --rebuild-indexes")
    if not names:
        yield CheckResult("Indexes", "all valid")


def _check_migrations() -> Iterator[CheckResult]:
    if missing := unapplied_migrations():
        message = f"{len(missing)} not applied: {_join_names(missing)}"
        yield CheckResult("Migrations", message, "manage.py migrate")
    elif unknown := _unknown_migrations():
        fix = "Run the version of Penstock that applied them, or a newer one."
        yield CheckResult("Migrations", f"applied by a newer version: {_join_names(unknown)}", fix)
    else:
        yield CheckResult("Migrations", "all applied")


def _join_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES_LISTED} more" if len(names) > MAX_NAMES_LISTED else ""
    return ", ".join(names[:MAX_NAMES_LISTED]) + more


def _unknown_migrations() -> list[str]:
    loader = MigrationExecutor(connection).loader
    ours = {label for label, _ in loader.disk_migrations}
    known = {*loader.disk_migrations, *loader.replacements}
    return sorted(
        f"{app}.{name}"
        for app, name in loader.applied_migrations
        if app in ours and (app, name) not in known
    )


def _check_secrets() -> Iterator[CheckResult]:
    if unreadable := find_unreadable():
        message = f"{len(unreadable):,} cannot be decrypted: {_join_names(unreadable)}"
        fix = (
            "Put the key that encrypted them back into PENSTOCK_SECRETS_KEYS, or enter the "
            "secrets again."
        )
        yield CheckResult("Secrets", message, fix)
    else:
        yield CheckResult("Secrets", "all can be decrypted")


def _check_cluster() -> Iterator[CheckResult]:
    found = system.get_system_status(timezone.now())
    alive = [each for each in found.clusters if each.is_alive]
    if alive:
        places = ", ".join(f"{each.host} (pid {each.pid})" for each in alive)
        yield CheckResult("Cluster", f"{len(alive)} running: {places}")
    else:
        yield CheckResult(
            "Cluster", "none running, so nothing is delivered", "Start `manage.py cluster`."
        )
    if found.broker.trouble:
        fix = "Check that the server of BROKER_URL is running."
        yield CheckResult("Broker", f"{found.broker.name}: {found.broker.trouble}", fix)
    else:
        yield CheckResult("Broker", f"{found.broker.name}, {found.broker.queued} tasks queued")
    if alive and found.sweep_is_late:
        yield CheckResult("Sweep", "late", "Run `manage.py bootstrap` to restore its schedule.")


def _check_restarts() -> Iterator[CheckResult]:
    now = timezone.now()
    recent = restarts.list_restarts_since(now - restarts.RESTARTS_KEPT_FOR)
    if not recent:
        yield CheckResult("Restarts", "none in the last 24 hours")
        return
    last = recent[0]
    message = (
        f"{len(recent)} in the last 24 hours, the last at {last.at:%Y-%m-%d %H:%M:%S} UTC: "
        f"{last.reason}"
    )
    often = sum(each.at > now - timedelta(hours=1) for each in recent) >= MANY_RESTARTS
    fix = (
        "Read the output of `manage.py cluster`. If processes are not ready in time, the machine "
        "is short of processor time or memory."
    )
    yield CheckResult("Restarts", message, fix if often else "")


def _check_lanes() -> Iterator[CheckResult]:
    """Find lanes with due work and no worker; late and paused lanes are among the alerts."""
    since = _stalled_since()
    if since is None:
        yield CheckResult("Lanes", "none stalled")
        return
    message = f"no worker has taken due deliveries since {since:%Y-%m-%d %H:%M:%S} UTC"
    fix = "Restart `manage.py cluster`. If this happens again, read its output."
    yield CheckResult("Lanes", message, fix)


def _stalled_since() -> datetime | None:
    """Return since when due deliveries have waited in lanes without a worker, or None.

    Checks twice, because a lane whose wait is just over has no worker for a moment.
    """
    stranded = set(wakeups.lanes_needing_a_worker(timezone.now()))
    if stranded:
        time.sleep(STALL_RECHECK_SECONDS)
        stranded &= set(wakeups.lanes_needing_a_worker(timezone.now()))
    now = timezone.now()
    waiting = Delivery.objects.due(now).filter(
        lane__in=stranded, queued_at__lt=now - LANE_STALLED_AFTER
    )
    oldest: datetime | None = waiting.aggregate(at=Min("queued_at"))["at"]
    return oldest


def _check_alerts() -> Iterator[CheckResult]:
    found = list(alerts.find_alerts(timezone.now()))
    for each in found:
        yield CheckResult(each.about, each.text, INCIDENT_FIXES[Incident.Kind(each.kind)])
    if not found:
        yield CheckResult("Deliveries", "none late, and no installation needs attention")


CHECKS_AFTER_MIGRATIONS = (
    ("Secrets", _check_secrets),
    ("Cluster", _check_cluster),
    ("Restarts", _check_restarts),
    ("Lanes", _check_lanes),
    ("Deliveries", _check_alerts),
)
