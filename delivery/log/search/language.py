"""Parses the log's search language into terms; pure.

    user:ada event:"Order Completed" -status:5xx since:2h

Terms of different keys must all match. Terms of one key are alternatives. A term after a minus must
not match. A word without a key is a message id, user id or anonymous id. Each invalid term becomes
a problem with an explanation, and a search with problems returns nothing.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches

from integrations import errors
from integrations.formats.times import clamp_time
from integrations.messages import MESSAGE_TYPES

SEARCH_STATES = ("queued", "delivered", "filtered", "failed", "cancelled")
SEARCH_TRIGGERS = ("auto", "hand", "replay", "backfill")
SEARCH_ERRORS = tuple(
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and value is not errors.DestinationError
)
STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx", "none")
SINGLE_USE_KEYS = ("since", "until")
COMPARISON = re.compile(r"(<=|>=|<|>)?(\d{1,9})")
COMPARISON_LOOKUPS = {
    "": "exact",
    "<": "lt",
    "<=": "lte",
    ">": "gt",
    ">=": "gte",
}  # Django lookups
INVALID_TERM_KEY = '"'  # stands for the key of an invalid term
MAX_TERMS = 20
MAX_VALUE_CHARS = 300  # per value

AGE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
AGE = re.compile(r"([1-9]\d{0,4})([smhd])")
TOKEN = re.compile(
    r'([A-Za-z_-]+):("(?:[^"\\]|\\.)*"(?!\S)|[^\s"][^\s"]*(?!\S))'  # key:value, key:"a value"
    r'|("(?:[^"\\]|\\.)*"(?!\S)|[^\s":]+(?!\S))'  # value, "a value"
    r"|(\S+)"  # anything else is invalid
)
UNQUOTED_VALUE = re.compile(r'[^\s":\\][^\s"\\]*')


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. key: a search key, or "" for any id; negated: it must not match."""

    key: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        is_plain = UNQUOTED_VALUE.fullmatch(self.value) and (self.key or ":" not in self.value)
        key = f"{'-' if self.negated else ''}{self.key}:" if self.key else ""
        return f"{key}{self._written(is_plain)}"

    def _written(self, is_plain: object) -> str:
        if is_plain:
            return self.value
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'


@dataclass(frozen=True, slots=True)
class Search:
    """Terms in the order in which they were typed, and a sentence for each invalid term.

    resolved_ids  (key, value, id) of names that resolve_names() looked up; empty before
    """

    terms: tuple[Term, ...] = ()
    problems: tuple[str, ...] = ()
    resolved_ids: tuple[tuple[str, str, int], ...] = ()

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    def values(self, key: str) -> list[str]:
        return [term.value for term in self.terms if term.key == key and not term.negated]

    @property
    def excluded_terms(self) -> list[Term]:
        return [term for term in self.terms if term.negated]

    def without(self, *terms: Term) -> "Search":
        rest = tuple(term for term in self.terms if term not in terms)
        return Search(rest, resolved_ids=self.resolved_ids)

    def only(self, key: str, *values: str) -> "Search":
        """Return this search with the values of a key replaced."""
        rest = tuple(term for term in self.terms if term.key != key)
        terms = rest + tuple(Term(key, value) for value in values)
        return Search(terms, resolved_ids=self.resolved_ids)

    def ids_of(self, key: str) -> list[int]:
        """Return the resolved ids of a key's values."""
        values = self.values(key)
        return [number for of, value, number in self.resolved_ids if of == key and value in values]


@dataclass(frozen=True, slots=True)
class SearchKey:
    """A key of the search language.

    read  converts a typed value to its normal form. Raises ValueError naming the valid values.
    """

    name: str
    help: str
    read: Callable[[str], str] = str
    choices: tuple[str, ...] = ()


def parse_search(text: str, given: Iterable[tuple[str, str]] = ()) -> Search:
    """Return the search of a text, preceded by the (key, value) pairs in `given`."""
    found = [*given, *_tokens(text)]
    terms: list[Term] = []
    problems: list[str] = []
    for key, value in found:
        try:
            terms.append(_term(key, value))
        except ValueError as error:
            problems.append(str(error))
    unique = tuple(dict.fromkeys(terms))
    return Search(unique, (*problems, *_limit_problems(unique)))


def _tokens(text: str) -> Iterable[tuple[str, str]]:
    for match in TOKEN.finditer(text):
        key, of_key, alone, broken = match.groups()
        value = of_key or alone or broken
        if broken:
            key = INVALID_TERM_KEY
        elif value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        yield key or "", value


def _term(key: str, value: str) -> Term:
    if key == INVALID_TERM_KEY:
        raise ValueError(_invalid_token_problem(value))
    name, negated = key.lower().removeprefix("-"), key.startswith("-")
    if name and name not in SEARCH_KEYS:
        raise ValueError(_unknown_key_problem(key, value))
    if negated and name in SINGLE_USE_KEYS:
        raise ValueError(f"-{name}: cannot be negated; write {_opposite_key(name)}:{value}.")
    if not value.strip() or "\x00" in value or len(value) > MAX_VALUE_CHARS:
        raise ValueError(f"{name or 'A word'}: needs a value of 1 to {MAX_VALUE_CHARS} characters.")
    try:
        return Term(name, SEARCH_KEYS[name].read(value) if name else value, negated)
    except ValueError as error:
        raise ValueError(f"{name}:{value} {error}") from None


def _opposite_key(name: str) -> str:
    return next(each for each in SINGLE_USE_KEYS if each != name)


def _invalid_token_problem(token: str) -> str:
    if token.endswith(":") and token[:-1].lower() in SEARCH_KEYS:
        return f"{token} needs a value, such as {token}{SEARCH_KEYS[token[:-1].lower()].help}."
    if '"' in token:
        return f"{token}: the closing quotation mark is missing."
    return f"{token} is not a valid term. To search for it as an id, put it in quotation marks."


def _unknown_key_problem(key: str, value: str) -> str:
    near = get_close_matches(key.lower().removeprefix("-"), SEARCH_KEYS, n=1)
    guess = f"Did you mean {near[0]}:?" if near else f"The keys are {', '.join(SEARCH_KEYS)}."
    return (
        f'There is no search key {key}. {guess} To search for it as an id, write "{key}:{value}".'
    )


def _limit_problems(terms: tuple[Term, ...]) -> list[str]:
    """Return a problem for each key that is used too often, and for too many terms."""
    found = [
        f"{key}: can be used only once."
        for key in SINGLE_USE_KEYS
        if sum(term.key == key for term in terms) > 1
    ]
    return [*found, f"Use at most {MAX_TERMS} terms."] if len(terms) > MAX_TERMS else found


def one_of(choices: Iterable[str]) -> Callable[[str], str]:
    by_lower = {choice.lower(): choice for choice in choices}

    def read(value: str) -> str:
        if value.lower() not in by_lower:
            raise ValueError(f"must be one of {', '.join(by_lower.values())}.")
        return by_lower[value.lower()]

    return read


def read_trigger(value: str) -> str:
    if value.lower() == "test":
        raise ValueError("matches nothing, because a test event has attempts and no delivery.")
    return one_of(SEARCH_TRIGGERS)(value)


def read_status(value: str) -> str:
    if re.fullmatch(r"[1-5]\d\d", value) or value.lower() in STATUS_CLASSES:
        return value.lower()
    raise ValueError("is not a status; write a number such as 503, or 2xx, 3xx, 4xx, 5xx or none.")


def read_number(value: str) -> str:
    if value.isdecimal() and len(value) < 19:
        return str(int(value))
    raise ValueError("is not a whole number, such as 1207.")


def read_comparison(value: str) -> str:
    if COMPARISON.fullmatch(value):
        return value
    raise ValueError("is not a number of attempts; write 3, >3, >=3, <3 or <=3.")


def parse_comparison(value: str) -> tuple[str, int]:
    """Return the lookup and number of a read_comparison() value, such as ("gt", 3) for ">3"."""
    sign, digits = COMPARISON.fullmatch(value).groups()  # type: ignore[union-attr]
    return COMPARISON_LOOKUPS[sign or ""], int(digits)


def validate_time(value: str) -> str:
    parse_time(value, datetime.now(UTC))
    return value


def parse_time(value: str, now: datetime) -> datetime:
    """Return the time for "2h", "2026-11-21" or "2026-11-21T12:00:00Z"; UTC by default.

    Raises ValueError.
    """
    age = AGE.fullmatch(value)
    if age:
        return now - timedelta(**{AGE_UNITS[age[2]]: int(age[1])})
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            "is not a time; write 15m, 2h, 7d, 2026-11-21 or 2026-11-21T12:00:00Z."
        ) from None
    return clamp_time(at if at.tzinfo else at.replace(tzinfo=UTC))


SEARCH_KEYS: dict[str, SearchKey] = {
    key.name: key
    for key in (
        SearchKey("user", "ada@example.com"),
        SearchKey("anon", "b7d1c0de-55aa"),
        SearchKey("message", "66ceab36-0512"),
        SearchKey("event", '"Order Completed"'),
        SearchKey("type", "track", one_of(MESSAGE_TYPES), tuple(MESSAGE_TYPES)),
        SearchKey("state", "failed", one_of(SEARCH_STATES), SEARCH_STATES),
        SearchKey("status", "503", read_status, STATUS_CLASSES),
        SearchKey("error", "MessageRejected", one_of(SEARCH_ERRORS), SEARCH_ERRORS),
        SearchKey("attempts", ">3", read_comparison, (">1", ">3", ">10")),
        SearchKey("trigger", "hand", read_trigger, SEARCH_TRIGGERS),
        SearchKey("resolved", "no", one_of(("yes", "no")), ("yes", "no")),
        SearchKey("installation", '"Heap Production"'),
        SearchKey("source", "Webshop"),
        SearchKey("since", "2h", validate_time, ("15m", "1h", "24h", "7d")),
        SearchKey("until", "1h", validate_time, ("15m", "1h", "24h", "7d")),
        SearchKey("delivery", "1207", read_number),
        SearchKey("request", "311", read_number),
        SearchKey("replay", "5", read_number),
    )
}


def search_time(search: Search, key: str, now: datetime) -> datetime | None:
    """Return the time of a search's since or until key, or None."""
    values = search.values(key)
    return parse_time(values[0], now) if values else None
