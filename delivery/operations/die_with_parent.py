"""Run a command that cannot outlive its starter.

`python -m delivery.operations.die_with_parent command…`

Standard input is the leash. Its other end is the starter's and closes when the starter is gone,
however it went; then the whole process group is killed. Works for any command, on Linux and on
macOS, and without a moment in which an orphan could slip away. Standard library only.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence


def main(command: Sequence[str]) -> int:
    """Run the command to its end, hand SIGTERM on to it, and return its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603  (our own commands)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=kill_group_with_parent, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def kill_group_with_parent() -> None:
    # os.read, not sys.stdin: a thread inside a buffered read crashes the interpreter's shutdown
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main(sys.argv[1:]))
