"""Track steadily with Segment's Python SDK as it comes: `flow.py HOST KEY EVENTS PER_SECOND`.

Exits with 1 when the SDK gave anything up. Knows nothing of Penstock.
"""

import sys
import time

from segment.analytics import Client

lost = []


def main(host, key, events, per_second):
    client = Client(key, host=host, on_error=lambda error, batch: lost.append(error))
    for n in range(int(events)):
        client.track("ada", "Counted", {"n": n}, message_id=f"python-{n}")
        time.sleep(1 / float(per_second))
    client.shutdown()
    sys.exit(f"The SDK gave up: {lost}" if lost else 0)


main(*sys.argv[1:])
