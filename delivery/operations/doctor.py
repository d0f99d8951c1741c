"""What an operator asks first: is everything all right, and if not, what is to be done?

Nothing here changes anything but `rebuild_indexes`.
"""

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
from delivery.operations import alerts, system
from delivery.operations.indexes import invalid_indexes, unapplied
from integrations.encryption import SecretsUnreadable
from integrations.models import Installation, Source, WebhookSource

SKEW = timedelta(seconds=2)  # between our clock and the database's
STALLED = timedelta(minutes=1)  # for which due work may have no worker
LOOK_AGAIN = 3.0  # seconds: the watch rings for such a lane each second
SOME = 3  # names that are told of many

FIXES = {
    Incident.Kind.ATTENTION: "Mend its settings in the admin, then press Resume on its page.",
    Incident.Kind.LATE: "Its page says what the vendor answers; nothing is lost while it waits.",
    Incident.Kind.FAILING: "Open the log with this installation: the reasons are grouped there.",
    Incident.Kind.SILENT: "Look whether the sender runs and its write key is still valid.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. Something is wrong with it when there is a fix."""

    subject: str
    said: str
    fix: str = ""

    @property
    def is_well(self) -> bool:
        return not self.fix


def examine() -> Iterator[Finding]:
    """Look at everything. What cannot be looked at without something else comes after that."""
    yield from _settings()
    database = _asked("Database", _database)
    yield from database
    if not all(each.is_well for each in database):
        return
    yield from _asked("Clock", _clock)
    yield from _asked("Indexes", _indexes)
    migrations = _asked("Migrations", _migrations)
    yield from migrations
    if all(each.is_well for each in migrations):
        for subject, look in LATER:
            yield from _asked(subject, look)


def _asked(subject: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(look())
    except DatabaseError as error:
        said = f"cannot be asked: {str(error).strip().splitlines()[0]}"
        return [Finding(subject, said, "Look whether the server of DATABASE_URL runs.")]


def _settings() -> Iterator[Finding]:
    found = [each for each in checks.run_checks() if each.level >= checks.WARNING]
    for each in found:
        yield Finding("Settings", str(each.msg), each.hint or "See `manage.py check`.")
    if not found:
        yield Finding("Settings", "nothing is wrong with them")


def _database() -> Iterator[Finding]:
    found = system.database()
    said = f"{found.name} {found.version}"
    oldest = connection.features.minimum_database_version
    if oldest and connection.get_database_version() < oldest:
        wanted = ".".join(map(str, oldest))
        yield Finding("Database", said, f"Update it: {wanted} is the oldest that is supported.")
    else:
        yield Finding("Database", said)


def _clock() -> Iterator[Finding]:
    """Leases and retries are moments of our clock, and other machines have theirs."""
    if connection.vendor != "postgresql":  # SQLite has our own
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        skew = timezone.now() - cursor.fetchone()[0]
    said = f"{skew.total_seconds():+.1f} s from the database's"
    yield Finding("Clock", said, "Run NTP on both machines." if abs(skew) > SKEW else "")


def _indexes() -> Iterator[Finding]:
    names = invalid_indexes()
    for name in names:
        said = f"{name} was built half-way: it is written to and never read"
        yield Finding("Indexes", said, "manage.py doctor --rebuild-indexes")
    if not names:
        yield Finding("Indexes", "all are whole")


def _migrations() -> Iterator[Finding]:
    if missing := unapplied():
        said = f"{len(missing)} not applied: {_some(missing)}"
        yield Finding("Migrations", said, "manage.py migrate")
    elif unknown := _unknown():
        fix = "Run the version of Penstock that made them, or a newer one."
        yield Finding("Migrations", f"made by a newer version: {_some(unknown)}", fix)
    else:
        yield Finding("Migrations", "all are applied")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SOME} more" if len(names) > SOME else ""
    return ", ".join(names[:SOME]) + more


def _unknown() -> list[str]:
    loader = MigrationExecutor(connection).loader
    ours = {label for label, _ in loader.disk_migrations}
    known = {*loader.disk_migrations, *loader.replacements}
    return sorted(
        f"{app}.{name}"
        for app, name in loader.applied_migrations
        if app in ours and (app, name) not in known
    )


def _secrets() -> Iterator[Finding]:
    readers = [
        *((each.name, each.settings) for each in Installation.objects.installed()),
        *((each.name, lambda s=each: s.signing_secret) for each in Source.objects.in_use()),
        *((str(each), lambda w=each: w.secret) for each in WebhookSource.objects.all()),
    ]
    unreadable = [name for name, read in readers if not _can(read)]
    for name in unreadable:
        fix = (
            "Put the key that they were sealed with back into PENSTOCK_SECRETS_KEYS, or enter "
            "them again."
        )
        yield Finding("Secrets", f"those of {name} cannot be opened", fix)
    if not unreadable:
        yield Finding("Secrets", "all can be opened")


def _can(read: Callable[[], object]) -> bool:
    try:
        read()
    except SecretsUnreadable:
        return False
    return True


def _machinery() -> Iterator[Finding]:
    found = system.system(timezone.now())
    alive = [each for each in found.clusters if each.is_alive]
    if alive:
        places = ", ".join(f"{each.host} (pid {each.pid})" for each in alive)
        yield Finding("Cluster", f"{len(alive)} at work: {places}")
    else:
        yield Finding("Cluster", "none runs, so nothing is delivered", "Start `manage.py cluster`.")
    if found.broker.trouble:
        fix = "Look whether the server of BROKER_URL runs."
        yield Finding("Broker", f"{found.broker.name}: {found.broker.trouble}", fix)
    else:
        yield Finding("Broker", f"{found.broker.name}, {found.broker.queued} tasks wait")
    if alive and found.sweep_is_late:
        yield Finding("Sweep", "late", "`manage.py bootstrap` makes its schedule.")


def _lanes() -> Iterator[Finding]:
    """Lanes that could be worked on and are not; what a vendor or a person holds up is below."""
    since = _stalled_since()
    if since is None:
        yield Finding("Lanes", "none stands still without a reason")
        return
    said = f"deliveries wait since {since:%Y-%m-%d %H:%M:%S} UTC and no worker takes them"
    fix = "Restart `manage.py cluster`; if it comes again, its output says why."
    yield Finding("Lanes", said, fix)


def _stalled_since() -> datetime | None:
    """Return since when due deliveries wait in lanes that no worker takes. Looks twice: a lane
    whose wait is just over has no worker for a moment."""
    stranded = set(wakeups.stranded(timezone.now()))
    if stranded:
        time.sleep(LOOK_AGAIN)
        stranded &= set(wakeups.stranded(timezone.now()))
    now = timezone.now()
    waiting = Delivery.objects.due(now).filter(lane__in=stranded, queued_at__lt=now - STALLED)
    oldest: datetime | None = waiting.aggregate(at=Min("queued_at"))["at"]
    return oldest


def _alarms() -> Iterator[Finding]:
    found = list(alerts.findings(timezone.now()))
    for each in found:
        yield Finding(each.about, each.text, FIXES[Incident.Kind(each.kind)])
    if not found:
        yield Finding("Deliveries", "none is late, and no installation needs attention")


LATER = (
    ("Secrets", _secrets),
    ("Cluster", _machinery),
    ("Lanes", _lanes),
    ("Deliveries", _alarms),
)
