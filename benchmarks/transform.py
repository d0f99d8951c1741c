"""Measures how fast one thread turns messages into Heap's requests, with no database or network.

    python benchmarks/transform.py [FILE]

FILE holds a message as JSON on each line; without it, events.py makes 20,000. Each line is parsed,
matched against the triggers of Heap's default blueprint, mapped, shaped for Heap and packed into
bulk bodies of up to 1,000 entries. The figures are wall time and the CPU time of this process,
which other work on the machine lengthens less. The best of several turns counts, because other work
delayed it least.
"""

import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # runs from any folder, without Django

import msgspec  # noqa: E402

from benchmarks.events import messages  # noqa: E402
from integrations.blueprints import NAME_FIELDS, Blueprint, build_message_view, compile_blueprint  # noqa: E402
from integrations.catalog import load_blueprint  # noqa: E402
from integrations.destination import Item  # noqa: E402
from integrations.destinations.heap import DESTINATION  # noqa: E402
from integrations.messages import Message  # noqa: E402

EVENTS = 20_000
TURNS = 7
CONFIG = {"app_id": "1234567890", "region": "us", "arrays": "json", "sandbox_url": ""}
NOW = datetime.now(UTC)
decode = msgspec.json.Decoder().decode


def main() -> None:
    lines = given(sys.argv[1]) if len(sys.argv) > 1 else made()
    compiled = compile_blueprint(load_blueprint("heap", "default"), DESTINATION.kinds)
    turns = [turn(lines, compiled) for _ in range(TURNS)]
    _, _, requests, size = turns[0]
    print(f"{len(lines):,} messages of {sum(map(len, lines)) / len(lines):,.0f} bytes")
    print(f"{requests:,} requests of {size / requests:,.0f} bytes. The best of {TURNS} turns:")
    for name, place in (("wall", 0), ("CPU", 1)):
        seconds = min(each[place] for each in turns) / len(lines)
        print(f"  {name:4}  {1 / seconds:8,.0f} events/s   {seconds * 1e6:.1f} µs each")
    print(f"Python {platform.python_version()}, {platform.machine()}, {datetime.now():%Y-%m-%d}")


def given(path: str) -> list[bytes]:
    return [line for line in Path(path).read_bytes().splitlines() if line.strip()]


def made() -> list[bytes]:
    return [json.dumps(each).encode() for each in messages("bench", EVENTS)]


def turn(lines: Sequence[bytes], compiled: Blueprint) -> tuple[float, float, int, int]:
    """Return the seconds of wall time and of CPU time, the number of requests, and their bytes."""
    wall, cpu = time.perf_counter(), time.process_time()
    sizes = [len(body) for body in bodies(lines, compiled)]
    return time.perf_counter() - wall, time.process_time() - cpu, len(sizes), sum(sizes)


def bodies(lines: Sequence[bytes], compiled: Blueprint) -> Iterator[bytes]:
    """Yield the bodies of all requests. The packing that keeps each user's order is not included.

    A fact that the vendor needs only once is sent only once, as by the worker.
    """
    waiting: dict[str, list[Item]] = {key: [] for key in DESTINATION.endpoints}
    sent_facts: set[str] = set()
    for line in lines:
        message = parsed(line)
        for action in compiled.apply(build_message_view(message)):
            for item in DESTINATION.items(action, message, CONFIG).items:
                if item.once:
                    if item.once[0] in sent_facts:
                        continue
                    sent_facts.add(item.once[0])
                queue = waiting[item.endpoint]
                queue.append(item)
                if len(queue) == DESTINATION.endpoints[item.endpoint].max_items:
                    yield DESTINATION.request(item.endpoint, queue, CONFIG).body
                    queue.clear()
    for endpoint, queue in waiting.items():
        if queue:
            yield DESTINATION.request(endpoint, queue, CONFIG).body


def parsed(line: bytes) -> Message:
    body = decode(line)
    timestamp = body.get("timestamp") or body.get("originalTimestamp")
    at = datetime.fromisoformat(timestamp) if timestamp else NOW
    return Message(
        type=body["type"],
        message_id=body.get("messageId", ""),
        name=body.get(NAME_FIELDS.get(body["type"], "name"), ""),
        user_id=body.get("userId") or "",
        anonymous_id=body.get("anonymousId") or "",
        timestamp=at,
        received_at=NOW,
        body=body,
    )


if __name__ == "__main__":
    main()
