"""Send calls.json and some more with one Python SDK: `send.py MODULE HOST KEY OPTIONS`.

OPTIONS are the SDK's own, as JSON. Runs with that SDK alone in PYTHONPATH, and knows nothing of
Penstock.
"""

import importlib
import json
import sys
from pathlib import Path

MANY = 130  # more than one batch


def main(module, host, key, options):
    client = importlib.import_module(module).Client(
        key, host=host, max_retries=0, on_error=fail, **json.loads(options)
    )
    calls = json.loads(Path(__file__).with_name("calls.json").read_text("utf-8"))
    many = {"type": "track", "userId": "many", "event": "Counted"}
    calls += [many | {"properties": {"n": n}} for n in range(MANY)]
    for call in calls:
        make(client, call)
    if not client.sync_mode:
        client.shutdown()
    print(json.dumps(calls))


def make(client, call):
    kind, user = call["type"], call["userId"]
    if kind == "identify":
        client.identify(user, traits=call["traits"])
    elif kind == "track":
        client.track(user, call["event"], properties=call["properties"])
    elif kind in ("page", "screen"):
        getattr(client, kind)(user, name=call["name"], properties=call["properties"])
    elif kind == "group":
        client.group(user, call["groupId"], traits=call["traits"])
    else:
        client.alias(call["previousId"], user)


def fail(error, batch):
    print(f"The SDK failed: {error}", file=sys.stderr)


main(*sys.argv[1:])
