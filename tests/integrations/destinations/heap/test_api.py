"""Heap's items and requests. No Django, no database, and no network except one local sandbox."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.ingest.envelope import parse_envelope
from delivery.ingest.parsing import IngestLimits, RequestContext, parse_messages
from integrations.blueprints import build_message_view, compile_blueprint
from integrations.destination import Action, Item, ShapedMessage
from integrations.destinations.heap import DESTINATION, api, properties
from integrations.destinations.heap.sandbox import Sandbox
from integrations.destinations.heap.sandbox.api import HeapApi
from integrations.destinations.heap.sandbox.exchange import SandboxCall
from integrations.destinations.heap.sandbox.state import HeapState
from integrations.errors import MessageRejected, VendorUnavailable
from integrations.messages import MESSAGE_TYPES, Message

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "integrations/destinations/heap"
EXAMPLES = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("examples/*.json")}
CONFIG = {"app_id": "1234567890", "region": "us", "sandbox_url": ""}
NOW = datetime(2026, 11, 21, 9, 30, 15, 250_999, tzinfo=UTC)
VISITOR = "435837195053672"  # the number of anon1


def a_message(**given: Any) -> Message:
    defaults = {"type": "track", "message_id": "message-1", "timestamp": NOW, "received_at": NOW}
    return Message(**{**defaults, **given})


def shape(kind: str, fields: dict[str, Any], config: Any = CONFIG, **given: Any) -> ShapedMessage:
    return DESTINATION.items(Action(kind=kind, fields=fields), a_message(**given), config)


def entries(shaped: ShapedMessage) -> list[tuple[str, Any]]:
    return [(item.endpoint, json.loads(item.body)) for item in shaped.items]


def entry(shaped: ShapedMessage) -> Any:
    """Return the body of the only entry."""
    [(_, body)] = entries(shaped)
    return body


def track(given: Any = None, config: Any = CONFIG, **message: Any) -> tuple[Any, list[str]]:
    """Return the properties as sent for an event with the given ones, and the notes."""
    message = message or {"user_id": "ada"}
    shaped = shape("track", {"event": "Seen", "properties": given}, config, **message)
    return entry(shaped).get("properties", {}), list(shaped.notes)


def requests(items: tuple[Item, ...], config: Any) -> list[dict[str, Any]]:
    """Return the requests for one message's items, in order."""
    built = [
        DESTINATION.request(endpoint, list(group), config)
        for endpoint, group in groupby(items, key=lambda item: item.endpoint)
    ]
    return [{"method": r.method, "url": r.url, "json": json.loads(r.body)} for r in built]


# --- examples ---


def message_of(example: dict[str, Any]) -> Message:
    given = dict(example["message"])
    for key in ("timestamp", "received_at"):
        given[key] = datetime.fromisoformat(given[key])
    return Message(**given)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_builds_the_requests_it_promises(name):
    example = EXAMPLES[name]
    act, message = Action(**example["action"]), message_of(example)
    if "rejected" in example:
        with pytest.raises(MessageRejected) as rejected:
            DESTINATION.items(act, message, example["config"])
        assert str(rejected.value) == example["rejected"]
        return
    shaped = DESTINATION.items(act, message, example["config"])
    assert requests(shaped.items, example["config"]) == example["requests"]
    assert list(shaped.notes) == example["notes"]
    assert shaped.nothing == example.get("nothing", "")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_blueprint_makes_the_action_of_an_example(name):
    example, message = EXAMPLES[name], message_of(EXAMPLES[name])
    data = json.loads((FOLDER / f"blueprints/{example['variant']}.json").read_text())
    view = {**message.body, "type": message.type, "traits": message.traits}
    [action] = compile_blueprint(data).apply(view)
    assert {"kind": action.kind, "fields": action.fields} == example["action"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_ingest_makes_the_message_of_an_example_of_its_body(name):
    message, limits = message_of(EXAMPLES[name]), IngestLimits(32_000, 1, 500_000)
    terms = RequestContext(
        now=message.received_at, limits=limits, implied_type=message.type, is_single=True
    )
    body, envelope, _ = parse_envelope(json.dumps(message.body).encode())
    [parsed] = parse_messages(body, envelope, terms).messages
    assert parsed.timestamp == message.timestamp
    assert (parsed.type, parsed.message_id) == (message.type, message.message_id)
    ids = (message.user_id.strip()[:255], message.anonymous_id.strip())
    assert (parsed.user_id, parsed.anonymous_id) == ids


def test_the_sandbox_takes_the_requests_of_every_example():
    with Sandbox() as sandbox:
        for example in EXAMPLES.values():
            for each in example.get("requests", ()):
                url = sandbox.url + each["url"][each["url"].index("/api/") :]
                body = json.dumps(each["json"]).encode()
                with urlopen(HttpRequest(url, body), timeout=60) as answer:
                    assert answer.status == 200


def test_the_examples_show_every_kind_and_variant():
    assert {e["action"]["kind"] for e in EXAMPLES.values()} == set(DESTINATION.kinds)
    assert {e["variant"] for e in EXAMPLES.values()} == {v.key for v in DESTINATION.variants}


def blueprint(variant: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"blueprints/{variant}.json").read_text())


def test_the_default_blueprint_wants_every_type_once():
    triggers = [action["trigger"] for action in blueprint("default")["actions"]]
    assert sorted(triggers) == sorted(f'type = "{each}"' for each in MESSAGE_TYPES)


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"type": "track", "event": "Product Viewed"}, True),
        ({"type": "track", "event": "Product Added"}, True),
        ({"type": "track", "event": "Order Completed"}, True),
        ({"type": "track", "event": "order completed"}, False),
        ({"type": "page", "event": "Order Completed"}, False),
        ({"type": "identify"}, False),
    ],
)
def test_a_shop_sends_what_is_looked_at_and_bought(message, wanted):
    assert compile_blueprint(blueprint("retail")).wants(message) == wanted


@pytest.mark.parametrize(
    ("given", "revenue"),
    [
        ({"revenue": 9, "total": 12}, 9),
        ({"revenue": 0, "total": 12}, 0),
        ({"revenue": None, "total": 12}, 12),
        ({"total": 12}, 12),
    ],
)
def test_the_revenue_of_an_order_falls_back_to_its_total(given, revenue):
    message = {"type": "track", "event": "Order Completed", "properties": given}
    [action] = compile_blueprint(blueprint("retail")).apply(message)
    assert action.fields["properties"] == {"revenue": revenue}


def test_a_page_without_a_name_keeps_the_property_of_that_name():
    message = {"type": "page", "properties": {"name": "pricing"}}
    [action] = compile_blueprint(blueprint("segment-parity")).apply(message)
    assert action.fields == {"event": "Page viewed", "properties": {"name": "pricing"}}


def test_visitors_as_identities_differ_from_the_default_in_their_config_only():
    actions = [a for a in blueprint("default")["actions"] if a["kind"] != "link"]
    assert blueprint("anonymous-as-identity") == {**blueprint("default"), "actions": actions}
    assert DESTINATION.variant("anonymous-as-identity").config == {"visitors": "identity"}


# --- the person ---


def test_an_event_of_a_user_has_the_identity_only():
    body = entry(shape("track", {"event": "Seen"}, user_id="0"))
    assert body == {
        "event": "Seen",
        "identity": "0",
        "timestamp": "2026-11-21T09:30:15.250Z",
        "idempotency_key": "message-1",
    }


def test_an_event_of_a_visitor_has_the_number_only():
    body = entry(shape("track", {"event": "Seen"}, anonymous_id="anon1"))
    assert (body.get("identity"), body["user_id"]) == (None, VISITOR)


@pytest.mark.parametrize(
    ("kind", "fields", "endpoint"),
    [
        ("track", {"event": "Seen"}, "track"),
        ("user_properties", {"properties": {"plan": "pro"}}, "add_user_properties"),
        (
            "account_properties",
            {"account_id": "acme", "properties": {"plan": "pro"}},
            "add_account_properties",
        ),
    ],
)
def test_a_message_with_both_ids_links_them_first(kind, fields, endpoint):
    shaped = shape(kind, fields, user_id="ada", anonymous_id="anon1")
    [link, other] = shaped.items
    assert (link.endpoint, other.endpoint) == ("identify", endpoint)
    assert json.loads(link.body) == {
        "user_id": VISITOR,
        "identity": "ada",
        "timestamp": "2026-11-21T09:30:15.250Z",
    }
    assert (link.once, other.once) == ((f"link:{VISITOR}", "ada"), None)


@pytest.mark.parametrize("kind", ["user_properties", "account_properties"])
def test_a_link_goes_out_even_when_nothing_else_does(kind):
    shaped = shape(kind, {"account_id": "acme"}, user_id="ada", anonymous_id="anon1")
    assert [item.endpoint for item in shaped.items] == ["identify"]
    assert shaped.nothing == ""


def test_blanks_around_a_user_id_are_taken_off_and_noted():
    shaped = shape("track", {"event": "Seen"}, user_id=" ada\n")
    assert entry(shaped)["identity"] == "ada"
    assert shaped.notes == ("userId sent without surrounding whitespace.",)


@pytest.mark.parametrize("nobody", ["null", "Undefined", " user ", "[object Object]", "guest"])
def test_an_id_that_is_nobodys_is_ignored_and_noted(nobody):
    shaped = shape("track", {"event": "Seen"}, user_id=nobody, anonymous_id="anon1")
    assert entry(shaped)["user_id"] == VISITOR
    assert nobody.strip() in shaped.notes[0]


def test_an_anonymous_id_that_is_nobodys_links_nobody():
    shaped = shape("track", {"event": "Seen"}, user_id="ada", anonymous_id="undefined")
    assert [item.endpoint for item in shaped.items] == ["track"]
    assert "anonymousId" in shaped.notes[0]


@pytest.mark.parametrize("ids", [{}, {"user_id": " ", "anonymous_id": "\t"}])
@pytest.mark.parametrize("kind", ["track", "user_properties", "link"])
def test_a_message_about_nobody_is_rejected(kind, ids):
    with pytest.raises(MessageRejected, match="userId"):
        shape(kind, {"event": "Seen", "properties": {"a": 1}, "previous_id": "anon1"}, **ids)


def test_a_rejection_says_which_id_was_ignored():
    with pytest.raises(MessageRejected, match='anonymousId "null" ignored'):
        shape("track", {"event": "Seen"}, anonymous_id="null")


def test_a_user_id_is_sent_whole_or_not_at_all():
    assert entry(shape("track", {"event": "Seen"}, user_id="u" * 255))["identity"] == "u" * 255
    with pytest.raises(MessageRejected, match="256 characters"):
        shape("track", {"event": "Seen"}, user_id="u" * 256)


# --- visitors as identities ---

AS_IDENTITY = {**CONFIG, "visitors": "identity"}


@pytest.mark.parametrize(
    ("ids", "identity"),
    [
        ({"anonymous_id": " anon1 "}, "anon1"),
        ({"anonymous_id": "anon1", "user_id": "ada"}, "ada"),
        ({"anonymous_id": "anon1", "user_id": "null"}, "anon1"),
    ],
)
def test_a_visitor_may_be_an_identity_and_is_never_linked(ids, identity):
    [item] = shape("track", {"event": "Seen"}, AS_IDENTITY, **ids).items
    sent = json.loads(item.body)
    assert (sent["identity"], sent.get("user_id")) == (identity, None)


def test_an_identity_that_visitors_share_is_refused():
    with pytest.raises(MessageRejected, match="Heap needs a userId or an anonymousId"):
        shape("track", {"event": "Seen"}, AS_IDENTITY, anonymous_id="undefined")


def test_a_visitors_identity_is_not_cut():
    with pytest.raises(MessageRejected, match="The anonymousId has 256 characters"):
        shape("track", {"event": "Seen"}, AS_IDENTITY, anonymous_id="a" * 256)


def test_identities_are_not_merged_by_an_alias():
    shaped = shape("link", {"previous_id": "anon1"}, AS_IDENTITY, user_id="ada")
    assert shaped.items == ()
    assert "Heap never merges two identities" in shaped.nothing


# --- events ---


@pytest.mark.parametrize("name", [None, "", "  ", True, {"a": 1}])
def test_an_event_without_a_name_is_rejected(name):
    with pytest.raises(MessageRejected, match="name"):
        shape("track", {"event": name}, user_id="ada")


def test_an_events_name_may_be_a_number():
    assert entry(shape("track", {"event": 404}, user_id="ada"))["event"] == "404"


@pytest.mark.parametrize(
    ("name", "sent"),
    [("e" * 1024, "e" * 1024), ("e" * 1025, "e" * 1024), ("e" + "😀" * 512, "e" + "😀" * 511)],
)
def test_an_events_name_is_cut_at_heaps_limit(name, sent):
    shaped = shape("track", {"event": name}, user_id="ada")
    assert entry(shaped)["event"] == sent
    assert len(shaped.notes) == (name != sent)


@pytest.mark.parametrize(
    ("message_id", "key"),
    [
        ("message-1", "message-1"),
        ("m" * 500, "m" * 500),
        ("m-1", "penstock:m-1"),
        ("penstock:m-1", "penstock:penstock:m-1"),
        ("", None),
    ],
)
def test_the_idempotency_key_is_the_message_id_or_made_of_it(message_id, key):
    body = entry(shape("track", {"event": "Seen"}, user_id="ada", message_id=message_id))
    assert body.get("idempotency_key") == key


@pytest.mark.parametrize("message_id", ["message-1", "m-1", "penstock:m-1"])
def test_where_it_is_wanted_equal_ids_of_two_sources_have_keys_of_their_own(message_id):
    config = {**CONFIG, "same_ids": "each"}
    keys = [
        entry(
            shape("track", {"event": "Seen"}, config, user_id="a", message_id=message_id, source=n)
        )["idempotency_key"]
        for n in (1, 2)
    ]
    assert keys == [f"penstock:source-{n}:{message_id}" for n in (1, 2)]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00.000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=UTC), "2026-01-02T03:04:05.999Z"),
        (
            datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            "2026-01-01T18:30:00.000Z",
        ),
        (datetime(33, 1, 2, tzinfo=UTC), "0033-01-02T00:00:00.000Z"),
    ],
)
def test_times_are_utc_to_the_millisecond(moment, text):
    assert entry(shape("track", {"event": "x"}, user_id="a", timestamp=moment))["timestamp"] == text


# --- users, accounts, aliases ---


def test_a_visitor_cannot_have_properties():
    shaped = shape("user_properties", {"properties": {"plan": "pro"}}, anonymous_id="anon1")
    assert shaped.items == ()
    assert "no userId" in shaped.nothing


@pytest.mark.parametrize("traits", [{}, None, {"plan": None}])
def test_no_properties_are_nothing_to_send(traits):
    user = shape("user_properties", {"properties": traits}, user_id="ada")
    account = shape("account_properties", {"account_id": "acme", "properties": traits})
    assert (user.items, user.nothing) == ((), "There are no user properties to send.")
    assert (account.items, account.nothing) == ((), "There are no account properties to send.")


@pytest.mark.parametrize(
    ("traits", "sent"),
    [
        ({"id": 1}, {"_id": 1}),
        ({"ID": 1, "iD": 2}, {"_ID": 1, "_iD": 2}),
        ({"user_id": 1, "_user_id": 2}, {"__user_id": 1, "_user_id": 2}),
        ({"User_ID": 1}, {"User_ID": 1}),
        ({"Email": "a@b.example"}, {"email": "a@b.example"}),
        ({"EMAIL": "a@b.example", "Email": 1}, {"email": "a@b.example", "Email": 1}),
        ({"Email": 1, "email": "a@b.example"}, {"Email": 1, "email": "a@b.example"}),
    ],
)
def test_names_that_heap_reserves_are_renamed_and_noted(traits, sent):
    shaped = shape("user_properties", {"properties": traits}, user_id="ada")
    assert entry(shaped) == {"identity": "ada", "properties": sent}
    renamed = [name for name in traits if name not in sent]
    assert [note.split()[0] for note in shaped.notes] == [f"properties.{n}" for n in renamed]


def test_an_object_with_a_reserved_name_is_flattened_under_it():
    shaped = shape("user_properties", {"properties": {"id": {"x": 1}}}, user_id="ada")
    assert entry(shaped)["properties"] == {"id.x": 1}


@pytest.mark.parametrize("name", ["id", "user_id"])
def test_names_reserved_for_users_are_free_on_events_and_accounts(name):
    assert track({name: 1}) == ({name: 1}, [])
    shaped = shape("account_properties", {"account_id": "acme", "properties": {name: 1}})
    assert entry(shaped)["properties"] == {name: 1}


@pytest.mark.parametrize(("given", "sent"), [("acme", "acme"), (" acme ", "acme"), (7, "7")])
def test_an_account_needs_no_person(given, sent):
    shaped = shape("account_properties", {"account_id": given, "properties": {"a": 1}})
    assert entry(shaped) == {"account_id": sent, "properties": {"a": 1}}


@pytest.mark.parametrize("account_id", [None, "", " ", "null", False, []])
def test_an_account_without_an_id_is_rejected(account_id):
    with pytest.raises(MessageRejected, match="groupId"):
        shape("account_properties", {"account_id": account_id, "properties": {"a": 1}})


def test_an_alias_links_the_previous_id():
    [link] = shape("link", {"previous_id": "anon1"}, user_id="ada").items
    assert link.once == (f"link:{VISITOR}", "ada")


def test_an_alias_of_a_visitor_known_from_the_message_links_once():
    shaped = shape("link", {"previous_id": "anon1"}, user_id="ada", anonymous_id="anon1")
    assert len(shaped.items) == 1


def test_an_alias_with_another_anonymous_id_links_both():
    shaped = shape("link", {"previous_id": "a"}, user_id="ada", anonymous_id="anon1")
    assert [item.once[0] for item in shaped.items] == [f"link:{VISITOR}", "link:7251492750082316"]


@pytest.mark.parametrize("previous_id", [None, "", "ada", " ada ", "null"])
def test_an_alias_that_says_nothing_new_sends_nothing(previous_id):
    shaped = shape("link", {"previous_id": previous_id}, user_id="ada")
    assert shaped.items == ()
    assert shaped.nothing


# --- properties ---


def test_what_heap_takes_is_left_as_it_is():
    given = {"text": "é", "whole": 2**53, "real": -0.5, "zero": 0, "empty": "", "a.b": "c"}
    assert track(given) == (given, [])


def test_objects_are_flattened_and_the_first_few_named():
    given = {name: {"x": {"y": 1}} for name in "abcde"}
    sent, [note] = track(given)
    assert sent == {f"{name}.x.y": 1 for name in "abcde"}
    assert note.endswith(": properties.a, properties.b, properties.c and 2 more.")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (True, "true"),
        (False, "false"),
        ([1, "é", None], '[1,"é",null]'),
        ([{"a": [2]}], '[{"a":[2]}]'),
        (2**53 + 1, "9007199254740993"),
        (-(2**64), "-18446744073709551616"),
    ],
)
def test_what_is_no_text_or_number_becomes_text_and_is_named(given, sent):
    properties, [note] = track({"a": given})
    assert properties == {"a": sent}
    assert note.startswith("Sent as text")
    assert "properties.a" in note


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (["a", 1, 2.5, True], "a||1||2.5||true"),
        (["a", None], '["a",null]'),
        ([["a"]], '[["a"]]'),
        ([{"a": 1}], '[{"a":1}]'),
    ],
)
def test_arrays_of_plain_values_are_joined_when_that_is_set(given, sent):
    assert track({"a": given}, {**CONFIG, "arrays": "join"})[0] == {"a": sent}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (["red", 1, True], {"a.0": "red", "a.1": 1, "a.2": "true"}),
        ([{"b": [2]}, [3]], {"a.0.b.0": 2, "a.1.0": 3}),
        ([None, [], "x"], {"a.2": "x"}),
        ([], {}),
    ],
)
def test_each_item_of_an_array_gets_a_property_when_that_is_set(given, sent):
    assert track({"a": given}, {**CONFIG, "arrays": "index"})[0] == sent


@pytest.mark.parametrize(
    ("mode", "sent", "told"),
    [
        ("flatten", {"cart.total": 5, "cart.shop.id": "A", "n": 1}, "Flattened"),
        ("stringify", {"cart": '{"total":5,"shop":{"id":"A"}}', "n": 1}, "Sent as text"),
        ("drop", {"n": 1}, "Left out, as configured: properties.cart."),
    ],
)
def test_objects_are_sent_as_it_is_set(mode, sent, told):
    given = {"cart": {"total": 5, "shop": {"id": "A"}}, "n": 1}
    properties, notes = track(given, {**CONFIG, "objects": mode})
    assert properties == sent
    assert notes[0].startswith(told)


def test_arrays_are_left_out_where_that_is_set_and_named_to_the_last():
    given = {"a": [1], "b": {"c": [{}], "d": []}, **{f"x{n}": [n] for n in range(5)}}
    sent, notes = track(given, {**CONFIG, "arrays": "drop"})
    assert sent == {}
    assert notes[1:] == [
        "Left out, because it is empty: properties.b.d ([]).",
        "Left out, as configured: properties.a, properties.b.c, "
        + ", ".join(f"properties.x{n}" for n in range(5)) + ".",
    ]  # fmt: skip


def test_a_reserved_name_is_renamed_where_objects_are_not_flattened():
    config = {**CONFIG, "objects": "stringify"}
    given = {"properties": {"id": {"x": 1}}}
    assert entry(shape("user_properties", given, config, user_id="ada"))["properties"] == {
        "_id": '{"x":1}'
    }


def test_arrays_may_lie_deeper_than_python_recurses():
    given: Any = 1
    for _ in range(200):
        given = [given]
    sent, _ = track({"a": given}, {**CONFIG, "arrays": "index"})
    [(name, value)] = sent.items()
    assert name == "a" + ".0" * 32
    assert value.startswith("[[")


def test_what_is_empty_is_left_out_and_named_to_the_last():
    sent, [_, note] = track({"a": None, "b": [], "c": {"d": {}}, "e": 0, "f": None, "g": None})
    assert sent == {"e": 0}
    assert "properties.a (null), properties.b ([]), properties.c.d ({}), " in note
    assert note.endswith("properties.f (null), properties.g (null).")


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("x" * 1023, "x" * 1023),
        ("x" * 1024, "x" * 1023),
        ("é" * 1023, "é" * 1023),
        ("😀" * 512, "😀" * 511),
        ("x" + "😀" * 511, "x" + "😀" * 511),
    ],
)
def test_a_text_is_cut_below_1024_utf_16_units(text, sent):
    properties, notes = track({"a": text})
    assert properties == {"a": sent}
    assert len(notes) == (text != sent)


def test_a_cut_is_noted_with_its_lengths():
    assert track({"note": "x" * 5000})[1] == ["properties.note cut from 5,000 to 1,023 characters."]


def test_an_array_is_cut_like_any_text():
    sent, [cut, _] = track({"a": ["x"] * 1000})
    assert len(sent["a"]) == 1023
    assert cut == "properties.a cut from 4,001 to 1,023 characters."


@pytest.mark.parametrize(
    ("name", "sent"),
    [("n" * 511, "n" * 511), ("n" * 512, "n" * 511), ("n" + "😀" * 255, "n" + "😀" * 255)],
)
def test_a_name_is_cut_below_512_utf_16_units(name, sent):
    properties, notes = track({name: 1})
    assert properties == {sent: 1}
    assert len(notes) == (name != sent)


def test_names_that_become_one_are_noted_and_the_last_wins():
    sent, [twice, _] = track({"a.b": 1, "a": {"b": 2}})
    assert sent == {"a.b": 2}
    assert twice == "properties.a.b occurred more than once; the last value was sent."


def test_a_property_without_a_name_is_left_out_and_noted():
    sent, [note] = track({"": 1, "a": 2})
    assert sent == {"a": 2}
    assert 'properties.""' in note


@pytest.mark.parametrize("given", [[1], "text", 5, True])
def test_properties_that_are_no_object_cost_no_event(given):
    sent, [note] = track(given)
    assert sent == {}
    assert json.dumps(given) in note


def test_objects_may_lie_deeper_than_python_recurses():
    given: dict[str, Any] = {"a": 1}
    for _ in range(200):
        given = {"a": given}
    sent, notes = track(given)
    [(name, value)] = sent.items()
    assert name == ".".join("a" * 33)
    assert value.startswith('{"a":')
    assert any(name in note for note in notes)


# --- arbitrary properties ---

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
LONG = st.builds(str.__mul__, st.sampled_from(["x", "é", "😀", 'a"\n']), st.integers(250, 1100))
NAMES = st.sampled_from(["id", "ID", "user_id", "Email", "", "a", "a.b", "b"]) | TEXTS | LONG
WHOLE = st.integers() | st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**64])
REAL = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | WHOLE | REAL | TEXTS | LONG
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(NAMES, v, max_size=4)
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=8)


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def check_limits(sent: dict[str, Any]) -> None:
    for name, value in sent.items():
        assert 0 < units(name) < 512
        assert type(value) in (str, int, float)
        assert type(value) is not str or units(value) < 1024
        assert type(value) is not int or abs(value) <= 2**53


def leaves(
    given: Any, prefix: str = "", *, arrays: str = "json", objects: str = "flatten"
) -> Iterator[tuple[str, Any]]:
    """Yield each property that must arrive or be named in a note, under its expected name."""
    for key, value in given.items():
        opened = isinstance(value, dict) and objects == "flatten"
        if arrays == "index" and isinstance(value, list):
            value, opened = {str(n): each for n, each in enumerate(value)} or value, True
        if isinstance(value, dict) and value and opened:
            yield from leaves(value, f"{prefix}{key}.", arrays=arrays, objects=objects)
        else:
            yield prefix + key, value


def arrived(value: Any, sent: Any, arrays: str) -> bool:
    if arrays == "join" and isinstance(value, list) and isinstance(sent, str) and value:
        plain = [each if isinstance(each, str) else json.dumps(each) for each in value]
        if "||".join(plain) == sent or len(value) == sent.count("||") + 1:
            return True
    if type(value) is type(sent):
        return value == sent
    return isinstance(sent, str) and value not in (None, [], {}) and json_equal(sent, value)


def json_equal(text: str, value: Any) -> bool:
    try:
        return json.loads(text) == value
    except ValueError:
        return False


def check_account(
    given: dict[str, Any],
    sent: dict[str, Any],
    notes: list[str],
    *,
    arrays: str = "json",
    objects: str = "flatten",
) -> None:
    """Check that every leaf arrives or is named in a note."""
    note_text = "\n".join(notes)
    for name, value in leaves(given, arrays=arrays, objects=objects):
        assert (
            arrived(value, sent.get(name), arrays) or properties.property_label(name) in note_text
        ), name


FIELDS = {field.key: field for field in DESTINATION.config_fields}
ARRAYS = st.sampled_from([option.value for option in FIELDS["arrays"].options])
MODES = st.sampled_from([option.value for option in FIELDS["objects"].options])


@given(OBJECTS, ARRAYS, MODES)
def test_any_event_is_within_heaps_limits_and_accounted_for(given, arrays, objects):
    sent, notes = track(given, {**CONFIG, "arrays": arrays, "objects": objects})
    check_limits(sent)
    check_account(given, sent, notes, arrays=arrays, objects=objects)


HEAP = HeapApi(HeapState(max_events=100), clock=lambda: 0.0)
VARIANTS = {
    each.key: (compile_blueprint(blueprint(each.key)), each.config) for each in DESTINATION.variants
}


@given(OBJECTS, st.sampled_from(MESSAGE_TYPES), st.sampled_from(sorted(VARIANTS)), ARRAYS, MODES)
def test_heaps_sandbox_takes_what_becomes_of_any_message(given, kind, variant, arrays, objects):
    body = {"properties": given, "traits": given, "groupId": "acme", "previousId": "before"}
    message = a_message(
        type=kind, name="Order Completed", user_id="ada", anonymous_id="a", body=body
    )
    made, own = VARIANTS[variant]
    config = {**CONFIG, "arrays": arrays, "objects": objects, **own}
    for action in made.apply(build_message_view(message)):
        for item in DESTINATION.items(action, message, config).items:
            built = DESTINATION.request(item.endpoint, [item], config)
            path = urlsplit(built.url).path
            answer = HEAP.answer(SandboxCall(method="POST", path=path, body=built.body))
            assert answer.status == 200, answer.body


@given(OBJECTS)
def test_any_users_properties_are_within_heaps_limits_and_accounted_for(given):
    shaped = shape("user_properties", {"properties": given}, user_id="ada")
    sent = entry(shaped)["properties"] if shaped.items else {}
    check_limits(sent)
    check_account(given, sent, list(shaped.notes))
    assert not any(name == "user_id" or name.lower() == "id" for name in sent)


@given(OBJECTS)
def test_the_same_message_is_the_same_bytes(given):
    fields = {"event": "Seen", "properties": given}
    once, again = (shape("track", fields, user_id="ada", anonymous_id="a") for _ in range(2))
    assert once == again


# --- requests ---


def test_many_entries_share_a_request_byte_for_byte():
    items = [Item(endpoint="track", body=b'{"event":"%d"}' % n) for n in range(3)]
    request = DESTINATION.request("track", items, CONFIG)
    assert request.body == (
        b'{"app_id":"1234567890","events":[{"event":"0"},{"event":"1"},{"event":"2"}]}'
    )
    assert request.headers["Content-Type"] == "application/json"


def test_a_link_stands_alone_with_the_app_id_in_front():
    [link] = shape("link", {"previous_id": "anon1"}, user_id="ada").items
    request = DESTINATION.request("identify", [link], CONFIG)
    assert request.body == (
        b'{"app_id":"1234567890","user_id":"435837195053672","identity":"ada",'
        b'"timestamp":"2026-11-21T09:30:15.250Z"}'
    )
    assert DESTINATION.endpoints["identify"].max_items == 1


@pytest.mark.parametrize(
    ("region", "base"),
    [
        ("us", "https://heapanalytics.com"),
        ("eu", "https://c.eu.heap-api.com"),
        ("sandbox", "http://127.0.0.1:8085"),
    ],
)
@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("track", "/api/track"),
        ("add_user_properties", "/api/add_user_properties"),
        ("add_account_properties", "/api/add_account_properties"),
        ("identify", "/api/v1/identify"),
    ],
)
def test_an_endpoint_has_its_address_in_every_region(region, base, endpoint, path):
    config = {**CONFIG, "region": region, "sandbox_url": "http://127.0.0.1:8085/"}
    item = Item(endpoint=endpoint, body=b'{"a":1}')
    assert DESTINATION.request(endpoint, [item], config).url == base + path


def test_a_sandbox_that_does_not_run_is_waited_for():
    with pytest.raises(VendorUnavailable, match="sandbox"):
        DESTINATION.request("track", [], {**CONFIG, "region": "sandbox"})


# --- the manifest ---


def test_the_limits_of_a_request_are_heaps():
    assert set(DESTINATION.endpoints) == set(api.ENDPOINT_PATHS)
    bulk = {key: e.max_items for key, e in DESTINATION.endpoints.items() if key != "identify"}
    assert set(bulk.values()) == {1000}


def test_heap_asks_for_an_app_id_only():
    required = [f.key for f in DESTINATION.config_fields if f.required and not f.default]
    assert required == ["app_id"]
    assert DESTINATION.secret_keys == {"api_key"}


def test_every_region_offered_has_a_host():
    fields = {field.key: field for field in DESTINATION.config_fields}
    assert {option.value for option in fields["region"].options} == {*api.HOSTS, "sandbox"}


@pytest.mark.parametrize(
    ("error", "status", "symptom"),
    [
        ("CredentialsRejected", 401, "The credentials are rejected (401 or 403)"),
        ("MessageRejected", 400, "Heap rejects the request (400)"),
        ("MessageRejected", None, "A delivery failed"),
        ("TooLarge", 413, "A message is too large (413)"),
        ("VendorUnavailable", 429, "Heap is unavailable, or asks to slow down (429)"),
        ("VendorUnavailable", None, "Heap is unavailable, or asks to slow down (429)"),
    ],
)
def test_a_failure_is_explained(error, status, symptom):
    assert DESTINATION.explain(error, status).symptom == symptom


def test_the_logo_is_a_square():
    svg = ET.parse(FOLDER / "logo.svg").getroot()
    assert svg.get("viewBox") == "0 0 64 64"
