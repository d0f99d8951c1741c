"""Outages of PostgreSQL and Redis: crashes, refused writes, and lost data."""

import time

from tests.faults.registry import Result, RowContext, row
from tests.faults.support.sdk_client import SdkClient, assert_delivered_once
from tests.kills.stage import Stage
from tests.support.processes import eventually

RESUME_SECONDS = 15.0  # seconds after the database is back
SETTLE_SECONDS = 0.5  # seconds in which earlier requests may still be answered


@row("5", "PostgreSQL crashes", short=1, full=5)
def postgres_crashes(context: RowContext, result: Result) -> None:
    """Runs `pg_ctl stop -m immediate` under load. The database is down for 2.5 s in each round but
    the second, in which it is down for 60 s."""
    server = context.servers.postgres
    with Stage(context.url()) as stage:
        client = SdkClient(stage, pause=0.02)
        with client.sending(threads=8):
            for number in range(context.rounds):
                time.sleep(2.0)
                server.crash()
                down = time.monotonic()
                time.sleep(60.0 if number == 1 else 2.5)
                assert_refused(client, down + SETTLE_SECONDS, time.monotonic())
                server.start()
                result.recovery.append(wait_until_accepted_arrived(stage, client, RESUME_SECONDS))
        assert_delivered_once(stage, client.accepted, result)
        refused = client.statuses()[503]
        result.note = f"{refused} requests were refused with 503, none accepted while it was down"


@row("7", "The database takes no writes", short=1, full=3)
def read_only(context: RowContext, result: Result) -> None:
    """Sets default_transaction_read_only for 10 s, in the short form for 3 s, as after a failover
    to a replica."""
    server, url = context.servers.postgres, context.url()
    name = url.rpartition("/")[2]
    with Stage(url) as stage:
        client = SdkClient(stage, pause=0.02)
        with client.sending(threads=8):
            for _ in range(context.rounds):
                time.sleep(2.0)
                set_read_only(server, name, "on")
                refusing = time.monotonic()
                time.sleep(context.full_or_short(10.0, 3.0))
                assert_refused(client, refusing + SETTLE_SECONDS, time.monotonic())
                set_read_only(server, name, "off")
                result.recovery.append(wait_until_accepted_arrived(stage, client, 30.0))
        assert_delivered_once(stage, client.accepted, result)
        result.note = f"{client.statuses()[503]} requests were refused with 503"


@row("6", "Redis killed, emptied, restarted without data", short=1, full=3)
def redis_outage(context: RowContext, result: Result) -> None:
    """Redis only carries wake-ups, so ingest must never notice its absence. Redis is down for 20 s
    per round. In the short form it is down for 3 s, and already before the first event: no worker
    has the lane yet, and every wake-up is lost."""
    server = context.servers.redis
    with Stage(context.url(), BROKER_URL=server.url) as stage:
        client = SdkClient(stage, pause=0.05)
        if not context.full:
            server.kill()
        with client.sending(threads=4):
            for _ in range(context.rounds):
                if context.full:
                    time.sleep(2.0)
                    server.kill()
                time.sleep(context.full_or_short(20.0, 3.0))
                server.start()
                result.recovery.append(wait_until_accepted_arrived(stage, client, 60.0))
                server.flush()
                wait_until_accepted_arrived(stage, client, 60.0)
        assert_delivered_once(stage, client.accepted, result)
        failed = {status: n for status, n in client.statuses().items() if status != 200}
        assert not failed, f"ingest failed: {failed}"
        result.note = (
            "recovery: from the return of Redis until everything accepted by then was delivered; "
            "while Redis is away, a lane without a worker waits"
        )


@row("28", "Wake-ups lost", short=1, full=10)
def wakeups_lost(context: RowContext, result: Result) -> None:
    """Deletes the queued wake-ups after each send; the supervisor must enqueue new ones."""
    server, url = context.servers.postgres, context.url()
    with Stage(url) as stage:
        for _ in range(context.rounds):
            time.sleep(1.0)  # until the lane's lease is released
            stage.send(10)
            server.execute("DELETE FROM django_q_ormq", url)
            arrived = eventually(lambda: stage.count_received() == len(stage.sent), 60.0)
            result.recovery.append(arrived)
        assert_delivered_once(stage, set(stage.sent), result)
        assert max(result.recovery) <= 15.0


def assert_refused(client: SdkClient, start: float, end: float) -> None:
    """Assert that every response in that time was a 503 with a Retry-After header."""
    answers = client.between(start, end)
    assert answers, "no request was answered in that time"
    statuses = {answer.status for answer in answers}
    assert statuses == {503}, f"answered with {statuses} while nothing could be stored"
    assert all(answer.retry_after for answer in answers), "no Retry-After"


def wait_until_accepted_arrived(stage: Stage, client: SdkClient, seconds: float) -> float:
    """Wait until the vendor has received everything accepted so far and at least one newer event;
    return how many seconds that took."""
    wanted = len(client.accepted) + 50
    output = stage.up.output[-2_000:]
    return eventually(lambda: stage.count_received() > wanted, seconds, output)


def set_read_only(server, name: str, read_only: str) -> None:
    # `execute` connects to the server's own database, which stays writable.
    server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {read_only}")
    server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
