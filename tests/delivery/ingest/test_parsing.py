"""Parsing: what SDKs really send, and mistakes that must never lose a batch."""

import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest

from delivery.ingest.envelope import decompress_body, iter_envelope_write_keys, parse_envelope
from delivery.ingest.parsing import (
    IngestLimits,
    ParsedBatch,
    RequestContext,
    UnreadableRequest,
    parse_messages,
)
from integrations.messages import normalize_id

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def read(
    data, implied_type: str = "", *, most_bytes: int = 65_536, most: int = 2_500, **more
) -> ParsedBatch:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    clean, envelope, repair_notes = parse_envelope(body)
    limits = IngestLimits(most_bytes, most, 5_000_000)
    terms = RequestContext(
        now=NOW, limits=limits, implied_type=implied_type, repair_notes=repair_notes, **more
    )
    return parse_messages(clean, envelope, terms)


def track(**fields) -> dict:
    return {"type": "track", "event": "Signed Up", "userId": "ada", "messageId": "m-1", **fields}


@pytest.mark.parametrize(
    ("fields", "end"),
    [({}, "group, alias."), ({"type": "trak"}, "group, alias, not 'trak'.")],
)
def test_a_missing_type_is_not_quoted(fields, end):
    [(_, reason, _)] = read({"batch": [{"event": "A", "userId": "ada", **fields}]}).rejected
    assert reason.startswith("type: must be one of track, ")
    assert reason.endswith(end)


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
    assert [at for at, _, _ in batch.rejected] == [1, 2, 3]
    assert "event" in batch.rejected[0][1]
    assert "type" in batch.rejected[1][1]


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
    [(_, reason, _)] = read({"batch": [message]}).rejected
    assert field in reason


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        (" ada ", "ada"), ("0", "0"), (0, "0"), (17, "17"), (2.0, "2"), (None, ""), (True, ""),
        ([], ""), ("", ""),
    ],
)  # fmt: skip
def test_ids_are_trimmed_and_numbers_are_written_out(given, read_as):
    assert normalize_id(given) == read_as


@pytest.mark.parametrize(
    ("given", "at"),
    [
        ("2026-11-21T00:00:00.123Z", datetime(2026, 11, 21, 0, 0, 0, 123_000, UTC)),
        ("2026-11-21T01:00:00.123456+01:00", datetime(2026, 11, 21, 0, 0, 0, 123_456, UTC)),
        ("2026-11-21", datetime(2026, 11, 21, tzinfo=UTC)),
        ("20261121", datetime(2026, 11, 21, tzinfo=UTC)),
        ("2026-11-21 01:00:00 +0100", datetime(2026, 11, 21, tzinfo=UTC)),
        ("2026-11-21T00:00:00.123456789Z", datetime(2026, 11, 21, 0, 0, 0, 123_456, UTC)),
        ("Sat, 21 Nov 2026 01:00:00 +0100", datetime(2026, 11, 21, tzinfo=UTC)),
        ("Sat, 21 Nov 2026 00:00:00 GMT", datetime(2026, 11, 21, tzinfo=UTC)),
        ("Sat Nov 21 2026 01:00:00 GMT+0100 (CET)", datetime(2026, 11, 21, tzinfo=UTC)),
        ("1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("1700000000.5", datetime(2023, 11, 14, 22, 13, 20, 500_000, UTC)),
        (1_700_000_000_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (1_700_000_000_000_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
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


@pytest.mark.parametrize(
    "given",
    ["yesterday", "2026-13-01", True, [], {}, 10**400, "9" * 40, -1e300, "0001-01-01T00:00+14:00"],
)
def test_an_unreadable_time_is_noted_not_refused(given):
    [message] = read({"batch": [track(timestamp=given)]}).messages
    assert message.timestamp == NOW
    assert str(given)[:20] in message.notes[0]


@pytest.mark.parametrize(
    ("fast", "said"), [(3_600, "3600 s fast"), (-90, "90 s slow"), (86_400 * 20_000, "s fast")]
)
@pytest.mark.parametrize("place", ["envelope", "message"])
def test_a_clock_that_is_wrong_is_corrected_by_when_it_says_it_sent(fast, said, place):
    theirs = NOW + timedelta(seconds=fast)
    sent, happened = {"sentAt": theirs.isoformat()}, (theirs - timedelta(minutes=10)).isoformat()
    message = track(timestamp=happened, **(sent if place == "message" else {}))
    [parsed] = read({"batch": [message], **(sent if place == "envelope" else {})}).messages
    assert parsed.timestamp == NOW - timedelta(minutes=10)
    assert said in parsed.notes[0]
    assert json.loads(parsed.text)["timestamp"] == happened


def test_a_single_message_is_corrected_by_its_own_sent_at():
    sent = (NOW - timedelta(hours=1)).isoformat()
    [message] = read(track(originalTimestamp=sent, sentAt=sent), implied_type="track").messages
    assert message.timestamp == NOW


def test_the_envelope_knows_best_when_it_was_sent():
    old = (NOW - timedelta(hours=1)).isoformat()
    body = {"sentAt": NOW.isoformat(), "batch": [track(timestamp=old, sentAt=old)]}
    [message] = read(body).messages
    assert message.timestamp == NOW - timedelta(hours=1)


@pytest.mark.parametrize("sent_at", [NOW - timedelta(seconds=4), NOW, "soon", None, 1e300])
def test_a_time_stays_as_it_was_given_when_the_clocks_agree_or_nothing_is_known(sent_at):
    called = NOW - timedelta(days=1)
    sent = sent_at.isoformat() if isinstance(sent_at, datetime) else sent_at
    [message] = read({"sentAt": sent, "batch": [track(timestamp=called.isoformat())]}).messages
    assert (message.timestamp, message.notes) == (called, ())


def test_a_time_later_than_it_was_sent_is_of_another_clock_and_stays():
    sent, called = NOW - timedelta(days=9), NOW - timedelta(days=3)
    body = {"sentAt": sent.isoformat(), "batch": [track(timestamp=called.isoformat())]}
    [message] = read(body).messages
    assert message.timestamp == called


def test_the_end_of_all_times_can_be_sent():
    sent, called = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
    first, last = read(
        {"batch": [track(timestamp=called, sentAt=called), track(timestamp=sent, sentAt=called)]}
    ).messages
    assert first.timestamp <= last.timestamp


def test_messages_of_one_request_are_in_the_order_in_which_they_happened():
    minutes = [3, 1, 2, 1]
    batch = [
        track(messageId=f"m-{n}", timestamp=(NOW - timedelta(minutes=ago)).isoformat())
        for n, ago in enumerate(minutes)
    ]
    messages = read({"batch": [*batch, track(messageId="now")]}).messages
    assert [m.message_id for m in messages] == ["m-0", "m-2", "m-1", "m-3", "now"]


def test_the_places_of_the_refused_are_those_of_the_request():
    late, bad, early = track(messageId="late"), {}, track(messageId="early", timestamp=1)
    batch = read({"batch": [late, bad, early]})
    assert [m.message_id for m in batch.messages] == ["early", "late"]
    assert [at for at, _, _ in batch.rejected] == [1]


def test_nan_and_broken_characters_are_mended_and_noted():
    raw = b'{"batch":[{"type":"track","event":"A","userId":"a","properties":{"n":NaN,"i":-Infinity,"big":1e999,"s":"\\ud83d!"}}]}'  # noqa: E501
    [message] = read(raw).messages
    assert json.loads(message.text)["properties"] == {"n": None, "i": None, "big": None, "s": "�!"}
    assert "NaN" in message.notes[0]


def test_nul_characters_reach_no_column():
    [message] = read({"batch": [track(event="a\x00b", userId="u\x00")]}).messages
    assert (message.name, message.user_id) == ("a�b", "u�")
    assert "NUL" in message.notes[0]


def test_message_ids_that_differ_by_a_nul_are_two():
    one, other = read({"batch": [track(messageId="a\x00"), track(messageId="a�")]}).messages
    assert "\x00" not in one.message_id
    assert one.message_id != other.message_id


def test_the_text_of_what_is_refused_may_be_cut_within_a_character():
    batch = read({"batch": [track(), {"x": "ü" * 900}]}, most_bytes=101)
    assert all(len(text) <= 101 for _, _, text in batch.rejected)


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
    [message] = read({"event": "A", "anonymousId": "v"}, implied_type="track").messages
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
    [(index, reason, text)] = batch.rejected
    assert index == 1
    assert "1,000" in reason
    assert len(text) == 1_000


def test_too_many_messages_are_refused_as_a_whole():
    with pytest.raises(UnreadableRequest, match="at most 2"):
        read({"batch": [track()] * 3}, most=2)


def test_a_body_without_batch_is_refused():
    with pytest.raises(UnreadableRequest, match="batch"):
        read({"messages": []})


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b"\xff\xfe", b"[" * 5_000, b'{"batch":'])
def test_what_is_no_json_is_refused(body):
    with pytest.raises(UnreadableRequest):
        read(body)


@pytest.mark.parametrize("levels", [64, 900, 3_000, 100_000])
def test_a_message_that_is_nested_too_deep_is_refused_alone(levels):
    deep = b"[" * levels + b"1" + b"]" * levels
    raw = b'{"batch":[%s,{"type":"track","event":"A","userId":"a","properties":%s},%s]}'
    good = json.dumps(track()).encode()
    batch = read(raw % (good, deep, json.dumps(track(messageId="m-2")).encode()))
    assert [m.message_id for m in batch.messages] == ["m-1", "m-2"]
    [(index, reason, _)] = batch.rejected
    assert index == 1
    assert "64 levels" in reason


def test_as_deep_as_allowed_is_kept_as_it_came():
    raw = json.dumps(track()).encode()[:-1] + b',"p":' + b"[" * 63 + b"]" * 63 + b"}"
    [message] = read(b'{"batch":[%s]}' % raw).messages
    assert message.text == raw.decode()


def test_too_deep_and_no_strict_json_costs_no_other_message():
    deep = b'{"type":"track","p":NaN,"q":' + b"[" * 3_000 + b"]" * 3_000 + b"}"
    batch = read(b'{"batch":[%s,%s]}' % (deep, json.dumps(track()).encode()))
    assert [m.message_id for m in batch.messages] == ["m-1"]
    assert "64 levels" in batch.rejected[0][1]


def test_brackets_in_a_text_are_no_nesting():
    [message] = read({"batch": [track(x='"[{' * 200 + "\\")]}).messages
    assert message.notes == ()


def test_a_message_with_too_many_keys_is_refused_alone():
    wide = track(messageId="wide", properties={str(n): "a:b" for n in range(2_000)})
    batch = read({"batch": [wide, track()]})
    assert [m.message_id for m in batch.messages] == ["m-1"]
    assert "2,000 keys" in batch.rejected[0][1]


def test_a_shared_context_counts_for_every_message():
    body = {"context": {"x": "y" * 900}, "batch": [track(), track(messageId="m-2")]}
    batch = read(body, most_bytes=500)
    assert (batch.messages, len(batch.rejected)) == ([], 2)
    body["context"]["x"] = "y" * 60_000
    _, envelope, _ = parse_envelope(json.dumps(body).encode())
    limits = IngestLimits(65_536, 2_500, 100_000)
    with pytest.raises(UnreadableRequest, match="2 messages cannot share"):
        parse_messages(b"", envelope, RequestContext(now=NOW, limits=limits))


def test_a_shared_context_that_is_nested_too_deep_is_no_crash():
    deep = b"[" * 900 + b"]" * 900
    with pytest.raises(UnreadableRequest, match="64 levels"):
        read(b'{"context":{"x":%s},"batch":[%s]}' % (deep, json.dumps(track()).encode()))


def test_a_visitor_who_is_known_by_other_means_is_taken_for_want_of_an_anonymous_id():
    own = track(messageId="m-2", anonymousId="own")
    other, mine = read({"batch": [track(), own]}, visitor_id="cookie").messages
    assert (other.anonymous_id, mine.anonymous_id) == ("cookie", "own")
    assert "cookie" not in other.text


def test_bytes_that_are_no_utf_8_are_replaced_and_noted():
    raw = json.dumps(track(event="X")).encode().replace(b'"X"', b'"caf\xe9"')
    [message] = read(b'{"batch":[%s]}' % raw).messages
    assert message.name == "caf�"
    assert "replaced" in message.notes[0]


def test_a_number_that_no_float_holds_is_null_and_the_rest_is_kept():
    raw = json.dumps(track(price="X")).encode().replace(b'"X"', b"1e999")
    good = json.dumps(track(messageId="m-2")).encode()
    repaired, message = read(b'{"batch":[%s,%s]}' % (raw, good)).messages
    assert json.loads(repaired.text)["price"] is None
    assert "too large" in repaired.notes[0]
    assert (message.text, message.notes) == (good.decode(), ())


def test_numbers_beyond_what_a_float_counts_are_kept_to_the_last_digit():
    [message] = read({"batch": [track(userId=2**53 + 1, n=2**70 + 1)]}).messages
    assert message.user_id == str(2**53 + 1)
    assert json.loads(message.text)["n"] == 2**70 + 1


def test_an_id_of_hundreds_of_digits_is_an_id():
    [message] = read({"batch": [track(userId=10**400)]}).messages
    assert message.user_id.startswith("10000")


def test_of_a_key_that_stands_twice_the_last_one_counts_everywhere():
    raw = json.dumps(track()).encode()[:-1] + b',"userId":"eve"}'
    [message] = read(b'{"batch":[%s]}' % raw).messages
    assert message.user_id == json.loads(message.text)["userId"] == "eve"
    assert message.text == raw.decode()


def test_what_should_be_an_object_and_is_not_is_noted():
    [message] = read({"batch": [track(properties="x", traits=None, context=[1])]}).messages
    assert [note.split(":")[0] for note in message.notes] == ["properties", "context"]


def test_a_write_key_with_quotes_in_it_leaves_the_message_whole():
    [message] = read({"batch": [track(writeKey='a"b\\', x=1)]}).messages
    assert json.loads(message.text) == track(writeKey="***", x=1)


def test_gzip_is_unpacked_up_to_the_limit():
    body = b'{"a":"' + b"x" * 1_000 + b'"}'
    assert decompress_body(gzip.compress(body), "gzip", limit=2_000) == body
    with pytest.raises(UnreadableRequest) as refusal:
        decompress_body(gzip.compress(body), "gzip", limit=500)
    assert refusal.value.status == 413


def test_broken_gzip_is_said_to_be_broken():
    with pytest.raises(UnreadableRequest, match="gzip"):
        decompress_body(b"not gzip", "gzip", limit=100)


def test_write_keys_of_the_body_are_found_and_not_stored():
    body = json.dumps({"batch": [track(writeKey="wk_message")], "writeKey": "wk_envelope"}).encode()
    _, envelope, _ = parse_envelope(body)
    assert list(iter_envelope_write_keys(envelope)) == ["wk_envelope", "wk_message"]
    [message] = read(body).messages
    assert "wk_message" not in message.text


def test_only_the_write_key_of_the_message_itself_is_masked():
    mine = {"writeKey": "mine", "inner": [{"writeKey": "mine"}]}
    sent = track(properties=mine, traits=mine, context=mine, writeKey="wk_message")
    [message] = read({"batch": [sent]}).messages
    assert json.loads(message.text) == {**sent, "writeKey": "***"}
    [message] = read({"batch": [track(properties=mine)], "context": mine}).messages
    assert json.loads(message.text) == track(properties=mine, context=mine)


@pytest.mark.parametrize("implied_type", ["", "track"])
def test_a_byte_order_mark_before_the_body_is_no_part_of_it(implied_type):
    body = json.dumps(track() if implied_type else {"batch": [track()]}).encode()
    [message] = read(b"\xef\xbb\xbf" + body, implied_type).messages
    assert (json.loads(message.text), message.notes) == (track(), ())
    with pytest.raises(UnreadableRequest):
        read(b"\xef\xbb\xbf\xef\xbb\xbf" + body, implied_type)
