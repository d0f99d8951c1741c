"""Messages as entries of Heap's server-side calls, and entries as requests. Pure.

How people are named. Heap knows a user by an `identity` of the customer's choice, and a visitor by
a number of its own, `user_id`; one call takes one or the other. A userId becomes the identity. An
anonymousId becomes a number (`heap_user_id`), never an identity: that would make a user of the
visitor, and Heap cannot merge two users. When a message has both, `v1/identify` goes first and
moves the visitor's history to the user; Heap remembers it, so once is enough. With the setting
`visitors` = "identity" an anonymousId is an identity after all, for data that looks so already.
Source: https://developers.heap.io/reference/identify-1 (seen 2026-11).

All text is valid Unicode here: what JSON can't hold is settled when a message is accepted.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import md5
from struct import Struct
from typing import Any

import msgspec

from integrations.destination import Action, Allowance, Config, Item, Limit, Request, Shaped
from integrations.destinations.heap.properties import (
    Value,
    encode,
    fit,
    free_of_reserved,
    from_to,
    start,
)
from integrations.errors import MessageRejected, VendorUnavailable
from integrations.messages import Message, iso

# Source: the EU box on https://developers.heap.io/reference/track-1 (seen 2026-11).
HOSTS = {"us": "https://heapanalytics.com", "eu": "https://c.eu.heap-api.com"}

# Endpoint → its path, and the list that carries many entries, or nothing where one stands alone.
CALLS = {
    "track": ("/api/track", b"events"),
    "add_user_properties": ("/api/add_user_properties", b"users"),
    "add_account_properties": ("/api/add_account_properties", b"accounts"),
    "identify": ("/api/v1/identify", b""),
}

MAX_EVENT = 1_024  # UTF-16 units
MAX_IDENTITY = 255  # characters
VISITOR_IDENTITY = "identity"  # the setting `visitors`: an anonymousId is sent as the identity
COUNT_EACH = "each"  # messages of different sources, though their ids are equal
MIN_KEY = 8  # characters of an idempotency key; Segment's connector for Heap says so
KEY_PREFIX = "penstock:"
HASH_WORDS = Struct("<I4xI").unpack_from  # of an MD5: bytes 0 to 3 and 8 to 11

# Never one person. As an identity they would merge all that have them, and Heap cannot part
# people again. Heap's page warns of the first three; the others are of the same making.
# Source: https://developers.heap.io/reference/identify (seen 2026-11).
NOBODY = frozenset(
    {"null", "undefined", "user", "none", "nil", "nan", "true", "false", "[object object]"}
    | {"anonymous", "guest", "unknown", "00000000-0000-0000-0000-000000000000"}
)


class Event(msgspec.Struct, omit_defaults=True, gc=False):
    """An entry of `track`. Source: https://developers.heap.io/reference/bulk-track (2026-11)."""

    event: str
    identity: str = ""
    user_id: str = ""
    timestamp: str = ""
    idempotency_key: str = ""
    properties: dict[str, Value] = {}


class Who(msgspec.Struct, gc=False):
    """Whom a message is about.

    identity   the user, or ""
    visitor    the number of the anonymous visitor, or ""
    notes      what was changed, of the person and of all the rest
    """

    identity: str
    visitor: str
    notes: list[str]


def items(action: Action, message: Message, config: Config) -> Shaped:
    """Return what one action of a blueprint sends for one message.

    Raises MessageRejected when Heap could take it in no form.
    """
    who = _who(message, config)
    entry = KINDS[action.kind](action, message, who, config)
    links = (_link(who.visitor, who.identity, message),) if who.visitor and who.identity else ()
    if isinstance(entry, Item):
        return Shaped(items=(*links, entry), notes=tuple(who.notes))
    return Shaped(items=links, notes=tuple(who.notes), nothing="" if links else entry)


def request(endpoint: str, items: Sequence[Item], config: Config) -> Request:
    """Return the request that carries these entries of one endpoint.

    Raises VendorUnavailable when the sandbox is asked for where none runs.
    """
    path, plural = CALLS[endpoint]
    host = base(config)
    app_id = b'{"app_id":' + encode(config["app_id"]) + b","
    bodies = b",".join([item.body for item in items])
    if not plural:
        return Request(url=host + path, body=app_id + bodies[1:])
    return Request(url=host + path, body=b"".join((app_id, b'"', plural, b'":[', bodies, b"]}")))


def allowances(config: Config) -> Sequence[Allowance]:
    """Return what Heap heeds of one identity; it ignores what is over it without a word.

    Source: https://developers.heap.io/reference/identify-1 (seen 2026-11).
    """
    return (
        Allowance(name="10 user_ids a month for one identity", endpoint="identify", items=10,
                  account=f"heap:{config['app_id']}"),
    )  # fmt: skip


def limits(config: Config) -> Sequence[Limit]:
    """Return Heap's published limits of bulk tracking. The sandbox has none of its own accord.

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


def base(config: Config) -> str:
    """Return where Heap takes events. Raises VendorUnavailable where no sandbox runs."""
    if config["region"] != "sandbox":
        return HOSTS[config["region"]]
    if not config["sandbox_url"]:
        raise VendorUnavailable("No sandbox runs here. Start it, or choose another region.")
    return str(config["sandbox_url"]).rstrip("/")


@lru_cache(maxsize=4_096)  # a visitor's events come close together
def heap_user_id(anonymous_id: str) -> str:
    """Return the number that stands for an anonymous id in Heap, 0 to 2**53 - 1, in decimal.

    The same id gives the same number for ever: 53 bits of its MD5, the low 32 from bytes 0 to 3,
    the high 21 from bytes 8 to 11, both little-endian. Among a million visitors the chance that
    any two share a number is about 6 in 100,000 (n² / 2**54).

    The recipe is the one Segment used on Heap's public API, over the id's Latin-1 bytes. An id
    with other characters is hashed as UTF-8: Segment kept their low bytes only, so that different
    visitors could become one, which Heap cannot undo.

    Source: userIdHash.ts in github.com/segmentio/action-destinations, 2022-07 to 2023-02 (seen
    2026-11); range of `user_id`: https://developers.heap.io/reference/track-1 (seen 2026-11).
    """
    try:
        octets = anonymous_id.encode("latin-1")
    except UnicodeEncodeError:
        octets = anonymous_id.encode()
    low, high = HASH_WORDS(md5(octets, usedforsecurity=False).digest())
    return str(low | (high & 0x1FFFFF) << 32)


# --- whom it is about ---


def _who(message: Message, config: Config) -> Who:
    notes: list[str] = []
    identity = _identity(message.user_id, "userId", notes)
    if config.get("visitors") == VISITOR_IDENTITY:
        identity = identity or _identity(message.anonymous_id, "anonymousId", notes)
        return Who(identity, "", notes)
    anonymous_id = _somebody(message.anonymous_id, "anonymousId", notes)
    return Who(identity, heap_user_id(anonymous_id) if anonymous_id else "", notes)


def _identity(given: str, field: str, notes: list[str]) -> str:
    identity = _trimmed(_somebody(given, field, notes), field, notes)
    if len(identity) > MAX_IDENTITY:
        raise MessageRejected(
            f"The {field} has {len(identity):,} characters and Heap takes {MAX_IDENTITY}. "
            "It was not cut: two people could become one."
        )
    return identity


def _somebody(given: str, field: str, notes: list[str]) -> str:
    """Return the id, or "" when it is blank or stands for nobody in particular."""
    bare = given.strip()
    if bare.lower() in NOBODY:
        notes.append(f'{field} "{bare}" ignored: Heap would merge all people who have it.')
        return ""
    return given if bare else ""


def _trimmed(given: str, field: str, notes: list[str]) -> str:
    bare = given.strip()
    if bare != given:
        notes.append(f"{field} sent without the blanks around it.")
    return bare


def _rejected(reason: str, who: Who) -> MessageRejected:
    return MessageRejected(" ".join([reason, *who.notes]))


# --- kinds of action: each returns its entry, or why there is none ---


def _event(action: Action, message: Message, who: Who, config: Config) -> Item:
    if not who.identity and not who.visitor:
        raise _rejected("Heap needs a userId or an anonymousId.", who)
    fields = action.fields
    event = Event(
        event=_event_name(fields.get("event"), who),
        identity=who.identity,
        user_id="" if who.identity else who.visitor,
        timestamp=iso(message.timestamp),
        idempotency_key=_idempotency_key(message, action.again, config),
        properties=_fitted(fields.get("properties"), who, config),
    )
    return Item(endpoint="track", body=encode(event))


def _user_properties(action: Action, message: Message, who: Who, config: Config) -> Item | str:
    """Heap takes no `user_id` in this call, so a visitor cannot have properties.

    Source: https://developers.heap.io/reference/add-user-properties (seen 2026-11).
    """
    if not who.identity and not who.visitor:
        raise _rejected("Heap needs a userId.", who)
    if not who.identity:
        return "Heap keeps properties of users only, and this visitor has no userId yet."
    objects = config.get("objects", "flatten")
    given = free_of_reserved(action.fields.get("properties"), who.notes, objects=objects)
    properties = _fitted(given, who, config)
    if not properties:
        return "There are no user properties to send."
    body = encode({"identity": who.identity, "properties": properties})
    return Item(endpoint="add_user_properties", body=body)


def _account_properties(action: Action, message: Message, who: Who, config: Config) -> Item | str:
    account_id = _somebody(_as_id(action.fields.get("account_id")), "groupId", who.notes)
    if not account_id:
        raise _rejected("Heap needs the groupId: it is the account's id.", who)
    properties = _fitted(action.fields.get("properties"), who, config)
    if not properties:
        return "There are no account properties to send."
    account_id = _trimmed(account_id, "groupId", who.notes)
    body = encode({"account_id": account_id, "properties": properties})
    return Item(endpoint="add_account_properties", body=body)


def _alias(action: Action, message: Message, who: Who, config: Config) -> Item | str:
    """Link the id a person had before. It must have been a visitor's: Heap merges no two users."""
    if not who.identity:
        raise _rejected("An alias needs a userId.", who)
    previous_id = _somebody(_as_id(action.fields.get("previous_id")), "previousId", who.notes)
    if not previous_id:
        return "An alias without previousId links nobody."
    if config.get("visitors") == VISITOR_IDENTITY:
        return "Visitors are sent as identities here, and Heap merges no two of those."
    visitor = heap_user_id(previous_id)
    if previous_id.strip() == who.identity or visitor == who.visitor:
        return "The previousId says nothing that the other ids do not say."
    return _link(visitor, who.identity, message)


KINDS: dict[str, Callable[[Action, Message, Who, Config], Item | str]] = {
    "track": _event,
    "user_properties": _user_properties,
    "account_properties": _account_properties,
    "link": _alias,
}


def _link(visitor: str, identity: str, message: Message) -> Item:
    """Heap drops a second identity for the same visitor without a word, hence `once`."""
    body = encode({"user_id": visitor, "identity": identity, "timestamp": iso(message.timestamp)})
    return Item(endpoint="identify", body=body, once=(f"link:{visitor}", identity))


def _event_name(given: Any, who: Who) -> str:
    name = _as_id(given)
    if not name.strip():
        raise _rejected("The event has no name.", who)
    short = start(name, MAX_EVENT)
    if short != name:
        who.notes.append(f"The event's name cut {from_to(name, short)}.")
    return short


def _fitted(given: Any, who: Who, config: Config) -> dict[str, Value]:
    arrays, objects = config.get("arrays", "json"), config.get("objects", "flatten")
    return fit(given, who.notes, arrays=arrays, objects=objects)


def _idempotency_key(message: Message, again: int, config: Config) -> str:
    """Return the message's own id; a short one gets a prefix, different ids never the same key.

    again   Action.again: the second event made of a message has a key of its own
    """
    message_id = message.message_id
    if not message_id:
        return ""
    number = f":{again + 1}" if again else ""
    if config.get("same_ids") == COUNT_EACH:
        return f"{KEY_PREFIX}source-{message.source}:{message_id}{number}"
    if len(message_id) >= MIN_KEY and not message_id.startswith(KEY_PREFIX) and not number:
        return message_id
    return f"{KEY_PREFIX}{message_id}{number}"


def _as_id(given: Any) -> str:
    """Return a text or a number as text, and "" for anything else."""
    if isinstance(given, str):
        return given
    return str(given) if isinstance(given, int | float) and not isinstance(given, bool) else ""
