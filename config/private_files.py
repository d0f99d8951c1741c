"""Files that only Penstock's user may read: the events of all users are in them."""

from contextlib import suppress
from pathlib import Path


def make_private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    _set_mode(folder, 0o700)  # it may exist since a version that did not care


def make_private_file(file: Path) -> None:
    """Create the file if it is missing. SQLite gives its other files the same mode."""
    file.touch(mode=0o600, exist_ok=True)
    _set_mode(file, 0o600)


def _set_mode(path: Path, mode: int) -> None:
    with suppress(OSError):  # it belongs to another user, or the file system has no modes
        path.chmod(mode)
