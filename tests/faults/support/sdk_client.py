"""A client that sends like an SDK, and the check that all its messages were delivered once."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import requests

from tests.faults.registry import Result
from tests.kills.stage import WRITE_KEY, Stage
from tests.support.processes import eventually

ACCEPT_TIMEOUT = 180.0  # seconds within which a message must be accepted, whatever happens
UNLIMITED = 10_000_000


@dataclass(frozen=True, slots=True)
class IngestResponse:
    """The response to a request; its status is 0 if none came."""

    started: float  # monotonic
    ended: float
    status: int
    retry_after: str


class SdkClient:
    """Sends each message until the response is 200, in several threads with one user each."""

    def __init__(self, stage: Stage, *, prefix: str = "m", pause: float = 0.0):
        self.url = f"http://{stage.env['PENSTOCK_WEB_BIND']}/v1/batch"
        self.prefix = prefix
        self.pause = pause  # seconds between two requests of a thread
        self.answers: list[IngestResponse] = []
        self.accepted: set[str] = set()
        self.given_up: list[str] = []
        self.stopped = threading.Event()
        self.numbers = count()

    @contextmanager
    def sending(
        self, *, threads: int, per_request: int = 5, most: int = UNLIMITED
    ) -> Iterator[None]:
        """Send from several threads until the block ends or `most` requests were made."""
        requests_left = iter(range(most))
        lock = threading.Lock()

        def work(user: int) -> None:
            with requests.Session() as web:
                while not self.stopped.is_set():
                    with lock:
                        if next(requests_left, None) is None:
                            return
                        ids = [next(self.numbers) for _ in range(per_request)]
                    self.deliver(web, [self.message(n, user) for n in ids])
                    time.sleep(self.pause)

        workers = [threading.Thread(target=work, args=[n], daemon=True) for n in range(threads)]
        for each in workers:
            each.start()
        try:
            yield
            if most < UNLIMITED:
                for each in workers:
                    each.join(ACCEPT_TIMEOUT)
        finally:
            self.stopped.set()
            for each in workers:
                each.join(ACCEPT_TIMEOUT)
        assert not self.given_up, f"never accepted: {self.given_up[:3]}"

    def message(self, number: int, user: int) -> dict[str, object]:
        return {
            "type": "track", "event": "Step", "userId": f"user-{user}",
            "messageId": f"{self.prefix}-{number:07}", "properties": {"number": number},
        }  # fmt: skip

    def deliver(self, web: requests.Session, batch: list[dict[str, object]]) -> None:
        ids = [str(each["messageId"]) for each in batch]
        until = time.monotonic() + ACCEPT_TIMEOUT
        while time.monotonic() < until:
            if self.post(web, batch).status == 200:
                self.accepted.update(ids)
                return
            time.sleep(0.2)
        self.given_up += ids

    def post(self, web: requests.Session, batch: list[dict[str, object]]) -> IngestResponse:
        started, status, retry_after = time.monotonic(), 0, ""
        try:
            answer = web.post(
                self.url, data=json.dumps({"batch": batch}), timeout=30,
                headers={"Authorization": f"Bearer {WRITE_KEY}"},
            )  # fmt: skip
            status, retry_after = answer.status_code, answer.headers.get("Retry-After", "")
        except requests.RequestException:
            web.close()
        response = IngestResponse(started, time.monotonic(), status, retry_after)
        self.answers.append(response)
        return response

    def between(self, start: float, end: float) -> list[IngestResponse]:
        """Return the responses to requests that began and ended in that time."""
        return [a for a in list(self.answers) if a.started >= start and a.ended <= end]

    def was_taken_after(self, moment: float) -> bool:
        """Return whether a request that began after that moment was answered with 200."""
        return any(a.started > moment and a.status == 200 for a in reversed(self.answers))

    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)


def assert_delivered_once(
    stage: Stage, ids: set[str], result: Result, *, within: float = 90.0, piled: int = 0
) -> None:
    """Wait until the queue is empty; assert that the ledger closes and that the vendor holds each
    accepted message exactly once. Exactly the accepted messages must be stored.

    ids    the accepted messages
    piled  number of delivered deliveries that were inserted by SQL
    """
    stage.set_faults()
    eventually(lambda: not stage.has_queued(), within, "deliveries are left")
    account = stage.ledger_line()
    result.add(account)
    result.delivered -= piled
    result.accepted += len(ids)
    received = [each["idempotency_key"] for each in stage.events()]
    result.again += stage.count_repeats()
    result.doubled += len(received) - len(set(received))
    result.lost += len(ids - set(received))
    stored = account["in_scope"] - piled
    assert stored == len(ids), f"{stored} stored, {len(ids)} accepted"
    assert (result.lost, result.doubled) == (0, 0), f"lost {result.lost}, doubled {result.doubled}"
    assert set(received) == ids
