"""All that a destination imports to describe itself, and what the worker reads of it.

A destination is a value, `DESTINATION`, in `destinations/<key>/__init__.py`: a manifest and three
pure functions. The worker drives them in this order:

    items(action, message, config)     one action of a blueprint → entries of the vendor's calls
    request(endpoint, items, config)   entries of one endpoint → one HTTP request
    judge(response)                    the vendor's answer → nothing, or an error of errors.py

What is made for every message is a msgspec Struct: frozen like a dataclass, but made far faster.
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

# What an installation was given (config and secrets together), and `sandbox_url`: the address of
# the sandbox, or "" where none runs.
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
    pattern      a regular expression the whole value must match; `pattern_help` says it in words
    advanced     its default suits most: pages show it folded
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
    """A ready-made way to install: `blueprints/<key>.json` of the folder, and starting config."""

    key: str
    name: str
    description: str = ""
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One call of the vendor's API and how much it takes at once.

    idempotency_header   in which the vendor takes a key for the request as a whole, such as
                         "Idempotency-Key", or "". The worker fills it in: the same for the same
                         items, so that a request sent again after a crash counts once. With more
                         than one item to a request, a retry may carry others and have another key
    """

    max_items: int = 1
    max_bytes: int = 1_000_000  # of the items, encoded
    idempotency_header: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit that the vendor publishes, kept before it has to refuse.

    name        in words, for the log: "15,000 events a minute"
    endpoint    whose items count
    items       how many may go at once after a quiet time, and how many in `seconds`
    account     what is limited: installations that give the same text share the limit
    per_person  each person of the account has a limit of their own
    """

    name: str
    endpoint: str
    items: int
    seconds: float
    account: str
    per_person: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How much the vendor heeds of one person in a calendar month (UTC). What is over it is sent
    nevertheless, since the vendor takes it; the delivery notes that it is ignored.

    name       in words: "10 user_ids a month for one identity"
    endpoint   whose accepted items count; only those with `once`, so each fact counts once
    items      how many
    account    as in Limit
    """

    name: str
    endpoint: str
    items: int
    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubleshootingEntry:
    """A line of the troubleshooting table: which failures it explains, why, and what to do.

    errors, statuses   names of classes in errors.py and HTTP statuses; either one matching is
                       enough, and a line without both is shown as general advice only
    """

    symptom: str
    cause: str
    fix: str
    errors: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()


class Action(Struct, frozen=True, kw_only=True):
    """One action of a blueprint, applied to one message: what kind it is, and the mapped fields.

    repeat  how many actions of its kind came before it for the same message: what identifies an
            entry at the vendor must differ between them
    """

    kind: str
    fields: Mapping[str, Any]
    repeat: int = 0


class Item(Struct, frozen=True, kw_only=True):
    """One entry of one call, encoded.

    endpoint   a key of the destination's `endpoints`
    body       JSON; `request` joins the bodies of many items without parsing them again
    once       (key, value) of a fact that the vendor needs to be told only once, or None. The
               worker leaves the item out when the installation told this key before, and notes
               it on the delivery when it was told with another value.
    """

    endpoint: str
    body: bytes
    once: tuple[str, str] | None = None


class ShapedMessage(Struct, frozen=True, kw_only=True):
    """What one message becomes: the items in the order they must arrive, and what was changed.

    notes     each a sentence a person can read: cut, dropped, renamed, flattened …
    nothing   why there is nothing to send, when `items` is empty
    """

    items: tuple[Item, ...] = ()
    notes: tuple[str, ...] = ()
    nothing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, complete but for the connection."""

    url: str
    body: bytes
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the vendor answered.

    body          the start of it, as text
    retry_after   seconds, from the Retry-After header (RFC 9110 §10.2.3), or None
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class ConnectionFinding:
    """What is known of an installation's connection, in a sentence.

    level  "good", "bad", or "unknown" for what the vendor does not tell
    """

    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A request that leaves nothing behind at the vendor, and what its answer tells."""

    request: Request
    finding: Callable[[Response], ConnectionFinding]


def no_probes(config: Config) -> Sequence[Probe | ConnectionFinding]:
    return (
        ConnectionFinding("unknown", "This vendor tells nothing unless something is sent to it."),
    )


def no_limits(config: Config) -> Sequence[Limit]:
    return ()


def no_allowances(config: Config) -> Sequence[Allowance]:
    return ()


def raise_for_status(response: Response) -> None:
    """Return when the vendor accepted; raise the error that its status means otherwise.

    A redirect counts as unavailable: it is never followed, and a vendor behind a login page or
    on a new address must cost no event.
    """
    status, said = response.status, f"HTTP {response.status}: {response.body[:300]}"
    if 200 <= status < 300:
        return
    if status in (401, 403):
        raise CredentialsRejected(said)
    if status == 413:
        raise TooLarge(said)
    if status in (408, 425, 429, 502, 503, 504) or status < 400:
        raise VendorUnavailable(said, retry_after=response.retry_after)
    if status >= 500:
        raise VendorFailed(said, retry_after=response.retry_after)
    raise MessageRejected(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A vendor we can deliver to: manifest and pure functions.

    kinds        the kinds of action its blueprints may use. One called "track" takes the fields
                 `event` and `properties`: a blueprint's `"otherwise": "pass"` relies on it
    probes       how a connection is tested: requests that leave nothing behind, and what is known
                 without asking
    setup_steps  (title, text) of what to do at the vendor before installing
    """

    key: str
    name: str
    description: str
    category: str
    status: str  # "ga" or "beta"; "missing" of one that the catalog does not have
    website: str
    config_fields: tuple[ConfigField, ...]
    variants: tuple[Variant, ...]
    kinds: tuple[str, ...]
    endpoints: Mapping[str, Endpoint]
    items: Callable[[Action, Message, Config], ShapedMessage]
    request: Callable[[str, Sequence[Item], Config], Request]
    judge: Callable[[Response], None] = raise_for_status
    limits: Callable[[Config], Sequence[Limit]] = no_limits
    allowances: Callable[[Config], Sequence[Allowance]] = no_allowances
    probes: Callable[[Config], Sequence[Probe | ConnectionFinding]] = no_probes
    setup_steps: tuple[tuple[str, str], ...] = ()
    troubleshooting: tuple[TroubleshootingEntry, ...] = ()

    @property
    def is_missing(self) -> bool:
        """Return whether it only stands for one that the catalog does not have."""
        return self.status == "missing"

    @property
    def secret_keys(self) -> frozenset[str]:
        return frozenset(f.key for f in self.config_fields if f.type == "secret")

    def variant(self, key: str) -> Variant:
        """Return the variant of that key. Raises KeyError when there is none."""
        return {variant.key: variant for variant in self.variants}[key]

    def explain(self, error: str, status: int | None) -> TroubleshootingEntry | None:
        """Return the troubleshooting line that fits a failure best, or None."""
        lines = self.troubleshooting
        by_status = [line for line in lines if status in line.statuses]
        return next(iter([*by_status, *(line for line in lines if error in line.errors)]), None)
