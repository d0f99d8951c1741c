"""Finds whom a message is about, as Heap identifies people. Pure.

Heap knows a user by an `identity` that the customer chooses, and a visitor by a number, `user_id`.
One call takes one or the other. A userId becomes the identity. An anonymousId becomes a number
(`heap_user_id`) and never an identity, because an identity would make the visitor a user, and Heap
cannot merge two users. If a message has both, `v1/identify` is sent first and moves the visitor's
history to the user. Heap remembers the link, so it is sent only once. With the setting `visitors` =
"identity" an anonymousId is sent as an identity, for data in Heap that already has this form.
Source: https://developers.heap.io/reference/identify-1 (seen 2026-11).
"""

from functools import lru_cache
from hashlib import md5
from struct import Struct

import msgspec

from integrations.destination import Config
from integrations.errors import MessageRejected
from integrations.messages import Message

MAX_IDENTITY_CHARS = 255  # characters
VISITOR_IDENTITY = "identity"  # the setting `visitors`: an anonymousId is sent as the identity
HASH_WORDS = Struct("<I4xI").unpack_from  # of an MD5: bytes 0 to 3 and 8 to 11

# Placeholders that never identify one person, in lower case. As an identity, each would merge
# everyone who has it, and Heap cannot separate people again. Heap's page warns of the first three.
# Mixpanel, Amplitude and PostHog refuse the next rows, also "0", which is a user here; the last row
# is what languages print for "no value".
# Sources (seen 2026-11): https://developers.heap.io/reference/identify,
# https://docs.mixpanel.com/troubleshooting/errors/400-bad-request,
# https://amplitude.com/docs/apis/analytics/http-v2,
# https://posthog.com/docs/integrate/identifying-users.
PLACEHOLDER_IDS = frozenset(
    {
        *("null", "undefined", "user"),
        *("anon", "anonymous", "guest", "nil", "none", "n/a", "nan", "true", "false", "email"),
        *("id", "distinctid", "distinct_id", "not_authenticated", "[object object]"),
        *("na", "-1", "lmy47d", "unknown", "00000000-0000-0000-0000-000000000000"),
        *("(null)", "<null>", "<nil>", "[object null]", "[object undefined]", "[]", "{}"),
    }
)


class Person(msgspec.Struct, gc=False):
    """The person that a message is about.

    identity   the identity of the user, or ""
    visitor    the number of the anonymous visitor, or ""
    notes      every change made to the message, to its ids or to anything else
    """

    identity: str
    visitor: str
    notes: list[str]


@lru_cache(maxsize=4_096)  # a visitor's events arrive close together
def heap_user_id(anonymous_id: str) -> str:
    """Return the number that represents an anonymous id in Heap, 0 to 2**53 - 1, in decimal.

    The same id always gives the same number: 53 bits of its MD5, the low 32 from bytes 0 to 3,
    the high 21 from bytes 8 to 11, both little-endian. Among a million visitors the chance that
    any two share a number is about 6 in 100,000 (n² / 2**54).

    This is the algorithm that Segment used with Heap's public API, over the id's Latin-1 bytes.
    An id with other characters is hashed as UTF-8, because Segment kept only their low bytes, so
    that different visitors could become one, which Heap cannot undo.

    Source: userIdHash.ts in github.com/segmentio/action-destinations, 2022-07 to 2023-02 (seen
    2026-11); range of `user_id`: https://developers.heap.io/reference/track-1 (seen 2026-11).
    """
    try:
        octets = anonymous_id.encode("latin-1")
    except UnicodeEncodeError:
        octets = anonymous_id.encode()
    low, high = HASH_WORDS(md5(octets, usedforsecurity=False).digest())
    return str(low | (high & 0x1FFFFF) << 32)


def identify_person(message: Message, config: Config) -> Person:
    notes: list[str] = []
    identity = _read_identity(message.user_id, "userId", notes)
    if config.get("visitors") == VISITOR_IDENTITY:
        identity = identity or _read_identity(message.anonymous_id, "anonymousId", notes)
        return Person(identity, "", notes)
    anonymous_id = usable_id(message.anonymous_id, "anonymousId", notes)
    return Person(identity, heap_user_id(anonymous_id) if anonymous_id else "", notes)


def _read_identity(given: str, field: str, notes: list[str]) -> str:
    identity = strip_id(usable_id(given, field, notes), field, notes)
    if len(identity) > MAX_IDENTITY_CHARS:
        raise MessageRejected(
            f"The {field} has {len(identity):,} characters, but Heap accepts at most "
            f"{MAX_IDENTITY_CHARS}. It was not cut, because two people could become one."
        )
    return identity


def usable_id(given: str, field: str, notes: list[str]) -> str:
    """Return the id, or "" if it is blank or a placeholder that identifies nobody."""
    bare = given.strip()
    if bare.lower() in PLACEHOLDER_IDS:
        notes.append(f'{field} "{bare}" ignored, because Heap would merge everyone who has it.')
        return ""
    return given if bare else ""


def strip_id(given: str, field: str, notes: list[str]) -> str:
    bare = given.strip()
    if bare != given:
        notes.append(f"{field} sent without surrounding whitespace.")
    return bare
