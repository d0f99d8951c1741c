"""Schemas of the SDKs' requests and responses, for the API documentation only.

The parser accepts more than this; the schemas describe the intended use.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1)] | int | None
Time = Annotated[
    str | float | None,
    Meta(description="ISO 8601, RFC 2822, or Unix time in s, ms, µs or ns."),
]


class IngestMessage(Struct, kw_only=True):
    """The fields of every message. userId or anonymousId is required."""

    userId: Annotated[Id, Meta(description="The id of the user in your system.")] = None  # noqa: N815
    anonymousId: Annotated[  # noqa: N815
        Id, Meta(description="The id of a visitor, before the user is known.")
    ] = None
    messageId: Annotated[  # noqa: N815
        Id, Meta(description="Messages of a source with the same messageId are one event.")
    ] = None
    timestamp: Annotated[
        Time, Meta(description="When it happened; by default the time of arrival.")
    ] = None
    sentAt: Annotated[  # noqa: N815
        Time, Meta(description="When it was sent, by the same clock as the timestamp.")
    ] = None
    context: dict[str, Any] = {}
    integrations: dict[str, Any] = {}
    writeKey: Annotated[  # noqa: N815
        str | None, Meta(description="The write key, if no header or query parameter has it.")
    ] = None


class Track(IngestMessage, kw_only=True):
    """A user did something."""

    event: Annotated[str, Meta(description="The name of the event.", min_length=1)]
    properties: dict[str, Any] = {}


class Identify(IngestMessage, kw_only=True):
    """Who a user is, and what you know about them."""

    traits: dict[str, Any] = {}


class Page(IngestMessage, kw_only=True):
    """A user viewed a page."""

    name: str | None = None
    properties: dict[str, Any] = {}


class Screen(Page, kw_only=True):
    """A user viewed a screen of an app."""


class Group(IngestMessage, kw_only=True):
    """A user belongs to a company, a team or an account."""

    groupId: Id  # noqa: N815
    traits: dict[str, Any] = {}


class Alias(IngestMessage, kw_only=True):
    """Two ids belong to one user: `previousId` became `userId`."""

    previousId: Id  # noqa: N815


class Rejected(Struct):
    """A rejected message: its index in the batch, and the reason."""

    index: int
    message: str


class Taken(Struct):
    """The message is stored and committed."""

    success: Literal[True]


class TakenBatch(Struct):
    """Valid messages are stored and committed. Rejected ones are listed and kept."""

    success: Literal[True]
    accepted: Annotated[int, Meta(description="Messages stored, including those stored before.")]
    rejected: list[Rejected] = []


class Refused(Struct):
    """Nothing was stored. `code` is for programs, `message` for people."""

    success: Literal[False]
    code: str
    message: str


MESSAGE_SCHEMAS = {
    "track": Track,
    "identify": Identify,
    "page": Page,
    "screen": Screen,
    "group": Group,
    "alias": Alias,
}
