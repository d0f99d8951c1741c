"""Bytes to messages: what SDKs really send, and what must never cost a batch."""

import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest

from delivery.ingest.parsing import (
    Batch,
    Unreadable,
    decoded,
    identifier,
    opened,
    parse,
    write_keys,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def read(data, implied: str = "", *, most_bytes: int = 65_536, most: int = 2_500) -> Batch:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    clean, envelope, mended = opened(body)
    limits = (most_bytes, most)
    return parse(clean, envelope, implied=implied, now=NOW, limits=limits, mended=mended)


def track(**fields) -> dict:
    return {"type": "track", "event": "Signed Up", "userId": "ada", "messageId": "m-1", **fields}


def test_a_message_is_kept_as_it_came():
    raw = b'{"type":"track", "event":"A",\n "userId":"ada","properties":{"z":1.50,"a":[1,null]}}'
    [message] = read(b'{"batch":[%s]}' % raw).messages
    assert message.text == raw.decode()
    assert (message.type, message.name, message.user_id) == ("track", "A", "ada")


def test_a_bad_message_does_not_take_the_good_ones_down():
    batch = read(
        {"batch": [track(), track(event=""), {"type": "nonsense"}, 5, track(messageId="x")]}
    )
    assert [m.message_id for m in batch.messages] == ["m-1", "x"]
    assert [at for at, _, _ in batch.refused] == [1, 2, 3]
    assert "event" in batch.refused[0][1]
    assert "type" in batch.refused[1][1]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"type": "track", "event": "A"}, "userId"),
        ({"type": "identify", "userId": "  "}, "userId"),
        ({"type": "group", "userId": "a"}, "groupId"),
        ({"type": "alias", "userId": "a"}, "previousId"),
        ({"type": "track", "userId": "a"}, "event"),
    ],
)
def test_what_is_missing_is_named(message, field):
    [(_, reason, _)] = read({"batch": [message]}).refused
    assert field in reason


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        (" ada ", "ada"), ("0", "0"), (0, "0"), (17, "17"), (2.0, "2"), (None, ""), (True, ""),
        ([], ""), ("", ""),
    ],
)  # fmt: skip
def test_ids_are_trimmed_and_numbers_are_written_out(given, read_as):
    assert identifier(given) == read_as


@pytest.mark.parametrize(
    ("given", "at"),
    [
        ("2026-11-21T00:00:00.123Z", datetime(2026, 11, 21, 0, 0, 0, 123_000, UTC)),
        ("2026-11-21T01:00:00.123456+01:00", datetime(2026, 11, 21, 0, 0, 0, 123_456, UTC)),
        ("2026-11-21", datetime(2026, 11, 21, tzinfo=UTC)),
        (1_700_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (1_700_000_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
    ],
)
def test_times_are_read_in_the_forms_sdks_use(given, at):
    [message] = read({"batch": [track(timestamp=given)]}).messages
    assert message.timestamp == at
    assert message.notes == ()


def test_a_message_without_timestamp_takes_the_original_one_then_the_time_of_receipt():
    early = NOW - timedelta(days=1)
    original, none = read(
        {"batch": [track(originalTimestamp=early.isoformat()), track(messageId="m-2")]}
    ).messages
    assert (original.timestamp, none.timestamp) == (early, NOW)


def test_an_unreadable_time_is_noted_not_refused():
    [message] = read({"batch": [track(timestamp="yesterday")]}).messages
    assert message.timestamp == NOW
    assert "yesterday" in message.notes[0]


def test_nan_and_broken_characters_are_mended_and_noted():
    raw = b'{"batch":[{"type":"track","event":"A","userId":"a","properties":{"n":NaN,"i":-Infinity,"big":1e999,"s":"\\ud83d!"}}]}'  # noqa: E501
    [message] = read(raw).messages
    assert json.loads(message.text)["properties"] == {"n": None, "i": None, "big": None, "s": "�!"}
    assert "NaN" in message.notes[0]


def test_nul_characters_reach_no_column():
    [message] = read({"batch": [track(event="a\x00b", userId="u\x00")]}).messages
    assert "\x00" not in message.name + message.user_id


def test_a_long_message_id_keeps_its_difference():
    long = "m" * 400
    one, other = read(
        {"batch": [track(messageId=long + "1"), track(messageId=long + "2")]}
    ).messages
    assert one.message_id != other.message_id
    assert len(one.message_id) <= 255


def test_a_message_without_id_gets_one():
    messages = read({"batch": [track(messageId=None), track(messageId=None)]}).messages
    assert len({m.message_id for m in messages}) == 2


def test_the_address_implies_the_type():
    [message] = read({"event": "A", "anonymousId": "v"}, implied="track").messages
    assert (message.type, message.anonymous_id) == ("track", "v")


def test_what_the_batch_shares_lies_under_each_message():
    batch = {
        "context": {"ip": "1.2.3.4", "locale": "de"},
        "batch": [track(context={"locale": "en"})],
    }
    [message] = read(batch).messages
    assert json.loads(message.text)["context"] == {"ip": "1.2.3.4", "locale": "en"}


def test_an_oversize_message_is_refused_alone():
    batch = read({"batch": [track(), track(messageId="big", x="y" * 2_000)]}, most_bytes=1_000)
    assert [m.message_id for m in batch.messages] == ["m-1"]
    [(index, reason, text)] = batch.refused
    assert index == 1
    assert "1,000" in reason
    assert len(text) == 1_000


def test_too_many_messages_are_refused_as_a_whole():
    with pytest.raises(Unreadable, match="at most 2"):
        read({"batch": [track()] * 3}, most=2)


def test_a_body_without_batch_is_refused():
    with pytest.raises(Unreadable, match="batch"):
        read({"messages": []})


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b"\xff\xfe", b"[" * 5_000, b'{"batch":'])
def test_what_is_no_json_is_refused(body):
    with pytest.raises(Unreadable):
        read(body)


def test_deep_nesting_is_refused_and_not_a_crash():
    deep = b'{"batch":[{"type":"track","event":"A","userId":"a","properties":%s%s}]}'
    with pytest.raises(Unreadable):
        read(deep % (b'{"a":' * 3_000 + b"1", b"}" * 3_000))


def test_gzip_is_unpacked_up_to_the_limit():
    body = b'{"a":"' + b"x" * 1_000 + b'"}'
    assert decoded(gzip.compress(body), "gzip", limit=2_000) == body
    with pytest.raises(Unreadable) as refusal:
        decoded(gzip.compress(body), "gzip", limit=500)
    assert refusal.value.status == 413


def test_broken_gzip_is_said_to_be_broken():
    with pytest.raises(Unreadable, match="gzip"):
        decoded(b"not gzip", "gzip", limit=100)


def test_write_keys_of_the_body_are_found_and_not_stored():
    body = json.dumps({"batch": [track(writeKey="wk_message")], "writeKey": "wk_envelope"}).encode()
    _, envelope, _ = opened(body)
    assert list(write_keys(envelope)) == ["wk_envelope", "wk_message"]
    [message] = read(body).messages
    assert "wk_message" not in message.text
