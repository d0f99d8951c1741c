"""Upgrades under load, and the notifications of alerts."""

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from os import environ
from pathlib import Path

from delivery.management.commands.up import is_responding
from tests.conftest import find_free_port
from tests.faults.registry import Result, RowContext, RowUnavailable, row
from tests.faults.rows.isolation import PILE_SQL
from tests.faults.rows.kills import start_another_cluster
from tests.faults.support.raw_vendor import RawVendor
from tests.faults.support.sampler import longest_lock_wait
from tests.faults.support.sdk_client import SdkClient, assert_delivered_once
from tests.kills.stage import Stage
from tests.support.processes import ROOT, Environment, eventually, manage

STALLED, FAILING = 180.0, 300.0  # seconds until a notification is sent, as promised
# Seconds until all incidents are closed. This covers the lane's next retry on the schedule, the
# window of the failure rate (ten minutes, or less once successes outnumber failures in it), three
# quiet minutes, and the interval of the sweep.
ALL_OVER_SECONDS = 1_100.0
VENDOR_FAULTS = {"6001": {"status": 503, "times": 0}, "6002": {"status": 400, "times": 0}}
HURRY_SQL = (
    "UPDATE delivery_lane SET due_at = now() WHERE due_at > now()",
    "UPDATE delivery_incident SET seen_at = seen_at - interval '3 minutes' WHERE closed_at IS NULL",
)
MAX_WAIT_SECONDS = (
    1.0  # seconds that a statement may wait for a lock, or a client for a response, in a migration
)


# --- alerts --------------------------------------------------------------------------------------


@row("33", "Told when it stalls or fails, once, and when it is over", short=1, full=1)
def alarms(context: RowContext, result: Result) -> None:
    """One vendor is unavailable and one refuses everything, both with an interruption. Each
    incident must be notified once, although every sweep could repeat it. In the short form,
    deliveries are late after 3 s, a second supervisor starts a sweep every few seconds, and the
    last signs of an incident are moved into the past, so that it closes without the quiet time."""
    with RawVendor() as vendor, stage_with_alerts(context, vendor) as stage, ExitStack() as stack:
        stage.install("Stalled", "6001")
        stage.install("Failing", "6002")
        if not context.full:
            stack.enter_context(start_another_cluster(stage, SWEEP_LATE=2))
        client = SdkClient(stage, pause=0.5)
        with client.sending(threads=1, per_request=10):
            stage.set_faults(*vendor_faults())
            started = time.monotonic()
            expected = {("late", "Stalled"): STALLED, ("failing", "Failing"): FAILING}
            result.recovery += wait_until_opened(vendor, expected, started)
            stage.set_faults()  # both vendors recover for a moment
            time.sleep(context.full_or_short(20.0, 2.0))
            stage.set_faults(*vendor_faults())
            time.sleep(context.full_or_short(60.0, 4.0))
            stage.set_faults()
            over = wait_until_closed(context, stage, vendor)
        times = count_notifications(vendor)
        for account in stage.ledger_lines().values():
            result.add(account)
    result.accepted = len(client.accepted)
    late, failing = result.recovery
    result.note = (
        f"stalled notified after {late:.0f} s, failing after {failing:.0f} s, the end of both "
        f"within {over:.0f} s; {times.total()} notifications in all"
    )
    # Deliveries to the unavailable vendor also fail, which is an incident of its own.
    assert set(times) == {
        (event, *what)
        for event in ("opened", "closed")
        for what in (*expected, ("failing", "Stalled"))
    }
    assert set(times.values()) == {1}, f"notified more than once: {times}"


def wait_until_closed(context: RowContext, stage: Stage, vendor: RawVendor) -> float:
    """Wait until the end of every incident is notified; return how many seconds that took.

    The refused deliveries are still in the ten-minute window of the failure rate, so more events
    are sent that succeed.
    """
    ended = time.monotonic()
    with SdkClient(stage, prefix="more", pause=0.1).sending(threads=2, per_request=50):
        while len(count_notifications(vendor)) < 6:
            assert seconds_since(ended) < context.full_or_short(ALL_OVER_SECONDS, 60.0), (
                count_notifications(vendor)
            )
            time.sleep(1.0)
            if not context.full:
                hurry(context, stage)
    return seconds_since(ended)


def stage_with_alerts(context: RowContext, vendor: RawVendor) -> Stage:
    return Stage(
        context.url(),
        PENSTOCK_ALARM_QUEUED_MINUTES=context.full_or_short(1.0, 0.05),
        PENSTOCK_ALARM_WEBHOOK_URL=vendor.url,
        PENSTOCK_ALARM_WEBHOOK_SECRET="only-for-this",  # noqa: S106
    )


def vendor_faults() -> list[dict[str, object]]:
    return [{"match": f'"app_id":"{app}"', **how} for app, how in VENDOR_FAULTS.items()]


def hurry(context: RowContext, stage: Stage) -> None:
    """Make all lanes due, and make incidents close without their quiet minutes."""
    for statement in HURRY_SQL:
        context.servers.postgres.execute(statement, stage.env["DATABASE_URL"])


def count_notifications(vendor: RawVendor) -> Counter[tuple[str, str, str]]:
    """Return how often each begin and end was notified, by (event, kind, about)."""
    calls = [json.loads(body)["incidents"] for body in list(vendor.requests)]
    return Counter((each["event"], each["kind"], each["about"]) for call in calls for each in call)


def wait_until_opened(
    vendor: RawVendor, limits: Mapping[tuple[str, str], float], started: float
) -> list[float]:
    """Return how many seconds after `started` each incident was notified."""
    seconds = []
    for what, limit in limits.items():
        eventually(
            lambda w=what: count_notifications(vendor)["opened", *w],
            limit - seconds_since(started),
        )
        seconds.append(seconds_since(started))
    return seconds


def seconds_since(moment: float) -> float:
    return time.monotonic() - moment


# --- upgrades ------------------------------------------------------------------------------------


UPGRADED = "Upgraded under load, old workers beside the new web server"


@row("25b", UPGRADED, short=2_000, full=5_000_000)
def upgraded_under_load(context: RowContext, result: Result) -> None:
    """Rounds are existing deliveries in the log. The version before the newest migration receives
    events while this version runs `migrate`. Then the old cluster continues beside the web server
    of this version."""
    with (
        older_version(context.folder / "older") as (root, name),
        Stage(context.url(empty=True), root=root) as old,
    ):
        url = old.env["DATABASE_URL"]
        old.send(1)  # PILE_SQL copies its source
        store_delivered(context, url)
        client = SdkClient(old, pause=0.02)
        with client.sending(threads=4):
            time.sleep(context.full_or_short(3.0, 1.0))
            started = time.monotonic()
            with longest_lock_wait(url) as waits:
                manage(old.env, "migrate", "-v", "0")
            migrating = seconds_since(started)
            time.sleep(context.full_or_short(2.0, 0.5))
        slowest = max(a.ended - a.started for a in client.between(started, started + migrating + 2))
        with new_web(old) as env:
            beside = SdkClient(old, prefix="beside")
            beside.url = f"http://{env['PENSTOCK_WEB_BIND']}/v1/batch"
            with beside.sending(threads=2, most=100):
                pass
            ids = {*old.sent, *client.accepted, *beside.accepted}
            eventually(lambda: old.count_received() == len(ids), 60.0, old.up.output)
        assert_delivered_once(old, ids, result, piled=context.rounds)
    failed = {
        status: n for status, n in (client.statuses() + beside.statuses()).items() if n != 200
    }
    result.recovery.append(migrating)
    result.note = (
        f"from {name}: migrated within {migrating:.1f} s beside {context.rounds:,} deliveries; the "
        f"longest wait for a lock {waits.value:.2f} s, the slowest response {slowest:.2f} s"
    )
    assert set(client.statuses()) == set(beside.statuses()) == {200}, f"ingest failed: {failed}"
    assert waits.value <= MAX_WAIT_SECONDS
    assert slowest <= MAX_WAIT_SECONDS


def store_delivered(context: RowContext, url: str) -> None:
    """Insert as many delivered deliveries as the row has rounds."""
    pile = PILE_SQL.format(count=context.rounds)
    server = context.servers.postgres
    server.execute(pile.replace("'queued', now()", "'delivered', now()"), url)
    server.execute("ANALYZE", url)


@contextmanager
def older_version(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the sources of an older version and its commit. Raises RowUnavailable.

    The version is PENSTOCK_UPGRADE_FROM, by default the one before the newest migration was added.
    """
    if git("rev-parse", "--is-shallow-repository") != "false":
        raise RowUnavailable("the git history, which a shallow clone lacks")
    apps = ("delivery/migrations", "integrations/migrations")
    newest = git("log", "-1", "--format=%H", "--diff-filter=A", "--", *apps)
    before = git("rev-parse", "--short", environ.get("PENSTOCK_UPGRADE_FROM", f"{newest}^"))
    git("worktree", "add", "--detach", str(folder), before)
    if (ROOT / ".env").exists():  # otherwise the environment has all settings
        shutil.copy(ROOT / ".env", folder)
    try:
        yield folder, before
    finally:
        git("worktree", "remove", "--force", str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextmanager
def new_web(old: Stage) -> Iterator[Environment]:
    """Run the web server of this version on the old database; yield its environment."""
    env = old.env | {"PENSTOCK_WEB_BIND": f"127.0.0.1:{find_free_port()}"}
    host, _, port = env["PENSTOCK_WEB_BIND"].partition(":")
    command = [
        *(sys.executable, "-m", "granian", "--interface", "rsgi", "--loop", "asyncio"),
        *("--host", host, "--port", port, "config.rsgi:application"),
    ]
    web = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        eventually(lambda: is_responding((host, int(port)), "/admin/login/"), 30.0)
        yield env
    finally:
        web.terminate()
        web.wait(20)
