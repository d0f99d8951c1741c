"""Arbitrary requests: each is stored readable or refused with a reason, and no memory leaks.

PENSTOCK_FUZZ is the number of requests to generate; `make fuzz` generates 200,000.
"""

import gc
import gzip
import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from random import Random

import msgspec
import psutil
import pytest
from django.db.models import Max
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery.ingest import envelope as ingest_envelope
from delivery.ingest import parsing
from delivery.ingest.errors import UnreadableRequest
from delivery.ingest.parsing import IngestLimits, RequestContext
from delivery.ingest.timestamps import read_time
from delivery.models import Event, Rejection
from delivery.transform.shape import build_message_view
from delivery.transform.stored_messages import decode_stored_message
from integrations.messages import MESSAGE_TYPES
from tests.support.factories import make_source

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIMITS = IngestLimits(2_000, 20, 20_000)
INPUTS = int(os.environ.get("PENSTOCK_FUZZ", "3000"))
VARIANTS = 40  # inputs per example: the example itself, and copies with a few bytes changed
ROUND = 20_000  # inputs after which hypothesis restarts, because it remembers each example
ROUNDS = range(max(INPUTS // ROUND, 1))
EXAMPLES = INPUTS // VARIANTS // len(ROUNDS)
GROWTH = 5_000_000  # bytes that the process may grow by in the second half of the rounds
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

texts = st.text(st.characters(exclude_categories=[]), max_size=20)  # lone surrogates, too
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts,
    st.sampled_from(["", "0", 0, 10**30, 2**64, 1e308, "2026-11-21T12:00:00Z", "a\x00", "x" * 300]),
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
FIELDS = (
    "type", "event", "name", "userId", "anonymousId", "previousId", "groupId", "messageId",
    "timestamp", "originalTimestamp", "sentAt", "properties", "traits", "context", "writeKey",
)  # fmt: skip
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(MESSAGE_TYPES) | scalars},
    optional=dict.fromkeys(FIELDS[1:], values),
)
envelopes = st.fixed_dictionaries(
    {"batch": st.lists(messages | values, max_size=25) | values},
    optional=dict.fromkeys(("context", "integrations", "sentAt", "writeKey"), values),
)
RAW = [
    b"NaN", b"1e999", b"9" * 400, b"9" * 5_000, b"\xff", b"\xed\xa0\x80", b"\\ud83d", b"\\u0000",
    b"[" * 70 + b"]" * 70, b"[" * 1_200 + b"]" * 1_200, b"{", b'"', b",", b"\x00", b"-", b"1.",
]  # fmt: skip


@st.composite
def bodies(draw):
    """The JSON body of a request."""
    body = json.dumps(draw(envelopes | messages), ensure_ascii=draw(st.booleans()))
    return body.encode("utf-8", "surrogatepass")


def variants(body, dice):
    """Return the body, and copies in which pieces that break JSON replace a few bytes."""
    return [body, *(changed(body, dice) for _ in range(VARIANTS - 1))]


def changed(body, dice):
    for _ in range(dice.randint(1, 4)):
        at, length = dice.randint(0, len(body)), dice.choice((0, 0, 1, 2, 9, 500))
        piece = dice.choice([*RAW, dice.randbytes(2), body[at // 2 : at]])
        body = body[:at] + piece + body[at + length :]
    return body


def taken(body, **terms):
    opened, envelope, repair_notes = ingest_envelope.parse_envelope(body)
    list(ingest_envelope.iter_envelope_write_keys(envelope))
    return parsing.parse_messages(
        opened, envelope, RequestContext(now=NOW, limits=LIMITS, repair_notes=repair_notes, **terms)
    )


def test_whatever_is_sent_is_readable_when_it_is_stored_and_leaves_no_memory_behind():
    sizes = [size_after_a_round() for _ in ROUNDS]
    lines = [
        f"{n * EXAMPLES * VARIANTS:,} inputs: {size / 1e6:.1f} MB"
        for n, size in enumerate(sizes, 1)
    ]
    sys.stdout.write("\n".join(["", *lines, ""]))
    half = (len(sizes) + 1) // 2
    assert max(sizes[half:], default=0) <= max(sizes[:half]) + GROWTH


def size_after_a_round():
    """Run one round; return the size of this process in bytes."""
    every_body_is_readable_or_refused()
    gc.collect()
    return psutil.Process().memory_info().rss


@fuzz
@given(st.binary(max_size=200) | bodies(), st.integers(), st.sampled_from(["", *MESSAGE_TYPES]))
def every_body_is_readable_or_refused(body, seed, implied_type):
    for each in variants(body, Random(seed)):
        is_readable_or_refused(each, implied_type)


def is_readable_or_refused(body, implied_type):
    try:
        batch = taken(body, implied_type=implied_type)
    except UnreadableRequest:
        return
    for message in batch.messages:
        check(message)
    for _, reason, text in batch.rejected:
        (reason + text).encode()


def check(message):
    columns = [message.message_id, message.type, message.name, message.user_id]
    columns += [message.anonymous_id, parsing.encode_notes(message.notes)]
    assert not any("\x00" in column for column in columns)
    assert all(len(column) <= 255 for column in columns[:-1])
    "".join([*columns, message.text]).encode()
    assert isinstance(json.loads(message.text), dict)
    seen = decode_stored_message(
        message.text, message.type, message.message_id, message.name, message.user_id,
        message.anonymous_id, message.timestamp, NOW,
    )  # fmt: skip
    msgspec.json.encode(build_message_view(seen))


@settings(fuzz, max_examples=max(INPUTS // 10, 300))
@given(scalars | st.text())
def test_whatever_is_given_as_a_time_is_one_or_none(value):
    at = read_time(value)
    assert at is None or at.tzinfo is UTC


@settings(fuzz, max_examples=max(INPUTS // 10, 300))
@given(st.binary(max_size=200), st.integers(0, 60), st.binary(max_size=3))
def test_whatever_is_called_gzip_is_unpacked_or_refused(data, at, noise):
    packed = gzip.compress(data)
    broken = packed[:at] + noise + packed[at:]
    with suppress(UnreadableRequest):
        ingest_envelope.decompress_body(broken, "gzip", limit=1_000)


@pytest.fixture
def source(db):
    return make_source(write_key="wk_fuzz", rate_limit=0)


@settings(fuzz, max_examples=max(INPUTS // VARIANTS // 10, 5))
@given(bodies(), st.integers(), st.sampled_from(["/v1/batch", "/v1/track", "/v1/i", "/v1/events"]))
def test_whatever_is_posted_is_answered_in_words(client, source, body, seed, address):
    for each in variants(body, Random(seed)):
        is_answered_in_words(client, each, address)


def is_answered_in_words(client, body, address):
    event, rejection = last(Event), last(Rejection)
    answer = client.generic("POST", address, body, headers={"x-write-key": "wk_fuzz"})
    assert answer.status_code in (200, 400, 413)
    if answer.status_code != 200:
        assert answer.json().keys() >= {"code", "message"}
        assert last(Event) == event
        assert Rejection.objects.filter(pk__gt=rejection).count() == 1


def last(model):
    """Return the id of the newest row, because thousands of requests must not count all rows."""
    return model.objects.aggregate(last=Max("pk"))["last"] or 0
