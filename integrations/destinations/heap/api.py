"""Builds the entries of Heap's server-side calls from messages, and requests from entries. Pure.

All text here is valid Unicode, because ingest handles what JSON cannot represent.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from integrations.destination import Action, Allowance, Config, Item, Limit, Request, ShapedMessage
from integrations.destinations.heap.people import (
    VISITOR_IDENTITY,
    Person,
    heap_user_id,
    identify_person,
    strip_id,
    usable_id,
)
from integrations.destinations.heap.properties import (
    PropertyValue,
    describe_cut,
    encode_json,
    fit_properties,
    rename_reserved,
    truncate_utf16,
)
from integrations.errors import MessageRejected, VendorUnavailable
from integrations.messages import Message, format_iso

# Source: the EU box on https://developers.heap.io/reference/track-1 (seen 2026-11).
HOSTS = {"us": "https://heapanalytics.com", "eu": "https://c.eu.heap-api.com"}

# Endpoint → path, and the name of its list of entries, or b"" if a request takes a single entry.
ENDPOINT_PATHS = {
    "track": ("/api/track", b"events"),
    "add_user_properties": ("/api/add_user_properties", b"users"),
    "add_account_properties": ("/api/add_account_properties", b"accounts"),
    "identify": ("/api/v1/identify", b""),
}

MAX_EVENT_NAME_UNITS = 1_024  # UTF-16 units
COUNT_IDS_PER_SOURCE = "each"  # the setting `same_ids`: equal ids from two sources are two events
MIN_KEY_CHARS = 8  # characters of an idempotency key, according to Segment's destination for Heap
KEY_PREFIX = "penstock:"


class TrackEvent(msgspec.Struct, omit_defaults=True, gc=False):
    """An entry of `track`. Source: https://developers.heap.io/reference/bulk-track (2026-11)."""

    event: str
    identity: str = ""
    user_id: str = ""
    timestamp: str = ""
    idempotency_key: str = ""
    properties: dict[str, PropertyValue] = {}


def build_items(action: Action, message: Message, config: Config) -> ShapedMessage:
    """Return the items that one action of a blueprint sends for one message.

    Raises MessageRejected if Heap cannot accept the message in any form.
    """
    person = identify_person(message, config)
    entry = ITEM_BUILDERS[action.kind](action, message, person, config)
    links = (
        (_build_link(person.visitor, person.identity, message),)
        if person.visitor and person.identity
        else ()
    )
    if isinstance(entry, Item):
        return ShapedMessage(items=(*links, entry), notes=tuple(person.notes))
    return ShapedMessage(items=links, notes=tuple(person.notes), nothing="" if links else entry)


def build_request(endpoint: str, items: Sequence[Item], config: Config) -> Request:
    """Return the request that carries these items of one endpoint.

    Raises VendorUnavailable if the region is the sandbox and none is running.
    """
    path, plural = ENDPOINT_PATHS[endpoint]
    host = base_url(config)
    app_id = b'{"app_id":' + encode_json(config["app_id"]) + b","
    bodies = b",".join([item.body for item in items])
    if not plural:
        return Request(url=host + path, body=app_id + bodies[1:])
    return Request(url=host + path, body=b"".join((app_id, b'"', plural, b'":[', bodies, b"]}")))


def monthly_allowances(config: Config) -> Sequence[Allowance]:
    """Return Heap's monthly allowance per identity. Heap silently ignores everything above it.

    Source: https://developers.heap.io/reference/identify-1 (seen 2026-11).
    """
    return (
        Allowance(name="10 user_ids a month for one identity", endpoint="identify", items=10,
                  account=f"heap:{config['app_id']}"),
    )  # fmt: skip


def published_limits(config: Config) -> Sequence[Limit]:
    """Return Heap's published limits for bulk tracking. The sandbox has none by default.

    Source: https://developers.heap.io/reference/bulk-track (seen 2026-11).
    """
    if config["region"] == "sandbox":
        return ()
    account = f"heap:{config['app_id']}"
    return (
        Limit(name="15,000 events a minute", endpoint="track", items=15_000, seconds=60,
              account=account),
        Limit(name="1,000 events a minute for one user", endpoint="track", items=1_000,
              seconds=60, account=account, per_person=True),
    )  # fmt: skip


def base_url(config: Config) -> str:
    """Return the base URL of Heap's API, without a trailing slash.

    Raises VendorUnavailable if the region is the sandbox and none is running.
    """
    if config["region"] != "sandbox":
        return HOSTS[config["region"]]
    if not config["sandbox_url"]:
        raise VendorUnavailable("No sandbox is running here. Start one, or choose another region.")
    return str(config["sandbox_url"]).rstrip("/")


def _rejection(reason: str, person: Person) -> MessageRejected:
    return MessageRejected(" ".join([reason, *person.notes]))


# --- kinds of action; each returns its item, or the reason why there is none ---


def _build_track(action: Action, message: Message, person: Person, config: Config) -> Item:
    if not person.identity and not person.visitor:
        raise _rejection("Heap needs a userId or an anonymousId.", person)
    fields = action.fields
    event = TrackEvent(
        event=_read_event_name(fields.get("event"), person),
        identity=person.identity,
        user_id="" if person.identity else person.visitor,
        timestamp=format_iso(message.timestamp),
        idempotency_key=_idempotency_key(message, action.repeat, config),
        properties=_fit_action_properties(fields.get("properties"), person, config),
    )
    return Item(endpoint="track", body=encode_json(event))


def _build_user_properties(
    action: Action, message: Message, person: Person, config: Config
) -> Item | str:
    """Build user properties. A visitor cannot have any, because this call takes no `user_id`.

    Source: https://developers.heap.io/reference/add-user-properties (seen 2026-11).
    """
    if not person.identity and not person.visitor:
        raise _rejection("Heap needs a userId.", person)
    if not person.identity:
        return "Heap stores properties only for users, and this visitor has no userId yet."
    objects = config.get("objects", "flatten")
    given = rename_reserved(action.fields.get("properties"), person.notes, objects=objects)
    properties = _fit_action_properties(given, person, config)
    if not properties:
        return "There are no user properties to send."
    body = encode_json({"identity": person.identity, "properties": properties})
    return Item(endpoint="add_user_properties", body=body)


def _build_account_properties(
    action: Action, message: Message, person: Person, config: Config
) -> Item | str:
    account_id = usable_id(_id_text(action.fields.get("account_id")), "groupId", person.notes)
    if not account_id:
        raise _rejection("Heap needs a groupId, which becomes the account's id.", person)
    properties = _fit_action_properties(action.fields.get("properties"), person, config)
    if not properties:
        return "There are no account properties to send."
    account_id = strip_id(account_id, "groupId", person.notes)
    body = encode_json({"account_id": account_id, "properties": properties})
    return Item(endpoint="add_account_properties", body=body)


def _build_alias(action: Action, message: Message, person: Person, config: Config) -> Item | str:
    """Link a person's previous id, which must be a visitor's, because Heap merges no two users."""
    if not person.identity:
        raise _rejection("An alias needs a userId.", person)
    previous_id = usable_id(_id_text(action.fields.get("previous_id")), "previousId", person.notes)
    if not previous_id:
        return "An alias without a previousId has nothing to link."
    if config.get("visitors") == VISITOR_IDENTITY:
        return (
            "This installation sends visitors as identities, and Heap never merges two identities."
        )
    visitor = heap_user_id(previous_id)
    if previous_id.strip() == person.identity or visitor == person.visitor:
        return "The previousId links nothing that the other ids do not already link."
    return _build_link(visitor, person.identity, message)


ITEM_BUILDERS: dict[str, Callable[[Action, Message, Person, Config], Item | str]] = {
    "track": _build_track,
    "user_properties": _build_user_properties,
    "account_properties": _build_account_properties,
    "link": _build_alias,
}


def _build_link(visitor: str, identity: str, message: Message) -> Item:
    """Build a link. It has `once`, because Heap silently drops a visitor's second identity."""
    body = encode_json(
        {"user_id": visitor, "identity": identity, "timestamp": format_iso(message.timestamp)}
    )
    return Item(endpoint="identify", body=body, once=(f"link:{visitor}", identity))


def _read_event_name(given: Any, person: Person) -> str:
    name = _id_text(given)
    if not name.strip():
        raise _rejection("The event has no name.", person)
    short = truncate_utf16(name, MAX_EVENT_NAME_UNITS)
    if short != name:
        person.notes.append(f"Event name cut {describe_cut(name, short)}.")
    return short


def _fit_action_properties(given: Any, person: Person, config: Config) -> dict[str, PropertyValue]:
    arrays, objects = config.get("arrays", "json"), config.get("objects", "flatten")
    return fit_properties(given, person.notes, arrays=arrays, objects=objects)


def _idempotency_key(message: Message, repeat: int, config: Config) -> str:
    """Return the message's id, with a prefix if it is short. Different ids never share a key.

    repeat  Action.repeat, so that the second event of a message has a key of its own
    """
    message_id = message.message_id
    if not message_id:
        return ""
    number = f":{repeat + 1}" if repeat else ""
    if config.get("same_ids") == COUNT_IDS_PER_SOURCE:
        return f"{KEY_PREFIX}source-{message.source}:{message_id}{number}"
    if len(message_id) >= MIN_KEY_CHARS and not message_id.startswith(KEY_PREFIX) and not number:
        return message_id
    return f"{KEY_PREFIX}{message_id}{number}"


def _id_text(given: Any) -> str:
    """Return text or a number as text, and "" for anything else."""
    if isinstance(given, str):
        return given
    return str(given) if isinstance(given, int | float) and not isinstance(given, bool) else ""
