"""Runs a command that cannot outlive its parent process.

`python -m delivery.operations.die_with_parent command…`

The parent holds the other end of standard input. It closes when the parent ends, however it ends,
and then the whole process group is killed. This works for any command, on Linux and macOS, and
leaves no moment in which an orphan could survive. Standard library only.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence


def main(command: Sequence[str]) -> int:
    """Run the command, forward SIGTERM to it, and return its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603  (our own commands)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=kill_group_with_parent, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def kill_group_with_parent() -> None:
    # os.read, not sys.stdin: a thread in a buffered read crashes the interpreter at shutdown
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main(sys.argv[1:]))
