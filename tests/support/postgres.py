"""A PostgreSQL server of a test's own, for tests that stop it. Nobody else's is touched."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import find_free_port, require_service

OPTIONS = "-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c shared_buffers=32MB"


class PostgresServer:
    """Use as a context manager: it runs inside, and is gone with its data afterwards.

    PostgreSQL refuses to run as root, so that root starts it as the user `postgres`.
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
        """Return when it takes connections."""
        options = f"{OPTIONS} -p {self.port}"
        self._run("pg_ctl", "start", "--wait", f"--options={options}", f"--log={self.folder}/log")

    def stop(self, mode: str = "immediate") -> None:
        """Return when it is gone: `immediate` as in a crash, `fast` as an administrator does."""
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [self.binaries / program, f"--pgdata={self.data}", *arguments]
        # not a pipe: the server would inherit it, and we would wait for its end
        subprocess.run(
            command, check=check, user=self.user, cwd=self.folder, stdout=subprocess.DEVNULL
        )
