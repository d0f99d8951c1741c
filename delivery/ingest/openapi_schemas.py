"""Schemas of the SDKs' requests and responses, for the API documentation only.

The parser accepts more than this; the schemas describe the intended use.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1)] | int | None
Time = Annotated[
    str | float | None,
    Meta(description="ISO 8601, RFC 2822, or unix time in s, ms, µs or ns."),
]


class IngestMessage(Struct, kw_only=True):
    """What every message can have. One of userId and anonymousId is needed."""

    userId: Annotated[Id, Meta(description="Who it is, as you name your users.")] = None  # noqa: N815
    anonymousId: Annotated[Id, Meta(description="Who it is before you know.")] = None  # noqa: N815
    messageId: Annotated[  # noqa: N815
        Id, Meta(description="The same one from the same source is one event, however often sent.")
    ] = None
    timestamp: Annotated[Time, Meta(description="When it happened; else when it came.")] = None
    sentAt: Annotated[  # noqa: N815
        Time, Meta(description="When it was sent, by the clock that gave the timestamp.")
    ] = None
    context: dict[str, Any] = {}
    integrations: dict[str, Any] = {}
    writeKey: Annotated[  # noqa: N815
        str | None, Meta(description="The write key, where no header and no parameter has it.")
    ] = None


class Track(IngestMessage, kw_only=True):
    """Somebody did something."""

    event: Annotated[str, Meta(description="What was done.", min_length=1)]
    properties: dict[str, Any] = {}


class Identify(IngestMessage, kw_only=True):
    """Who somebody is, and what you know of them."""

    traits: dict[str, Any] = {}


class Page(IngestMessage, kw_only=True):
    """Somebody saw a page."""

    name: str | None = None
    properties: dict[str, Any] = {}


class Screen(Page, kw_only=True):
    """Somebody saw a screen of an app."""


class Group(IngestMessage, kw_only=True):
    """Somebody belongs to a company, a team, an account."""

    groupId: Id  # noqa: N815
    traits: dict[str, Any] = {}


class Alias(IngestMessage, kw_only=True):
    """Two ids are one user: `previousId` became `userId`."""

    previousId: Id  # noqa: N815


class Rejected(Struct):
    """A message that was not taken: its place in the batch, and why."""

    index: int
    message: str


class Taken(Struct):
    """It is stored and committed."""

    success: Literal[True]


class TakenBatch(Struct):
    """What is valid is stored and committed. What was refused of it is named, and kept."""

    success: Literal[True]
    accepted: Annotated[int, Meta(description="Messages stored, those we had before included.")]
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
