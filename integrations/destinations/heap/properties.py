"""Converts properties to the form that Heap accepts: flat text and numbers within its limits.

Heap documents for its server-side calls: keys and values are numbers or strings below 1,024
characters; its browser library requires keys below 512. Objects, booleans and null are not in the
schema, and Heap's own clients (heap-node, heap-ruby) reject them. A property must have the same
name on all platforms, so the narrower limit for names applies here as well.
Source: https://developers.heap.io/reference/track-1 and
https://developers.heap.io/docs/api-reference (seen 2026-11).

Heap does not say what it counts as a character. Penstock counts UTF-16 units, as JavaScript does,
because text that fits in UTF-16 units fits in any other count of characters.

Every change is recorded in a note. Properties that arrive in another form share one note per
message, which names the first few. Properties that do not arrive are all named.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

MAX_NAME_UNITS = 511  # UTF-16 units
MAX_TEXT_UNITS = 1_023  # UTF-16 units
MAX_SAFE_INTEGER, MIN_SAFE_INTEGER = (
    2**53,
    -(2**53),
)  # beyond these JavaScript, which Heap uses, rounds integers
MAX_OBJECT_DEPTH = 32  # levels of nested objects; deeper objects are sent as JSON
EMAIL_NAME = "email"
SPECIAL_NAMES = frozenset(
    {"id", "user_id", EMAIL_NAME}
)  # names of user properties to which Heap gives a meaning
MAX_NAMES_IN_NOTE = 3  # names in a note about properties that arrive in another form
SENT_AS_TEXT_NOTE = "Sent as text, because Heap accepts only text and numbers"

# Up to these lengths units need not be counted, because no character has more than two.
SAFE_NAME_CHARS, SAFE_TEXT_CHARS = MAX_NAME_UNITS // 2, MAX_TEXT_UNITS // 2

PropertyValue = str | int | float
encode_json = msgspec.json.Encoder().encode


def fit_properties(
    given: Any, notes: list[str], *, arrays: str = "json", objects: str = "flatten"
) -> dict[str, PropertyValue]:
    """Return the properties in the form that Heap accepts, and add the changes to `notes`.

    arrays   "json"; "join": lists of text and numbers as Heap itself would write them, `a||b`,
             other lists as JSON; "index": each item under its own name, `a.0`, as Segment sends
             them; "drop"
    objects  "flatten", with dots in the names; "stringify": as JSON; "drop"
    """
    if given is None:
        return {}
    if type(given) is not dict:
        shown = _shortened(encode_json(given).decode())
        notes.append(f"Left out: properties, which must be an object, not {shown}.")
        return {}
    fitting = _PropertyFitter(arrays, objects, MAX_OBJECT_DEPTH if objects == "flatten" else 0)
    fitting.take(given)
    notes += fitting.summary()
    return fitting.sent


def rename_reserved(given: Any, notes: list[str], *, objects: str = "flatten") -> Any:
    """Rename user properties to names that Heap allows or recognizes.

    `id`, in any case, and `user_id` get a leading underscore, as Heap writes a custom property
    that looks like one of its own. Heap recognizes an e-mail address only as `email`.
    Source: https://developers.heap.io/reference/add-user-properties and
    https://developers.heap.io/reference/adduserproperties (seen 2026-11).
    """
    if type(given) is not dict:
        return given
    if SPECIAL_NAMES.intersection(map(str.lower, given)) <= given.keys() & {EMAIL_NAME}:
        return given  # the usual case: no special name, or only `email`
    names = {
        key: _free_name(key, given)
        for key, value in given.items()
        if _is_reserved(key) and not (isinstance(value, dict) and value and objects == "flatten")
    }  # a flattened object needs no renaming, because `id.x` is not reserved
    for key, name in names.items():
        notes.append(f"properties.{key} renamed to properties.{name}, because Heap reserves {key}.")
    emails = [key for key in given if key.lower() == EMAIL_NAME and isinstance(given[key], str)]
    if emails and EMAIL_NAME not in given:
        names[emails[0]] = EMAIL_NAME
        notes.append(
            f"properties.{emails[0]} renamed to properties.email, the name that Heap knows."
        )
    return {names.get(key, key): value for key, value in given.items()} if names else given


def _is_reserved(name: str) -> bool:
    return name == "user_id" or name.lower() == "id"


def _free_name(key: str, given: Mapping[str, Any]) -> str:
    name = f"_{key}"
    while name in given:
        name = f"_{name}"
    return name


class _PropertyFitter(msgspec.Struct):
    """Converts the properties of one message, and collects the changes.

    max_depth  the depth to which objects are flattened
    sent       name → value, as Heap receives them
    """

    arrays: str
    objects: str
    max_depth: int
    sent: dict[str, PropertyValue] = {}
    flattened: list[str] = []
    as_text: list[str] = []
    empty: list[str] = []
    dropped: list[str] = []
    changes: list[str] = []

    def take(self, given: Mapping[str, Any], prefix: str = "", depth: int = 0) -> None:
        """Add all properties of an object. This is the hot path; most values need no change."""
        sent = self.sent
        for key, value in given.items():
            name = prefix + key
            kind = type(value)
            if kind is str:
                if len(value) > SAFE_TEXT_CHARS:
                    value = self._cut(name, value)
            elif kind is not float and (
                kind is not int or not MIN_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER
            ):
                if kind is dict and value and depth < self.max_depth:
                    self._open(name, value, depth)
                    continue
                value = self._as_text(name, value, depth)
                if value is None:
                    continue
            if name in sent or not name or len(name) > SAFE_NAME_CHARS:
                name = self._settled_name(name)
                if not name:
                    continue
            sent[name] = value

    def _open(self, name: str, value: Mapping[str, Any], depth: int) -> None:
        if depth == 0:
            self.flattened.append(name)
        self.take(value, f"{name}.", depth + 1)

    def _as_text(self, name: str, value: Any, depth: int) -> str | None:
        """Return the text for a value that is neither text nor number, or None to send none."""
        if not value and value is not False:
            self.empty.append(f"{property_label(name)} ({encode_json(value).decode()})")
            return None
        if self.arrays == "index" and type(value) is list and depth < MAX_OBJECT_DEPTH:
            self._open(name, {str(index): each for index, each in enumerate(value)}, depth)
            return None
        if (self.arrays if type(value) is list else self._of_object(value)) == "drop":
            self.dropped.append(property_label(name))
            return None
        self.as_text.append(name)
        text = _value_text(value, join=self.arrays == "join")
        return text if len(text) <= SAFE_TEXT_CHARS else self._cut(name, text)

    def _of_object(self, value: Any) -> str:
        return self.objects if type(value) is dict else ""

    def _cut(self, name: str, text: str) -> str:
        short = truncate_utf16(text, MAX_TEXT_UNITS)
        if short != text:
            self.changes.append(f"{property_label(name)} cut {describe_cut(text, short)}.")
        return short

    def _settled_name(self, name: str) -> str:
        """Return the name to send instead, or "" if the property cannot be sent."""
        if not name:
            self.changes.append(f"Left out: {property_label(name)}, because Heap requires a name.")
            return ""
        short = truncate_utf16(name, MAX_NAME_UNITS)
        if short != name:
            self.changes.append(
                f"The name of {property_label(name)} cut {describe_cut(name, short)}."
            )
        if short in self.sent:
            self.changes.append(
                f"{property_label(short)} occurred more than once; the last value was sent."
            )
        return short

    def summary(self) -> list[str]:
        """Return the notes."""
        if self.flattened:
            self.changes.append(
                _list_names_note("Flattened, with dots in the names", *self.flattened)
            )
        if self.as_text:
            self.changes.append(_list_names_note(SENT_AS_TEXT_NOTE, *self.as_text))
        if self.empty:
            self.changes.append(f"Left out, because it is empty: {', '.join(self.empty)}.")
        if self.dropped:
            self.changes.append(f"Left out, as configured: {', '.join(self.dropped)}.")
        return self.changes


def truncate_utf16(text: str, limit: int) -> str:
    """Return the start of a text: at most `limit` UTF-16 units, without splitting a character."""
    if 2 * len(text) <= limit:
        return text
    units = text.encode("utf-16-le")
    return text if len(units) <= 2 * limit else units[: 2 * limit].decode("utf-16-le", "ignore")


def describe_cut(text: str, short: str) -> str:
    """Describe how far a text was cut."""
    return f"from {_utf16_units(text):,} to {_utf16_units(short):,} characters"


def property_label(name: str) -> str:
    """Return a property's name as notes show it."""
    return f"properties.{_shortened(name)}" if name else 'properties.""'


def _utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:99]}…"


@lru_cache(maxsize=1_024)  # a source's messages look alike
def _list_names_note(what: str, *names: str) -> str:
    more = f" and {len(names) - MAX_NAMES_IN_NOTE} more" if len(names) > MAX_NAMES_IN_NOTE else ""
    return f"{what}: {', '.join(map(property_label, names[:MAX_NAMES_IN_NOTE]))}{more}."


def _value_text(value: Any, *, join: bool) -> str:
    if join and type(value) is list and all(isinstance(v, str | int | float) for v in value):
        return "||".join(v if isinstance(v, str) else encode_json(v).decode() for v in value)
    return encode_json(value).decode()
