"""A worker without django-q2. It drains all lanes that need a worker until it is stopped.

`python -m tests.faults.support.bare_worker '{"name": "a", "schedule": [0.1], …}'`

With it, tests cause faults of a single worker and scale its times. The code that leases, sends and
settles is the real one.

name       name of its cluster; at the start, the worker releases the leases of that name
schedule   the retry schedule, in seconds
lease      duration of a lease in seconds
read       read timeout of a request in seconds
total      time limit of a request in seconds
crash_on   a text; shaping an event whose message id contains it kills the worker
clock      path of a file with the seconds by which the clock is wrong
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


class BareWorker:
    """The process of a bare worker; use as a context manager."""

    def __init__(self, env: Environment, name: str, **options: Any):
        self.env = env | {"PENSTOCK_CLUSTER": name, "DJANGO_SETTINGS_MODULE": "config.settings"}
        self.options = options | {"name": name}
        self.start()

    def __enter__(self) -> "BareWorker":
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
    from delivery.worker.lane_threads import lane_pool

    apply_options(options)
    lanes_leases.release_cluster_leases(options["name"])
    while True:
        for lane_id in wakeups.lanes_needing_a_worker(timezone.now()):
            lane_pool().take(drain.drain_lane, lane_id)
        time.sleep(0.02)


def apply_options(options: dict[str, Any]) -> None:
    from django.utils import timezone

    from delivery.lanes import leases
    from delivery.outbound import client, retry
    from delivery.worker import shape_batch

    retry.RETRY_SCHEDULE = tuple(options.get("schedule", retry.RETRY_SCHEDULE))
    leases.LEASE_DURATION = timedelta(
        seconds=options.get("lease", leases.LEASE_DURATION.total_seconds())
    )
    client.READ_TIMEOUT = options.get("read", client.READ_TIMEOUT)
    client.send_request.__kwdefaults__["total"] = options.get("total", client.TOTAL_TIMEOUT)
    if text := options.get("crash_on"):
        shape_batch.shape_message = crash_on_message(shape_batch.shape_message, text)
    if path := options.get("clock"):
        timezone.now = skewed_clock(timezone.now, Path(path))


def crash_on_message(shape, text):
    def shape_or_die(message, *rest):
        if text in message.message_id:
            os.kill(os.getpid(), signal.SIGKILL)
        return shape(message, *rest)

    return shape_or_die


def skewed_clock(now, path):
    return lambda: now() + timedelta(seconds=float(path.read_text()))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
