"""A monitoring system that reads a page repeatedly.

    python -m tests.faults.support.scraper http://127.0.0.1:8080/v1/admin/metrics TOKEN 30

It is a process of its own, so that other threads of the test do not distort the times. It prints
the seconds of each response as a JSON list, and fails at the first response that is not 200.
"""

import http.client
import json
import sys
import time
from urllib.parse import urlsplit

SCRAPE_INTERVAL = 0.2  # seconds between two requests, shorter than that of a monitoring system


def scrape(url: str, token: str, seconds: float) -> list[float]:
    """Read a page repeatedly over one connection; return the seconds of each request."""
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
