"""The types with which a destination describes itself to the worker and the pages.

A destination is a value, `DESTINATION`, in `destinations/<key>/__init__.py`: a manifest and three
pure functions. The worker calls them in this order:

    items(action, message, config)     one action of a blueprint → entries of the vendor's calls
    request(endpoint, items, config)   entries of one endpoint → one HTTP request
    judge(response)                    the vendor's response → None, or raises an error of errors.py

Types created for every message are msgspec Structs: frozen like dataclasses, but much faster to
create.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from integrations.errors import (
    CredentialsRejected,
    MessageRejected,
    TooLarge,
    VendorFailed,
    VendorUnavailable,
)
from integrations.messages import Message

# The settings of an installation (config and secrets together), and `sandbox_url`: the URL of the
# sandbox, or "" if none runs.
Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One choice of a `select` field."""

    value: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigField:
    """One setting of an installation.

    type         "string", "secret" (stored encrypted, never shown again) or "select"
    pattern      a regular expression that the whole value must match; `pattern_help` explains it
    advanced     the default suits most installations, so pages show the field collapsed
    """

    key: str
    label: str
    type: str = "string"
    required: bool = True
    help_text: str = ""
    placeholder: str = ""
    pattern: str = ""
    pattern_help: str = ""
    options: tuple[Option, ...] = ()
    default: str = ""
    advanced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A ready-made way to install: the folder's `blueprints/<key>.json`, and initial config."""

    key: str
    name: str
    description: str = ""
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One call of the vendor's API, and how much one request may carry.

    idempotency_header   the header in which the vendor accepts a key for the whole request, such
                         as "Idempotency-Key", or "". The worker sets it: the same items get the
                         same key, so that a request repeated after a crash counts once. If a
                         request carries several items, a retry may carry others, with another key
    """

    max_items: int = 1
    max_bytes: int = 1_000_000  # of the items, encoded
    idempotency_header: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A rate limit that the vendor publishes; the worker stays within it.

    name        as the log shows it: "15,000 events a minute"
    endpoint    the endpoint whose items count
    items       how many may be sent per `seconds`, and in one burst after an idle time
    account     what the limit applies to: installations with the same text share the limit
    per_person  whether each person of the account has a separate limit
    """

    name: str
    endpoint: str
    items: int
    seconds: float
    account: str
    per_person: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How many items the vendor uses for one person in a calendar month (UTC).

    Items over the allowance are sent nevertheless, because the vendor accepts them; the delivery
    notes that the vendor ignores them.

    name       as the log shows it: "10 user_ids a month for one identity"
    endpoint   the endpoint whose accepted items count; only items with `once`, so that each fact
               counts once
    items      how many items
    account    as in Limit
    """

    name: str
    endpoint: str
    items: int
    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubleshootingEntry:
    """A line of the troubleshooting table: the symptom, its cause and the fix.

    errors, statuses   names of classes in errors.py, and HTTP statuses. One match is enough; a
                       line that has neither is shown as general advice only
    """

    symptom: str
    cause: str
    fix: str
    errors: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()


class Action(Struct, frozen=True, kw_only=True):
    """One action of a blueprint, applied to one message: its kind and its mapped fields.

    repeat  how many actions of the same kind precede it for the same message; their entries must
            have different ids at the vendor
    """

    kind: str
    fields: Mapping[str, Any]
    repeat: int = 0


class Item(Struct, frozen=True, kw_only=True):
    """One entry of one call, encoded.

    endpoint   a key of the destination's `endpoints`
    body       JSON; `request` joins the bodies of many items without parsing them again
    once       (key, value) of a fact that the vendor needs only once, or None. The worker omits
               the item if the vendor already has a fact with this key from the installation, and
               notes on the delivery if that fact has another value
    """

    endpoint: str
    body: bytes
    once: tuple[str, str] | None = None


class ShapedMessage(Struct, frozen=True, kw_only=True):
    """The items made from one action, in the order in which they must arrive, and the changes.

    notes     a sentence for each change: truncated, dropped, renamed, flattened …
    nothing   why there is nothing to send, if `items` is empty
    """

    items: tuple[Item, ...] = ()
    notes: tuple[str, ...] = ()
    nothing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, complete except for the connection."""

    url: str
    body: bytes
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """The vendor's response.

    body          its beginning, as text
    retry_after   seconds, from the Retry-After header (RFC 9110 §10.2.3), or None
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class ConnectionFinding:
    """One result of a connection test, as a sentence.

    level  "good", "bad", or "unknown" if the vendor's API cannot tell
    """

    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A request that leaves nothing at the vendor, and a function that reads its response."""

    request: Request
    finding: Callable[[Response], ConnectionFinding]


def no_probes(config: Config) -> Sequence[Probe | ConnectionFinding]:
    return (
        ConnectionFinding(
            "unknown", "This vendor's API has no way to test a connection without sending data."
        ),
    )


def no_limits(config: Config) -> Sequence[Limit]:
    return ()


def no_allowances(config: Config) -> Sequence[Allowance]:
    return ()


def raise_for_status(response: Response) -> None:
    """Return if the vendor accepted the request; otherwise raise the error for its status.

    A redirect is never followed and counts as unavailable, so that no event is lost while a vendor
    is behind a login page or has moved.
    """
    status, message = response.status, f"HTTP {response.status}: {response.body[:300]}"
    if 200 <= status < 300:
        return
    if status in (401, 403):
        raise CredentialsRejected(message)
    if status == 413:
        raise TooLarge(message)
    if status in (408, 425, 429, 502, 503, 504) or status < 400:
        raise VendorUnavailable(message, retry_after=response.retry_after)
    if status >= 500:
        raise VendorFailed(message, retry_after=response.retry_after)
    raise MessageRejected(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A vendor to which Penstock can deliver: a manifest and pure functions.

    kinds        the kinds of action that its blueprints may use. A kind named "track" takes the
                 fields `event` and `properties`; a blueprint's `"otherwise": "pass"` relies on it
    aliases      further names by which SDKs switch it in a message's `integrations` object
    probes       how a connection is tested: requests that leave nothing at the vendor, and
                 findings that need no request
    setup_steps  (title, text) of each step to take at the vendor before installing
    """

    key: str
    name: str
    description: str
    category: str
    status: str  # "ga" or "beta"; "missing" for a placeholder
    website: str
    config_fields: tuple[ConfigField, ...]
    variants: tuple[Variant, ...]
    kinds: tuple[str, ...]
    endpoints: Mapping[str, Endpoint]
    items: Callable[[Action, Message, Config], ShapedMessage]
    request: Callable[[str, Sequence[Item], Config], Request]
    aliases: tuple[str, ...] = ()
    judge: Callable[[Response], None] = raise_for_status
    limits: Callable[[Config], Sequence[Limit]] = no_limits
    allowances: Callable[[Config], Sequence[Allowance]] = no_allowances
    probes: Callable[[Config], Sequence[Probe | ConnectionFinding]] = no_probes
    setup_steps: tuple[tuple[str, str], ...] = ()
    troubleshooting: tuple[TroubleshootingEntry, ...] = ()

    @property
    def is_missing(self) -> bool:
        """Return whether this is a placeholder for a destination that the catalog does not have."""
        return self.status == "missing"

    @property
    def secret_keys(self) -> frozenset[str]:
        return frozenset(f.key for f in self.config_fields if f.type == "secret")

    def variant(self, key: str) -> Variant:
        """Return the variant with this key. Raises KeyError if there is none."""
        return {variant.key: variant for variant in self.variants}[key]

    def explain(self, error: str, status: int | None) -> TroubleshootingEntry | None:
        """Return the troubleshooting line that matches a failure best, or None."""
        lines = self.troubleshooting
        by_status = [line for line in lines if status in line.statuses]
        return next(iter([*by_status, *(line for line in lines if error in line.errors)]), None)
