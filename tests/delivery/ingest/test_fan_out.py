"""Fan-out: the installations that want a new message, and what is read to find them."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.ingest.enrichment import NO_ADDED_CONTEXT, AddedContext
from delivery.ingest.envelope import parse_envelope
from delivery.ingest.fan_out import IncomingMessage
from delivery.ingest.parsing import IngestLimits, RequestContext, parse_messages
from delivery.transform.stored_messages import STORED_MESSAGE_COLUMNS, decode_stored_message
from integrations.blueprints import build_message_view, compile_blueprint
from integrations.messages import MESSAGE_TYPES

LIMITS = IngestLimits(100_000, 1, 100_000)
NOW = datetime(2026, 11, 21, 9, 30, 15, 250_999, tzinfo=UTC)


def blueprint(*triggers, **options):
    actions = [{"name": each, "trigger": each, "kind": "track", "mapping": {}} for each in triggers]
    return compile_blueprint({"version": 1, "actions": actions, **options})


def arrival(added_context=NO_ADDED_CONTEXT, **body):
    text = json.dumps({"type": "track", "event": "Seen", "userId": "ada", **body}).encode()
    terms = RequestContext(
        now=NOW, limits=LIMITS, implied_type=body.get("type", "track"), added_context=added_context
    )
    return IncomingMessage(parse_messages(*parse_envelope(text)[:2], terms).messages[0], NOW)


def stored_view(arrived):
    """Return the message as the worker will see it."""
    columns = {name: getattr(arrived.parsed, name, NOW) for name in STORED_MESSAGE_COLUMNS[1:]}
    return build_message_view(decode_stored_message(arrived.parsed.text, **columns))


def was_opened(arrived):
    return "view" in vars(arrived)


@pytest.mark.parametrize(
    ("trigger", "body", "wanted"),
    [
        ('type = "track"', {}, True),
        ('type = "page"', {}, False),
        ('event = "Seen" and userId = "ada"', {}, True),
        ('event = "Seen"', {"event": " Seen "}, True),
        ('event = "404"', {"event": 404}, True),
        ('userId = "5" and anonymousId = null', {"userId": 5.0}, True),
        ('type = "page" and name = "Home"', {"type": "page", "name": "Home"}, True),
        ("name = null", {"type": "page", "name": "  "}, True),
        ('type = "page" and properties.x = 1', {"properties": {"x": 1}}, False),
        ('messageId = "m-1"', {"messageId": "m-1"}, True),
    ],
)
def test_columns_suffice_for_most_triggers(trigger, body, wanted):
    arrived = arrival(**body)
    assert arrived.is_wanted(blueprint(trigger)) is wanted
    assert not was_opened(arrived)
    assert blueprint(trigger).wants(stored_view(arrived)) is wanted


@pytest.mark.parametrize(
    ("trigger", "body", "wanted"),
    [
        ("properties.total > 5", {"properties": {"total": 6}}, True),
        ("properties.total > 5", {"properties": None}, False),
        ('traits.plan = "pro"', {"type": "identify", "context": {"traits": {"plan": "pro"}}}, True),
        ('name = "Home"', {"name": "Home"}, True),
        ('event = "Home"', {"type": "page", "name": "x", "event": "Home"}, True),
        ('groupId = "g"', {"type": "group", "groupId": "g"}, True),
        (f'event = "{"e" * 300}"', {"event": "e" * 300}, True),
        (f'userId = "{"u" * 255}"', {"userId": "u" * 256}, False),
    ],
)
def test_the_body_is_opened_where_they_do_not(trigger, body, wanted):
    arrived = arrival(**body)
    assert arrived.is_wanted(blueprint(trigger)) is wanted
    assert was_opened(arrived)
    assert blueprint(trigger).wants(stored_view(arrived)) is wanted


def test_the_body_is_opened_once_for_many_installations():
    arrived = arrival(properties={"a": 1})
    assert arrived.is_wanted(blueprint("properties.a = 1"))
    opened_once = arrived.view
    assert not arrived.is_wanted(blueprint("properties.a = 2"))
    assert arrived.view is opened_once


def test_a_trigger_sees_the_context_that_was_added():
    arrived = arrival(AddedContext(to_all='{"ip":"203.0.113.7"}'))
    assert arrived.is_wanted(blueprint('context.ip = "203.0.113.7"'))


def test_what_is_passed_is_wanted():
    assert arrival().is_wanted(blueprint(otherwise="pass"))
    assert not arrival(type="identify").is_wanted(blueprint(otherwise="pass"))


def test_a_trigger_that_errs_counts_as_wanting():
    class Erring:
        def reads(self, kind):
            return frozenset({"properties"})

        def wants(self, view):
            raise LookupError("a bug")

    assert arrival().is_wanted(Erring())


TRIGGERS = st.sampled_from(
    ['event = "Seen"', "name != null", 'contains(userId, "a")', "anonymousId = null",
     "properties.a = 1", 'context.a != "x"', 'traits.a = "b"', 'type != "page"',
     '!(event = "Seen" or properties.a = 1)', 'type = "track" and event = "Seen"',
     'type = "track" and properties.a = 1 or type = "page"', 'messageId != "m"']
)  # fmt: skip
TEXTS = st.sampled_from(["Seen", " Seen ", "", "a" * 255, "a\u0000", "x"]) | st.integers(0, 5)
OBJECTS = st.none() | st.dictionaries(st.just("a"), st.sampled_from([1, "x", "b", None]))
BODIES = st.fixed_dictionaries(
    {"userId": st.just("ada"), "groupId": st.just("g"), "previousId": st.just("p")},
    optional={
        **dict.fromkeys(["name", "anonymousId", "messageId"], TEXTS),
        **dict.fromkeys(["properties", "traits", "context"], OBJECTS),
        "event": st.sampled_from(["Seen", "Other", "a" * 300, 7]),
    },
)


@given(st.lists(TRIGGERS, max_size=3), st.sampled_from(MESSAGE_TYPES), BODIES)
def test_what_is_wanted_when_it_comes_in_is_wanted_when_it_is_sent(triggers, kind, body):
    arrived = arrival(**{**body, "type": kind})
    made = blueprint(*triggers)
    assert arrived.is_wanted(made) == made.wants(stored_view(arrived))
    assert made.wants(stored_view(arrived)) == bool(made.apply(stored_view(arrived)))
