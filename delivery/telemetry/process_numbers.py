"""A folder in which the processes of one machine count together, each in files of its own.

prometheus-client names the files after the process id. A restarted process would then begin new
files, and the old ones would have to stay, because a sum that drops looks like a restart to
Prometheus. Here, a process takes the lowest free number instead: the number is free again when the
process has ended, and the next one continues its counts. Numbers also tell apart the processes of
containers that share the folder, whose ids may be equal.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's name
FILE_BYTES = 131_072  # several times what the metrics of a process take


def share_metrics(folder: Path) -> None:
    """Let the processes that this one will start count in the folder.

    Empties the folder unless a process still counts in it. Leaves a folder that the environment
    already names as it is, because whoever named it prepared it.
    """
    if FOLDER_VARIABLE in os.environ:
        return
    folder.mkdir(exist_ok=True)
    with _locked(folder):
        if not any(_is_held(each) for each in folder.glob("process_*.lock")):
            for each in folder.glob("*.db"):
                each.unlink()
    os.environ[FOLDER_VARIABLE] = str(folder)


class ProcessNumber:
    """The number of this process. A forked child takes a number of its own."""

    def __init__(self) -> None:
        self.pid = 0
        self.number = -1
        self.file: IO[bytes] | None = None

    def claim(self) -> int:
        """Return the number. Called for every count, so it must be quick."""
        if self.pid != os.getpid():
            self._claim(Path(os.environ[FOLDER_VARIABLE]))
        return self.number

    def _claim(self, folder: Path) -> None:
        if self.file is not None:
            self.file.close()  # the parent's, whose lock a child does not inherit
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        with _locked(folder):
            while (file := _lock(folder / f"process_{number}.lock")) is None:
                number += 1
            for kind in ("counter", "histogram"):
                _allocate(folder / f"{kind}_{number}.db")
        self.pid, self.number, self.file = os.getpid(), number, file


def _allocate(file: Path) -> None:
    """Write the file in full: on a full disk, a write to a sparse mapped file kills the process."""
    with suppress(OSError), file.open("xb") as new:
        new.write(bytes(FILE_BYTES))


def _lock(file: Path) -> IO[bytes] | None:
    """Lock a file and return it open, or None if another process holds it."""
    opened = file.open("ab")
    try:
        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # which of them depends on the system
        opened.close()
        return None
    return opened


def _is_held(file: Path) -> bool:
    opened = _lock(file)
    if opened is not None:
        opened.close()
    return opened is None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from claiming a number or emptying the folder."""
    with (folder / "processes.lock").open("ab") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield
