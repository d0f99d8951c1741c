"""Whoever knows no write key makes the server do little: one small request may unpack to 5 MB."""

import gzip
import time
from contextlib import suppress

import pytest

from delivery.ingest.envelope import (
    MAX_GZIP_MEMBERS,
    decompress_body,
    find_possible_write_keys,
    iter_envelope_write_keys,
    parse_envelope,
)
from delivery.ingest.errors import UnreadableRequest
from tests.support.factories import make_source

LIMIT = 5_000_000


def fill(start, part, end):
    return start + part * ((LIMIT - len(start) - len(end)) // len(part)) + end


BODIES = {
    "empty lists beside NaN": fill(b'{"batch":[', b"[],", b"NaN]}"),
    "empty objects beside NaN": fill(b'{"batch":[', b"{},", b"NaN]}"),
    "numbers beside NaN": fill(b'{"batch":[', b"1,", b"NaN]}"),
    "texts beside NaN": fill(b'{"batch":[', b'"",', b"NaN]}"),
    "deep brackets": fill(b'{"batch":' + b"[" * 70, b"[]", b""),
    "a list as write key": fill(b'{"writeKey":[', b"[],", b"1]}"),
    "a list as time": fill(b'{"sentAt":[', b"[],", b"1]}"),
    "a list as write key of a message": fill(b'{"batch":[{"writeKey":[', b"[],", b"1]}]}"),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_is_parsed_or_refused_within_a_moment(body):
    started = time.process_time()
    with suppress(UnreadableRequest):
        assert list(iter_envelope_write_keys(parse_envelope(body)[1])) == []
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    "member", [gzip.compress(b""), gzip.compress(b"a")], ids=["empty", "one byte"]
)
def test_a_million_gzip_members_are_refused_at_once(member):
    started = time.process_time()
    with pytest.raises(UnreadableRequest, match="more than 100 members"):
        decompress_body(member * (LIMIT // len(member)), "gzip", limit=LIMIT)
    assert time.process_time() - started < 0.5


def test_some_gzip_members_with_padding_are_one_body():
    packed = b"\0\0".join([gzip.compress(b"ab")] * MAX_GZIP_MEMBERS)
    assert decompress_body(packed, "gzip", limit=LIMIT) == b"ab" * MAX_GZIP_MEMBERS


@pytest.mark.parametrize("cut", [0, 5, -1])
def test_gzip_that_ends_too_early_is_refused(cut):
    with pytest.raises(UnreadableRequest, match="not valid gzip"):
        decompress_body(gzip.compress(b"abc")[:cut], "gzip", limit=LIMIT)


def test_possible_write_keys_are_found_wherever_they_are_and_only_a_few():
    body = b'NaN {"writeKey" : "wk_a", "batch": [{"writeKey":"wk_b"}, {"writeKey":"wk_a"}'
    assert find_possible_write_keys(body) == ["wk_a", "wk_b"]
    assert len(find_possible_write_keys(b'"writeKey":"%d",' * 50 % tuple(range(50)))) == 10


@pytest.mark.django_db
@pytest.mark.parametrize(("key", "status"), [(b"wk_shop", 400), (b"wk_other", 401), (b"", 401)])
def test_a_body_without_a_known_key_is_refused_before_it_is_found_to_be_no_json(
    client, key, status
):
    make_source(write_key="wk_shop")
    body = b'{"writeKey": "' + key + b'", no JSON'
    assert client.post("/v1/track", body, "text/plain").status_code == status
