"""Runs a command of manage.py with changed constants, so that a short form need not wait.

`python -m tests.faults.support.patched_command
'{"delivery.operations.supervisor.SWEEP_LATE": 3}' cluster`. Times are in seconds.
"""

import json
import os
import sys
from datetime import timedelta
from importlib import import_module


def main(constants: str, *command: str) -> None:
    import django
    from django.core.management import call_command

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    for path, seconds in json.loads(constants).items():
        module, _, name = path.rpartition(".")
        is_delta = isinstance(getattr(import_module(module), name), timedelta)
        setattr(import_module(module), name, timedelta(seconds=seconds) if is_delta else seconds)
    call_command(*command)


if __name__ == "__main__":
    main(*sys.argv[1:])
