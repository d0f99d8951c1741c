"""The log of requests: the latest ones in full, and counts of all."""

from collections import Counter, deque

from msgspec import Struct

from integrations.destinations.heap.sandbox.exchange import SandboxAnswer

MAX_LATEST_REQUESTS = 200  # latest requests that are kept


class RequestRecord(Struct, frozen=True):
    """One API request with its outcome, which is the status or "reset"."""

    at: float  # Unix seconds
    endpoint: str
    outcome: str
    items: int
    size: int  # bytes of the body, unpacked
    duration_ms: float
    fault: bool
    said: str  # start of an error's text


class Traffic:
    """Counts by endpoint and outcome since the last reset. Not thread-safe, like HeapState."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.counts: Counter[str] = Counter(requests=0, refused=0, rate_limited=0, faulted=0)
        self.by_endpoint: dict[str, Counter[str]] = {}
        self.latest: deque[RequestRecord] = deque(maxlen=MAX_LATEST_REQUESTS)

    def note(
        self,
        answer: SandboxAnswer,
        endpoint: str,
        *,
        at: float,
        took_s: float,
        size: int,
        fault: bool,
    ) -> None:
        outcome = "reset" if answer.cut else str(answer.status)
        said = answer.body[:200].decode(errors="replace") if answer.status >= 400 else ""
        seen = RequestRecord(at, endpoint, outcome, answer.items, size, took_s * 1_000, fault, said)
        self.latest.append(seen)
        self.by_endpoint.setdefault(endpoint, Counter())[outcome] += 1
        self.counts["requests"] += 1
        if fault:
            self.counts["faulted"] += 1
        elif answer.status == 429:
            self.counts["rate_limited"] += 1
        elif answer.status >= 400:
            self.counts["refused"] += 1

    def newest(self, limit: int) -> list[RequestRecord]:
        return list(reversed(self.latest))[:limit]
