"""Runs Penstock's own commands as real processes, for tests that start, stop and kill them."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

Environment = dict[str, str]

# The factor by which a wait may exceed its limit. The limits hold on a quiet machine, where the
# fault rows run in full. The short forms run beside other tests on a shared machine, and test
# whether Penstock recovers rather than how fast.
PATIENCE = 1.0 if os.environ.get("PENSTOCK_FAULTS") == "full" else 5.0

# Options of the tests themselves, of which Penstock would tell that they are no settings.
OPTION = re.compile(r"PENSTOCK_(FA?U\w+|REPLAYED|OUTAGE|REQUIRE|\w+_EXAMPLES|UPGRADE_FROM)")

CONN_MAX_AGE_VARIABLE = "PENSTOCK_CONN_MAX_AGE"  # set by tests/environment.py


def environment(database_url: str, **settings: object) -> Environment:
    """Return the environment of a separate Penstock.

    No setting comes from a `.env`, and unlike the tests' own process, it keeps its connections.
    """
    inherited = without_options()
    inherited.pop(CONN_MAX_AGE_VARIABLE, None)
    return {
        **inherited,
        "DATABASE_URL": database_url,
        "BROKER_URL": "",
        "PENSTOCK_ADMIN_PASSWORD": "",
        "PENSTOCK_WRITE_KEY": "",
        "PENSTOCK_API_TOKEN": "",
        "PENSTOCK_RATE_LIMIT": "0",
        "PENSTOCK_API_RATE_LIMIT": "0",
        "PYTHONUNBUFFERED": "1",
        **{name: str(value) for name, value in settings.items()},
    }


def without_options() -> Environment:
    """Return the environment of this process without the options of the tests."""
    return {name: value for name, value in os.environ.items() if not OPTION.fullmatch(name)}


def manage(env: Environment, *arguments: str, seconds: float = 120.0) -> str:
    """Run a command of manage.py to its end and return its output."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=seconds,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


class RunningCommand:
    """A command of manage.py that runs until it is stopped or killed; use as a context manager.

    root     folder of its sources
    program  what to run instead of manage.py
    """

    def __init__(
        self,
        env: Environment,
        *arguments: str,
        root: Path = ROOT,
        program: Sequence[str] = ("manage.py",),
    ):
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=root, env=env, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self) -> "RunningCommand":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            self.lines.extend(stdout)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_for(self, text: str, seconds: float = 30.0) -> None:
        """Wait until the command has printed the text."""
        eventually(
            lambda: text in self.output or self.process.poll() is not None, seconds, self.output
        )
        assert text in self.output, self.output

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 30.0) -> int:
        """Send a signal to this process only; return its exit code."""
        self.process.send_signal(how)
        code = self.process.wait(seconds * PATIENCE)
        self.reader.join(5.0)
        return code


def eventually(condition: Callable[[], object], seconds: float, otherwise: str = "") -> float:
    """Wait until the condition holds; return how many seconds that took."""
    start, limit = time.monotonic(), seconds * PATIENCE
    while not condition():
        assert time.monotonic() - start < limit, f"not within {limit} s. {otherwise}"
        time.sleep(0.05)
    return time.monotonic() - start
