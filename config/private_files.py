"""Files that only Penstock's user may read: the events of all users are in them."""

from contextlib import suppress
from pathlib import Path

# SQLite gives these the mode of the database, but they may be left from an earlier version.
SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal")


def make_private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    _set_mode(folder, 0o700)


def make_private_database(file: Path) -> None:
    """Create the SQLite database if it is missing, and let nobody else read any of its files."""
    with suppress(OSError):  # its folder is missing or read-only; SQLite will say so
        file.touch(mode=0o600)
    for suffix in SQLITE_SUFFIXES:
        _set_mode(file.with_name(file.name + suffix), 0o600)


def _set_mode(path: Path, mode: int) -> None:
    with suppress(OSError):  # it is missing, of another user, or its file system has no modes
        path.chmod(mode)
