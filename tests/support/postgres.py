"""A separate PostgreSQL server for tests that stop it. No other server is touched."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import find_free_port, require_service

OPTIONS = "-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c shared_buffers=32MB"


class PostgresServer:
    """A context manager that runs the server, and afterwards removes it and its data.

    PostgreSQL refuses to run as root, so root starts it as the user `postgres`.
    """

    def __init__(self) -> None:
        self.binaries = Path(require_service("initdb")).parent
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-"))
        self.data = self.folder / "data"
        self.port = find_free_port()
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> "PostgresServer":
        self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "stop", "--mode=immediate", check=False)
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start the server; return when it accepts connections."""
        options = f"{OPTIONS} -p {self.port}"
        self._run("pg_ctl", "start", "--wait", f"--options={options}", f"--log={self.folder}/log")

    def stop(self, mode: str = "immediate") -> None:
        """Return when it has stopped: `immediate` as in a crash, `fast` as by an administrator."""
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [self.binaries / program, f"--pgdata={self.data}", *arguments]
        # A pipe would be inherited by the server, and `run` would wait until the server ends.
        subprocess.run(
            command, check=check, user=self.user, cwd=self.folder, stdout=subprocess.DEVNULL
        )
