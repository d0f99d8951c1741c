"""What happens when PostgreSQL or Redis goes, comes back, refuses, or forgets."""

import time

from tests.faults.registry import Result, RowContext, row
from tests.faults.support.sdk_client import SdkClient, assert_delivered_once
from tests.kills.stage import Stage
from tests.support.processes import eventually

RESUME_SECONDS = 15.0  # seconds after the database is back
SETTLE_SECONDS = 0.5  # seconds in which requests of before may still be answered


@row("5", "PostgreSQL crashes", short=1, full=5)
def postgres_crashes(context: RowContext, result: Result) -> None:
    """`pg_ctl stop -m immediate` while events come and go; down for 2 s, and once for 60 s."""
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
    """default_transaction_read_only for 10 s, in short for 3, as after a switch to a replica."""
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
    """Redis rings the bell and nothing else: ingest never notices. Away for 20 s a round, in short
    for 3, and from before the first event: nobody is at the lane, and each rings in vain."""
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
            "recovery: from its return until all that had come by then was delivered; while it is "
            "away, a lane that no worker is at waits"
        )


@row("28", "Wake-ups lost", short=1, full=10)
def wakeups_lost(context: RowContext, result: Result) -> None:
    """Every bell that is rung is thrown away for a while; the watch rings again."""
    server, url = context.servers.postgres, context.url()
    with Stage(url) as stage:
        for _ in range(context.rounds):
            time.sleep(1.0)  # the lane is let go
            stage.send(10)
            server.execute("DELETE FROM django_q_ormq", url)
            arrived = eventually(lambda: stage.count_received() == len(stage.sent), 60.0)
            result.recovery.append(arrived)
        assert_delivered_once(stage, set(stage.sent), result)
        assert max(result.recovery) <= 15.0


def assert_refused(client: SdkClient, start: float, end: float) -> None:
    """Nobody was told 200 in that time, and all were told when to come again."""
    answers = client.between(start, end)
    assert answers, "no request was answered in that time"
    statuses = {answer.status for answer in answers}
    assert statuses == {503}, f"answered with {statuses} while nothing could be stored"
    assert all(answer.retry_after for answer in answers), "no Retry-After"


def wait_until_accepted_arrived(stage: Stage, client: SdkClient, seconds: float) -> float:
    """Return the seconds until the vendor has all that is accepted by now, and something newer."""
    wanted = len(client.accepted) + 50
    said = stage.up.output[-2_000:]
    return eventually(lambda: stage.count_received() > wanted, seconds, said)


def set_read_only(server, name: str, read_only: str) -> None:
    # in a transaction that may write, whatever the default of the server is by now
    server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {read_only}")
    server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
