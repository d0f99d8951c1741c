"""What is typed into the log's search box, as terms; pure.

    user:ada event:"Order Completed" -status:5xx since:2h

Terms of different keys must all hold; terms of one key are alternatives; what stands behind a minus
must not hold. A word without a key is a message id, user id or anonymous id. Nothing is guessed:
what cannot be understood is a problem, said in words, and a search with problems finds nothing
rather than something else.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches

from integrations import errors
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
}  # as Django's lookups
INVALID_TERM_KEY = '"'  # in place of a key
MAX_TERMS = 20
MAX_VALUE_CHARS = 300  # characters of a value

AGE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
AGE = re.compile(r"([1-9]\d{0,4})([smhd])")
TOKEN = re.compile(
    r'([A-Za-z_-]+):("(?:[^"\\]|\\.)*"(?!\S)|[^\s"][^\s"]*(?!\S))'  # key:value, key:"a value"
    r'|("(?:[^"\\]|\\.)*"(?!\S)|[^\s":]+(?!\S))'  # value, "a value"
    r"|(\S+)"  # anything else is broken
)
UNQUOTED_VALUE = re.compile(r'[^\s":\\][^\s"\\]*')


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. key: a search key, or "" for an id of any kind; negated: it must not hold."""

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
    """Terms in the order in which they were typed, and a sentence for each that is no term.

    resolved_ids  (key, value, number) of what is looked up by its name: none before that was done
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
        """Return the same search with these values of a key in place of those it had."""
        rest = tuple(term for term in self.terms if term.key != key)
        terms = rest + tuple(Term(key, value) for value in values)
        return Search(terms, resolved_ids=self.resolved_ids)

    def ids_of(self, key: str) -> list[int]:
        """Return the numbers of the values of a key that were looked up."""
        values = self.values(key)
        return [number for of, value, number in self.resolved_ids if of == key and value in values]


@dataclass(frozen=True, slots=True)
class SearchKey:
    """What can stand before a colon.

    read  value as typed → as it is kept. Raises ValueError that says what can stand there.
    """

    name: str
    help: str
    read: Callable[[str], str] = str
    choices: tuple[str, ...] = ()


def parse_search(text: str, given: Iterable[tuple[str, str]] = ()) -> Search:
    """Return the search that a text means, after the (key, value) pairs that are `given`."""
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
        raise ValueError(f"-{name}: cannot be turned round; write {_opposite_key(name)}:{value}.")
    if not value.strip() or "\x00" in value or len(value) > MAX_VALUE_CHARS:
        raise ValueError(f"{name or 'A word'}: needs a text of 1 to {MAX_VALUE_CHARS} characters.")
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
        return f"{token}: the quotation mark is never closed."
    return f"{token} is not understood; to look for it as an id, put it in quotation marks."


def _unknown_key_problem(key: str, value: str) -> str:
    near = get_close_matches(key.lower().removeprefix("-"), SEARCH_KEYS, n=1)
    guess = f"did you mean {near[0]}:?" if near else f"there are {', '.join(SEARCH_KEYS)}."
    return f'There is no {key}: {guess} To look for it as an id, write "{key}:{value}".'


def _limit_problems(terms: tuple[Term, ...]) -> list[str]:
    """Return a problem for each key that is there too often."""
    found = [
        f"{key}: can stand there once only."
        for key in SINGLE_USE_KEYS
        if sum(term.key == key for term in terms) > 1
    ]
    return [*found, f"At most {MAX_TERMS} terms."] if len(terms) > MAX_TERMS else found


def one_of(choices: Iterable[str]) -> Callable[[str], str]:
    by_lower = {choice.lower(): choice for choice in choices}

    def read(value: str) -> str:
        if value.lower() not in by_lower:
            raise ValueError(f"is none of {', '.join(by_lower.values())}.")
        return by_lower[value.lower()]

    return read


def read_trigger(value: str) -> str:
    if value.lower() == "test":
        raise ValueError("finds nothing: a test event is an attempt without a delivery.")
    return one_of(SEARCH_TRIGGERS)(value)


def read_status(value: str) -> str:
    if re.fullmatch(r"[1-5]\d\d", value) or value.lower() in STATUS_CLASSES:
        return value.lower()
    raise ValueError("is no status: a number such as 503, or 2xx, 3xx, 4xx, 5xx, none.")


def read_number(value: str) -> str:
    if value.isdecimal() and len(value) < 19:
        return str(int(value))
    raise ValueError("is no number: a whole number such as 1207.")


def read_comparison(value: str) -> str:
    if COMPARISON.fullmatch(value):
        return value
    raise ValueError("is no number of tries: write 3, >3, >=3, <3 or <=3.")


def parse_comparison(value: str) -> tuple[str, int]:
    """Return the lookup and the number of a read_comparison() value: ("gt", 3) for ">3"."""
    sign, digits = COMPARISON.fullmatch(value).groups()  # type: ignore[union-attr]
    return COMPARISON_LOOKUPS[sign or ""], int(digits)


def validate_time(value: str) -> str:
    parse_time(value, datetime.now(UTC))
    return value


def parse_time(value: str, now: datetime) -> datetime:
    """Return the time that "2h", "2026-11-21" or "2026-11-21T12:00:00Z" means; UTC when not said.

    Raises ValueError.
    """
    age = AGE.fullmatch(value)
    if age:
        return now - timedelta(**{AGE_UNITS[age[2]]: int(age[1])})
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            "is no time: write 15m, 2h, 7d, 2026-11-21 or 2026-11-21T12:00:00Z."
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


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
    """Return the time that a search gives for a key, if it does."""
    values = search.values(key)
    return parse_time(values[0], now) if values else None
