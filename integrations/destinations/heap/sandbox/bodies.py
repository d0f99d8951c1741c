"""Validates request bodies twice: with types, which are fast, and with rules, which explain errors.

Valid bodies pass the types alone. A body that the types reject is checked again by the slower
rules, to word the error as Heap does. A test keeps the limits of the two equal.

Documented: the names, which are required, 1,000 entries per request, event ≤ 1,024 characters,
identity ≤ 255, user_id a decimal string from 0 to 2^53 - 1, either identity or user_id but never
both, keys and values "less than 1024 characters", values number or string, arrays in `track`, and
no user property named `id` in any casing.
Source: https://developers.heap.io/reference/track-1, /bulk-track, /identify-1,
/add-user-properties, /bulk-add-user-properties, /add-account-properties (seen 2026-11).

Observed but not documented: an error is 400, text/plain, in ajv's words, with a path that starts
at `postBody`, and a single entry is checked as a list of one: `postBody.events[0].properties should
be object`. Source: https://github.com/iagomelanias/heap-php/issues/4 (seen 2026-11). The texts of
all other errors are assumed, and follow ajv 6.

Assumed, because no source was found:
* one bad entry fails the whole request;
* a key or value of exactly 1,024 characters passes, as it does in heap-node and heap-ruby;
* booleans, null and objects as values are rejected (both clients reject them too), and so are
  arrays as properties of users and accounts;
* names and ids must not be empty; a timestamp must be ISO 8601; unknown fields are allowed;
* a user property `user_id` passes, because only Heap's browser docs forbid it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from integrations.destinations.heap.sandbox.exchange import CallRejected

MAX_ENTRIES = 1_000
MAX_NAME = MAX_KEY = MAX_VALUE = 1_024  # characters
MAX_IDENTITY = 255  # characters
MAX_USER_ID = 2**53 - 1

AppId = Annotated[str, Meta(pattern="^[0-9]+$")]
Identity = Annotated[str, Meta(min_length=1, max_length=MAX_IDENTITY)]
UserId = Annotated[str, Meta(pattern="^[0-9]{1,16}$")]
PropertyKey = Annotated[str, Meta(max_length=MAX_KEY)]
PropertyText = Annotated[str, Meta(max_length=MAX_VALUE)]


class TrackEntry(Struct, kw_only=True, gc=False):
    """One event of `track`. A field that was not sent is ""."""

    event: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    identity: Identity = ""
    user_id: UserId = ""
    session_id: str = ""
    timestamp: str = ""
    idempotency_key: str = ""
    properties: dict[PropertyKey, PropertyText | int | float | list[str | int | float]] = {}


class UserEntry(Struct, kw_only=True, gc=False):
    """One user of `add_user_properties`."""

    identity: Identity
    properties: dict[PropertyKey, PropertyText | int | float] = {}


class AccountEntry(Struct, kw_only=True, gc=False):
    """One account of `add_account_properties`."""

    account_id: Annotated[str, Meta(min_length=1)]
    properties: dict[PropertyKey, PropertyText | int | float] = {}


class IdentifyBody(Struct, kw_only=True):
    """The body of `v1/identify`."""

    app_id: AppId
    user_id: UserId
    identity: Identity
    timestamp: str = ""


class TrackBody(Struct):
    app_id: AppId
    entries: Annotated[list[TrackEntry], Meta(max_length=MAX_ENTRIES)] = msgspec.field(
        name="events"
    )


class UsersBody(Struct):
    app_id: AppId
    entries: Annotated[list[UserEntry], Meta(max_length=MAX_ENTRIES)] = msgspec.field(name="users")


class AccountsBody(Struct):
    # Heap's page declares this app_id an integer but shows a string, so both are accepted.
    app_id: AppId | int
    entries: Annotated[list[AccountEntry], Meta(max_length=MAX_ENTRIES)] = msgspec.field(
        name="accounts"
    )


# A rule returns the problem with a value at a path, as ajv words it, or "".
Rule = Callable[[Any, str], str]


@dataclass(frozen=True, slots=True)
class ObjectRule:
    """The rule of an object: a rule for each name, and the required names."""

    rules: Mapping[str, Rule]
    required: Sequence[str] = ()

    def __call__(self, value: Any, path: str) -> str:
        if not isinstance(value, dict):
            return f"{path} should be object"
        for name in self.required:
            if name not in value:
                return f"{path} should have required property '{name}'"
        known = ((name, rule) for name, rule in self.rules.items() if name in value)
        return _first_problem(rule(value[name], f"{path}.{name}") for name, rule in known)


def string_rule(*, least: int = 0, most: int | None = None, pattern: str = "") -> Rule:
    """Return the rule of a string of `least` to `most` characters."""

    def rule(value: Any, path: str) -> str:
        if not isinstance(value, str):
            return f"{path} should be string"
        if most is not None and len(value) > most:
            return f"{path} should NOT be longer than {most} characters"
        if len(value) < least:
            return f"{path} should NOT be shorter than {least} characters"
        if pattern and not re.search(pattern, value):
            return f'{path} should match pattern "{pattern}"'
        return ""

    return rule


def entries_rule(rule: Rule) -> Rule:
    """Return the rule of a list of up to 1,000 entries."""

    def of_list(value: Any, path: str) -> str:
        if not isinstance(value, list):
            return f"{path} should be array"
        if len(value) > MAX_ENTRIES:
            return f"{path} should NOT have more than {MAX_ENTRIES} items"
        return _first_problem(rule(entry, f"{path}[{i}]") for i, entry in enumerate(value))

    return of_list


def properties_rule(*, arrays: bool = False) -> Rule:
    """Return the rule of custom properties. Only events allow `arrays`."""

    def rule(value: Any, path: str) -> str:
        if not isinstance(value, dict):
            return f"{path} should be object"
        for key in value:
            if len(key) > MAX_KEY:
                return f"{path} property name '{key[:40]}…' is invalid"
        return _first_problem(
            _property_value_problem(v, member_path(path, key), arrays) for key, v in value.items()
        )

    return rule


def _property_value_problem(value: Any, path: str, arrays: bool) -> str:
    if arrays and isinstance(value, list):
        return _first_problem(
            _property_value_problem(v, f"{path}[{i}]", False) for i, v in enumerate(value)
        )
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return f"{path} should be number,string"
    if isinstance(value, str) and len(value) > MAX_VALUE:
        return f"{path} should NOT be longer than {MAX_VALUE} characters"
    return ""


def member_path(path: str, key: str) -> str:
    """Return the path of a property as ajv writes it: `.plan`, or `['Plan name']`."""
    if re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_$]*", key):
        return f"{path}.{key}"
    return f"{path}['{key[:40]}']"


def _first_problem(problems: Any) -> str:
    return next((problem for problem in problems if problem), "")


_app_id_rule = string_rule(pattern="^[0-9]+$")
_identity_rule = string_rule(least=1, most=MAX_IDENTITY)
_user_id_rule = string_rule(pattern="^[0-9]{1,16}$")


def _account_app_id_rule(value: Any, path: str) -> str:
    return "" if type(value) is int else _app_id_rule(value, path)


TRACK_RULE = ObjectRule(
    {
        "event": string_rule(least=1, most=MAX_NAME),
        "identity": _identity_rule,
        "user_id": _user_id_rule,
        "session_id": string_rule(),
        "timestamp": string_rule(),
        "idempotency_key": string_rule(),
        "properties": properties_rule(arrays=True),
    },
    required=("event",),
)
USER_RULE = ObjectRule(
    {"identity": _identity_rule, "properties": properties_rule()}, required=("identity",)
)
ACCOUNT_RULE = ObjectRule(
    {"account_id": string_rule(least=1), "properties": properties_rule()}, ("account_id",)
)
IDENTIFY_RULE = ObjectRule(
    {
        "app_id": _app_id_rule,
        "user_id": _user_id_rule,
        "identity": _identity_rule,
        "timestamp": string_rule(),
    },
    required=("app_id", "user_id", "identity"),
)

Body = TypeVar("Body", TrackBody, UsersBody, AccountsBody)


class EntriesParser(Generic[Body]):
    """A call that takes one entry, or a list of them under `plural`."""

    def __init__(
        self,
        shape: type[Body],
        plural: str,
        rule: Rule,
        check: Callable[[Body], None],
        app_id: Rule = _app_id_rule,
    ):
        self.shape: type[Body] = shape
        self.plural = plural
        self.check: Callable[[Body], None] = check
        self.decoder: msgspec.json.Decoder[Body] = msgspec.json.Decoder(shape)
        self.rule = ObjectRule({"app_id": app_id, plural: entries_rule(rule)}, ("app_id", plural))

    def read(self, raw: bytes) -> tuple[Body, bool]:
        """Return the body, and whether it was a list. Raises CallRejected in Heap's words."""
        try:
            body, bulk = self.decoder.decode(raw), True
        except ValueError:
            body, bulk = self._read_slowly(raw)
        self.check(body)
        return body, bulk

    def _read_slowly(self, raw: bytes) -> tuple[Body, bool]:
        post = parse_object(raw)
        bulk = self.plural in post
        if not bulk:  # as Heap does, judging by the paths in its errors
            entry = {name: value for name, value in post.items() if name != "app_id"}
            post = {**post, self.plural: [entry]}
        return convert_body(post, self.shape, self.rule), bulk


Shape = TypeVar("Shape", bound=Struct)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in a body. Raises CallRejected; Heap's response here is assumed."""
    try:
        post = msgspec.json.decode(raw)
    except ValueError as error:
        raise CallRejected(f"Bad request: the body is not JSON ({error})") from error
    if not isinstance(post, dict):
        raise CallRejected("postBody should be object")
    return post


def convert_body(post: dict[str, Any], shape: type[Shape], rule: Rule) -> Shape:
    try:
        return msgspec.convert(post, shape)
    except msgspec.ValidationError as error:
        raise CallRejected(rule(post, "postBody") or f"postBody is not valid: {error}") from error


def read_identify(raw: bytes) -> IdentifyBody:
    """Return the body of `v1/identify`. Raises CallRejected."""
    body = convert_body(parse_object(raw), IdentifyBody, IDENTIFY_RULE)
    if problem := _user_id_problem(body.user_id) or _timestamp_problem(body.timestamp):
        raise CallRejected(f"postBody{problem}")
    return body


def _check_track(body: TrackBody) -> None:
    for i, entry in enumerate(body.entries):
        if problem := _track_problem(entry):
            raise CallRejected(f"postBody.events[{i}]{problem}")


def _track_problem(entry: TrackEntry) -> str:
    """Return a problem that types cannot express. The rule is documented, its text is assumed."""
    if bool(entry.identity) == bool(entry.user_id):
        return " should match exactly one schema in oneOf"
    return _user_id_problem(entry.user_id) or _timestamp_problem(entry.timestamp)


def _check_users(body: UsersBody) -> None:
    """Reject the reserved property. Heap says it "is not allowed"; the 400 is assumed."""
    for i, entry in enumerate(body.entries):
        for key in entry.properties:
            if key.lower() == "id":
                raise CallRejected(
                    f"postBody.users[{i}].properties property name '{key}' is invalid"
                )


def _user_id_problem(user_id: str) -> str:
    return f".user_id should be <= {MAX_USER_ID}" if int(user_id or "0") > MAX_USER_ID else ""


def _timestamp_problem(timestamp: str) -> str:
    if not timestamp:
        return ""
    try:
        datetime.fromisoformat(timestamp)
    except ValueError:
        return '.timestamp should match format "date-time"'
    return ""


def _check_nothing(body: AccountsBody) -> None:
    """Accept any account, because accounts have no rules beyond their types."""


track_parser = EntriesParser(TrackBody, "events", TRACK_RULE, _check_track)
users_parser = EntriesParser(UsersBody, "users", USER_RULE, _check_users)
accounts_parser = EntriesParser(
    AccountsBody, "accounts", ACCOUNT_RULE, _check_nothing, app_id=_account_app_id_rule
)
