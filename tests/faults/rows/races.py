"""Concurrent requests that carry the same message."""

import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import requests

from tests.faults.registry import POSTGRES, SQLITE, Result, RowContext, row
from tests.faults.support.sdk_client import ACCEPT_TIMEOUT, assert_delivered_once
from tests.kills.stage import TOKEN, WRITE_KEY, Stage, kill_all
from tests.support.processes import eventually

CLIENTS = 50
LATE = 999  # number of the client that sends after all others
Answer = tuple[int, str]


@row("15", "The same message from 50 clients at once", short=20, full=200, on=(POSTGRES, SQLITE))
def race(context: RowContext, result: Result) -> None:
    """Rounds are message ids. 50 clients send each id at the same moment, each with a different
    body, while the web server is killed repeatedly and Redis is flushed. A client without a
    response sends again. All clients must get the same response, and one event must be stored. By
    the protocol, another body with a known id repeats the same message, so the first body stays."""
    with Stage(context.url(), BROKER_URL=context.servers.redis.url) as stage:
        ids = [f"race-{number:04}" for number in range(context.rounds)]
        with restarts(stage, context) as killed:
            answers = sent_by_all(stage, ids)
        assert {len(each) for each in answers.values()} == {CLIENTS}
        different = {key: set(each) for key, each in answers.items() if len(set(each)) > 1}
        assert not different, f"different responses: {list(different.items())[:2]}"
        with requests.Session() as web:
            late = {post(web, stage, message(key, LATE)) for key in ids}
        [first] = {answer for each in answers.values() for answer in each}
        assert late == {first}, f"another body was answered with {late}, the first with {first}"
        assert first[0] == 200
        assert_delivered_once(stage, set(ids), result)
        numbers = [stored(stage, key) for key in ids]
        assert LATE not in numbers, "a second body replaced the first"
    assert killed, "the round ended before the web server could be killed"
    result.note = (
        f"{CLIENTS} clients; the web server was killed {len(killed)} times; each response "
        f"{first[0]} {first[1]}; another body with the same id: the same response, the first body "
        "stays"
    )


def message(key: str, number: int) -> dict[str, object]:
    """Return the message as client `number` sends it; its properties differ from the others."""
    return {
        "event": "Raced", "userId": "ada", "messageId": key, "properties": {"number": number},
    }  # fmt: skip


@contextmanager
def restarts(stage: Stage, context: RowContext) -> Iterator[list[float]]:
    """Kill the web server and flush Redis every few seconds; in the short form only once."""
    killed: list[float] = []
    over = threading.Event()

    def work() -> None:
        while not over.wait(random.uniform(*context.full_or_short((2.0, 4.0), (0.1, 0.4)))):
            kill_all(stage.web_server())
            killed.append(time.monotonic())
            context.servers.redis.flush()
            eventually(lambda: answers_at_all(stage), ACCEPT_TIMEOUT)
            if not context.full:
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join(ACCEPT_TIMEOUT)


def answers_at_all(stage: Stage) -> bool:
    try:
        address = f"http://{stage.env['PENSTOCK_WEB_BIND']}/v1/blueprint.schema.json"
        return requests.get(address, timeout=5).ok
    except requests.RequestException:
        return False


def sent_by_all(stage: Stage, ids: list[str]) -> dict[str, list[Answer]]:
    """Let all clients send each message at the same moment; return the responses."""
    barrier = threading.Barrier(CLIENTS)
    answers: defaultdict[str, list[Answer]] = defaultdict(list)

    def work(client: int) -> None:
        with requests.Session() as web:
            for key in ids:
                barrier.wait(ACCEPT_TIMEOUT)
                answers[key].append(insist(web, stage, message(key, client)))

    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(work, client) for client in range(CLIENTS)]:
            done.result()
    return answers


def insist(web: requests.Session, stage: Stage, body: dict[str, object]) -> Answer:
    """Send until a response other than 503 arrives, as an SDK does."""
    until = time.monotonic() + ACCEPT_TIMEOUT
    while time.monotonic() < until:
        try:
            answer = post(web, stage, body)
        except requests.RequestException:
            web.close()
            time.sleep(0.1)
            continue
        if answer[0] != 503:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"{body['messageId']} was never accepted")


def post(web: requests.Session, stage: Stage, body: dict[str, object]) -> Answer:
    answer = web.post(
        f"http://{stage.env['PENSTOCK_WEB_BIND']}/v1/track", data=json.dumps(body), timeout=30,
        headers={"Authorization": f"Bearer {WRITE_KEY}"},
    )  # fmt: skip
    return answer.status_code, answer.text.strip()


def stored(stage: Stage, key: str) -> int:
    """Return the number of the client whose body was stored. There must be exactly one event."""
    [event] = admin(stage, "events", message_id=key)["data"]
    number: int = admin(stage, f"events/{event['id']}")["body"]["properties"]["number"]
    return number


def admin(stage: Stage, path: str, **params: str):
    answer = requests.get(
        f"http://{stage.env['PENSTOCK_WEB_BIND']}/v1/admin/{path}", params=params, timeout=30,
        headers={"Authorization": f"Bearer {TOKEN}"},
    )  # fmt: skip
    assert answer.ok, answer.text
    return answer.json()
