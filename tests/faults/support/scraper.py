"""A monitoring system: a process of its own, so that what is timed is not its neighbours' Python.

    python -m tests.faults.support.scraper http://127.0.0.1:8080/v1/admin/metrics TOKEN 30

Writes the seconds of each answer as a JSON list; fails at the first that is not 200.
"""

import http.client
import json
import sys
import time
from urllib.parse import urlsplit

SCRAPE_INTERVAL = 0.2  # seconds between two looks: as a monitoring system, but oftener


def scrape(url: str, token: str, seconds: float) -> list[float]:
    """Read a page again and again over one connection; return the seconds that each took."""
    where, took = urlsplit(url), []
    web = http.client.HTTPConnection(where.netloc, timeout=30)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.monotonic()
        web.request("GET", where.path, headers={"Authorization": f"Bearer {token}"})
        answer = web.getresponse()
        body = answer.read()
        took.append(time.monotonic() - started)
        if answer.status != 200:
            sys.exit(f"{url}: {answer.status} {body[:200]!r}")
        time.sleep(SCRAPE_INTERVAL)
    return took


if __name__ == "__main__":
    sys.stdout.write(json.dumps(scrape(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
