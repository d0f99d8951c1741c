"""Process groups: start, watch, stop and kill a command together with all its child processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil
from django.conf import settings

RESTART_DELAYS = (0.0, 1.0, 2.0, 4.0, 8.0, 10.0)  # seconds; the last one repeats
STABLE_AFTER = 5.0  # seconds of uptime after which the delays start over


def manage(*arguments: str) -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]


def set_nice(pid: int, nice: int) -> None:
    """Set the niceness of a process group that leads its session."""
    os.setpriority(os.PRIO_PGRP, pid, nice)
    # Linux may share the processor between sessions, each with its own niceness; see sched(7).
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


class ProcessGroup:
    """A command and all its descendants, in a session of its own.

    The group is killed when this process ends, however it ends (die_with_parent.py).
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        output: int | None = None,
        nice: int = 0,
    ):
        """nice  niceness of the group: 0 is normal, 19 yields most to other processes"""
        self.started = time.monotonic()
        self.leash = subprocess.Popen(  # noqa: S603  (our own commands)
            [sys.executable, "-m", "delivery.operations.die_with_parent", *command],
            cwd=settings.BASE_DIR,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
        )
        if nice:
            set_nice(self.leash.pid, nice)

    @property
    def output(self) -> IO[bytes]:
        assert self.leash.stdout is not None
        return self.leash.stdout

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def is_running(self) -> bool:
        return self.leash.poll() is None

    def members(self) -> list[psutil.Process]:
        """Return the living processes of the group, orphans included."""
        return list(living(pid for pid in psutil.pids() if group_of(pid) == self.leash.pid))

    def terminate(self) -> None:
        """Ask the command to end. It is responsible for its own children."""
        self.leash.terminate()

    def stop(self, seconds: float) -> None:
        """Ask the command to end, and kill what is left of the group after that many seconds."""
        self.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.leash.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """Kill every process of the group; return when none is left."""
        while self.members():
            # PermissionError: macOS raises it for a group whose members are all exiting
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.leash.pid, signal.SIGKILL)
            time.sleep(0.02)
        self.leash.wait()

    def close(self) -> None:
        """Close the streams of a dead group."""
        for stream in (self.leash.stdin, self.leash.stdout):
            if stream:
                stream.close()


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:  # the process has ended or belongs to another user
        return None


def living(pids: Iterable[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process


class Backoff:
    """Delays between restarts, so that a crash loop does not spin."""

    def __init__(self) -> None:
        self.deaths = 0

    def delay(self, lived: float, *, came_up: bool = True) -> float:
        """Return how long to wait before the next start, in seconds.

        lived    how long the process ran, in seconds
        came_up  whether its start completed; otherwise it does not count as stable at any age
        """
        if came_up and lived >= STABLE_AFTER:
            self.deaths = 0
        self.deaths += 1
        return RESTART_DELAYS[min(self.deaths, len(RESTART_DELAYS)) - 1]


class StopRequest:
    """Records a request to stop: Ctrl-C, SIGTERM, or a closed terminal.

    The signal handler only sets a flag, because setting a threading.Event in a handler can deadlock
    with a wait for that event.
    """

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._ask)

    def _ask(self, *_: Any) -> None:
        self.asked = True

    def wait(self, seconds: float) -> bool:
        """Wait that long or until a stop is requested; return whether it was."""
        until = time.monotonic() + seconds
        while not self.asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        return self.asked
