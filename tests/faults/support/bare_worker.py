"""A worker without django-q2 around it: it drains what is stranded, until it is stopped.

`python -m tests.faults.support.bare_worker '{"name": "a", "schedule": [0.1], …}'`. So that
faults of one worker can be made at will, and time be scaled: the code that leases, sends and
settles is the real one.

name       of its cluster; at the start it frees what its predecessor of that name held
schedule   of retries, seconds
lease, read, total   seconds
dies_of    a text: whoever shapes an event that has it, dies on the spot
clock      a file with the seconds by which the clock is wrong
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT, Environment


class Hand:
    """The process; use as a context manager."""

    def __init__(self, env: Environment, name: str, **options: Any):
        self.env = env | {"PENSTOCK_CLUSTER": name, "DJANGO_SETTINGS_MODULE": "config.settings"}
        self.options = options | {"name": name}
        self.start()

    def __enter__(self) -> "Hand":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.support.bare_worker", json.dumps(self.options)],
            cwd=ROOT, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(10)

    def is_dead(self) -> bool:
        return self.process.poll() is not None

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


def main(options: dict[str, Any]) -> None:
    import django

    django.setup()
    from django.utils import timezone

    from delivery.lanes import leases as lanes_leases
    from delivery.lanes import wakeups
    from delivery.worker import drain
    from delivery.worker.lane_threads import crew

    bend(options)
    lanes_leases.release_held_by(options["name"])
    while True:
        for lane_id in wakeups.stranded(timezone.now()):
            crew().take(drain.drain, lane_id)
        time.sleep(0.02)


def bend(options: dict[str, Any]) -> None:
    from django.utils import timezone

    from delivery.lanes import leases
    from delivery.outbound import client, retry
    from delivery.worker import shape_batch

    retry.SCHEDULE = tuple(options.get("schedule", retry.SCHEDULE))
    leases.LEASE = timedelta(seconds=options.get("lease", leases.LEASE.total_seconds()))
    client.READ = options.get("read", client.READ)
    client.send.__kwdefaults__["total"] = options.get("total", client.TOTAL)
    if text := options.get("dies_of"):
        shape_batch.shape = dying(shape_batch.shape, text)
    if path := options.get("clock"):
        timezone.now = wrong_by(timezone.now, Path(path))


def dying(shape, text):
    def shape_or_die(message, *rest):
        if text in message.message_id:
            os.kill(os.getpid(), signal.SIGKILL)
        return shape(message, *rest)

    return shape_or_die


def wrong_by(now, path):
    return lambda: now() + timedelta(seconds=float(path.read_text()))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
