"""The rate limit of a source."""

import threading
import time
from uuid import uuid4

import pytest
import redis

from delivery.models import Event, Rejection
from integrations.models import Source
from integrations.rate_limits import redis_buckets, token_bucket
from tests.delivery.ingest.test_endpoints import TRACK, basic, post
from tests.support.factories import make_source


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until the test advances it by some seconds."""
    now = [1_000.0]
    monkeypatch.setattr(token_bucket.time, "monotonic", lambda: now[0])

    def pass_by(seconds):
        now[0] += seconds

    return pass_by


@pytest.fixture
def shared(redis_url, settings, source, monkeypatch):
    settings.BROKER_URL = redis_url
    monkeypatch.setattr(redis_buckets, "REDIS_TIMEOUT", 5.0)  # a busy machine delays Redis
    key = f"penstock:test:{uuid4()}:{{}}"  # another test run may use this Redis
    monkeypatch.setattr(redis_buckets, "BUCKET_KEY", key)
    redis_buckets.shared_buckets.usable_from = 0.0
    server = redis.from_url(redis_url)
    yield server
    server.delete(redis_buckets.BUCKET_KEY.format(source.pk))
    server.close()
    redis_buckets._take_script(redis_url).registered_client.close()
    redis_buckets._take_script.cache_clear()


def send(client, number, **headers):
    batch = {"batch": [TRACK | {"type": "track", "messageId": None}] * number}
    return post(client, "/v1/batch", batch, authorization=basic("wk_shop"), **headers)


def test_two_seconds_worth_may_come_at_once_and_then_no_more(client, source, clock, settings):
    settings.RATE_LIMIT = 10
    assert [send(client, 10).status_code for _ in range(3)] == [200, 200, 429]
    clock(0.5)
    assert [send(client, 5).status_code for _ in range(2)] == [200, 429]
    assert Event.objects.count() == 25
    assert not Rejection.objects.exists()


def test_who_is_refused_is_told_when_to_come_again_and_a_page_can_read_it(
    client, source, clock, settings
):
    settings.RATE_LIMIT = 10
    send(client, 20)
    answer = send(client, 15, origin="https://shop.example")
    assert (answer.status_code, answer["Retry-After"]) == (429, "2")
    assert answer.json()["code"] == "rate_limited"
    assert answer["Access-Control-Expose-Headers"] == "Retry-After"
    clock(2)
    assert send(client, 15).status_code == 200


def test_a_batch_larger_than_the_bucket_needs_a_full_one_and_leaves_a_debt(
    client, source, clock, settings
):
    settings.RATE_LIMIT = 10
    assert send(client, 50).status_code == 200
    answer = send(client, 1)
    assert (answer.status_code, answer["Retry-After"]) == (429, "4")
    clock(3.2)
    assert send(client, 1).status_code == 200


@pytest.mark.parametrize(("own", "status"), [(0, 200), (1, 429), (None, 200)])
def test_a_source_can_have_a_limit_of_its_own(client, source, clock, own, status):
    Source.objects.update(rate_limit=own)
    assert [send(client, 3).status_code for _ in range(2)] == [200, status]


def test_sources_have_a_bucket_each(client, source, clock, settings):
    settings.RATE_LIMIT = 1
    make_source("App", write_key="wk_app")
    for key in ("wk_shop", "wk_app"):
        for status in (200, 200, 429):
            message = TRACK | {"messageId": None}
            answer = post(client, "/v1/track", message, authorization=basic(key))
            assert answer.status_code == status


def test_processes_share_a_bucket_where_there_is_redis(client, source, shared, settings):
    settings.RATE_LIMIT = 5
    assert send(client, 10).status_code == 200
    token_bucket.clear_local_buckets()  # like another process, this one has no buckets
    answer = send(client, 10)
    assert (answer.status_code, answer["Retry-After"]) == (429, "2")
    assert 0 < shared.ttl(redis_buckets.BUCKET_KEY.format(source.pk)) <= 5


def test_a_shared_bucket_never_gives_more_than_it_has(source, shared, settings):
    rate, size, taken = 10.0, 20.0, []

    def take():
        taken.append(redis_buckets.shared_buckets.take(str(source.pk), 1, rate, size)[0] == 0)

    start = time.monotonic()
    threads = [threading.Thread(target=take) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Tokens that came in while the threads ran, which takes longer on a busy machine.
    came_in = rate * (time.monotonic() - start)
    assert size <= sum(taken) <= size + came_in


def test_without_redis_each_process_limits_for_itself(client, source, settings, free_port, caplog):
    redis_buckets.shared_buckets.usable_from = 0.0
    settings.RATE_LIMIT, settings.BROKER_URL = 5, f"redis://127.0.0.1:{free_port}/0"
    assert [send(client, 10).status_code for _ in range(2)] == [200, 429]
    assert caplog.text.count("until it responds again") == 1
