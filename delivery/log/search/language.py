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
from integrations.messages import TYPES

STATES = ("queued", "delivered", "filtered", "failed", "cancelled")
TRIGGERS = ("auto", "hand", "replay", "backfill")
ERRORS = tuple(
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and value is not errors.DestinationError
)
CLASSES = ("2xx", "3xx", "4xx", "5xx", "none")
ONCE = ("since", "until")
NUMBERS = re.compile(r"(<=|>=|<|>)?(\d{1,9})")
COMPARED = {"": "exact", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}  # as Django's lookups
BROKEN = '"'  # in place of a key
MOST_TERMS = 20
LONGEST = 300  # characters of a value

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
AGE = re.compile(r"([1-9]\d{0,4})([smhd])")
TOKEN = re.compile(
    r'([A-Za-z_-]+):("(?:[^"\\]|\\.)*"(?!\S)|[^\s"][^\s"]*(?!\S))'  # key:value, key:"a value"
    r'|("(?:[^"\\]|\\.)*"(?!\S)|[^\s":]+(?!\S))'  # value, "a value"
    r"|(\S+)"  # anything else is broken
)
PLAIN = re.compile(r'[^\s":\\][^\s"\\]*')


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. key: of KEYS, or "" for an id of any kind; negated: it must not hold."""

    key: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        is_plain = PLAIN.fullmatch(self.value) and (self.key or ":" not in self.value)
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

    numbers  (key, value, number) of what is looked up by its name: none before that was done
    """

    terms: tuple[Term, ...] = ()
    problems: tuple[str, ...] = ()
    numbers: tuple[tuple[str, str, int], ...] = ()

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    def values(self, key: str) -> list[str]:
        return [term.value for term in self.terms if term.key == key and not term.negated]

    @property
    def excluded(self) -> list[Term]:
        return [term for term in self.terms if term.negated]

    def without(self, *terms: Term) -> "Search":
        rest = tuple(term for term in self.terms if term not in terms)
        return Search(rest, numbers=self.numbers)

    def only(self, key: str, *values: str) -> "Search":
        """Return the same search with these values of a key in place of those it had."""
        rest = tuple(term for term in self.terms if term.key != key)
        terms = rest + tuple(Term(key, value) for value in values)
        return Search(terms, numbers=self.numbers)

    def numbers_of(self, key: str) -> list[int]:
        """Return the numbers of the values of a key that were looked up."""
        values = self.values(key)
        return [number for of, value, number in self.numbers if of == key and value in values]


@dataclass(frozen=True, slots=True)
class Key:
    """What can stand before a colon.

    read  value as typed → as it is kept. Raises ValueError that says what can stand there.
    """

    name: str
    help: str
    read: Callable[[str], str] = str
    choices: tuple[str, ...] = ()


def parse(text: str, given: Iterable[tuple[str, str]] = ()) -> Search:
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
    return Search(unique, (*problems, *_excess(unique)))


def _tokens(text: str) -> Iterable[tuple[str, str]]:
    for match in TOKEN.finditer(text):
        key, of_key, alone, broken = match.groups()
        value = of_key or alone or broken
        if broken:
            key = BROKEN
        elif value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        yield key or "", value


def _term(key: str, value: str) -> Term:
    if key == BROKEN:
        raise ValueError(_broken(value))
    name, negated = key.lower().removeprefix("-"), key.startswith("-")
    if name and name not in KEYS:
        raise ValueError(_unknown(key, value))
    if negated and name in ONCE:
        raise ValueError(f"-{name}: cannot be turned round; write {_other_end(name)}:{value}.")
    if not value.strip() or "\x00" in value or len(value) > LONGEST:
        raise ValueError(f"{name or 'A word'}: needs a text of 1 to {LONGEST} characters.")
    try:
        return Term(name, KEYS[name].read(value) if name else value, negated)
    except ValueError as error:
        raise ValueError(f"{name}:{value} {error}") from None


def _other_end(name: str) -> str:
    return next(each for each in ONCE if each != name)


def _broken(token: str) -> str:
    if token.endswith(":") and token[:-1].lower() in KEYS:
        return f"{token} needs a value, such as {token}{KEYS[token[:-1].lower()].help}."
    if '"' in token:
        return f"{token}: the quotation mark is never closed."
    return f"{token} is not understood; to look for it as an id, put it in quotation marks."


def _unknown(key: str, value: str) -> str:
    near = get_close_matches(key.lower().removeprefix("-"), KEYS, n=1)
    guess = f"did you mean {near[0]}:?" if near else f"there are {', '.join(KEYS)}."
    return f'There is no {key}: {guess} To look for it as an id, write "{key}:{value}".'


def _excess(terms: tuple[Term, ...]) -> list[str]:
    """Return a problem for each key that is there too often."""
    found = [
        f"{key}: can stand there once only."
        for key in ONCE
        if sum(term.key == key for term in terms) > 1
    ]
    return [*found, f"At most {MOST_TERMS} terms."] if len(terms) > MOST_TERMS else found


def one_of(choices: Iterable[str]) -> Callable[[str], str]:
    by_lower = {choice.lower(): choice for choice in choices}

    def read(value: str) -> str:
        if value.lower() not in by_lower:
            raise ValueError(f"is none of {', '.join(by_lower.values())}.")
        return by_lower[value.lower()]

    return read


def trigger(value: str) -> str:
    if value.lower() == "test":
        raise ValueError("finds nothing: a test event is an attempt without a delivery.")
    return one_of(TRIGGERS)(value)


def status(value: str) -> str:
    if re.fullmatch(r"[1-5]\d\d", value) or value.lower() in CLASSES:
        return value.lower()
    raise ValueError("is no status: a number such as 503, or 2xx, 3xx, 4xx, 5xx, none.")


def number(value: str) -> str:
    if value.isdecimal() and len(value) < 19:
        return str(int(value))
    raise ValueError("is no number: a whole number such as 1207.")


def compared(value: str) -> str:
    if NUMBERS.fullmatch(value):
        return value
    raise ValueError("is no number of tries: write 3, >3, >=3, <3 or <=3.")


def bound(value: str) -> tuple[str, int]:
    """Return the lookup and the number that a value of compared() means: ("gt", 3) for ">3"."""
    sign, digits = NUMBERS.fullmatch(value).groups()  # type: ignore[union-attr]
    return COMPARED[sign or ""], int(digits)


def when(value: str) -> str:
    moment(value, datetime.now(UTC))
    return value


def moment(value: str, now: datetime) -> datetime:
    """Return the time that "2h", "2026-11-21" or "2026-11-21T12:00:00Z" means; UTC when not said.

    Raises ValueError.
    """
    age = AGE.fullmatch(value)
    if age:
        return now - timedelta(**{UNITS[age[2]]: int(age[1])})
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            "is no time: write 15m, 2h, 7d, 2026-11-21 or 2026-11-21T12:00:00Z."
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


KEYS: dict[str, Key] = {
    key.name: key
    for key in (
        Key("user", "ada@example.com"),
        Key("anon", "b7d1c0de-55aa"),
        Key("message", "66ceab36-0512"),
        Key("event", '"Order Completed"'),
        Key("type", "track", one_of(TYPES), tuple(TYPES)),
        Key("state", "failed", one_of(STATES), STATES),
        Key("status", "503", status, CLASSES),
        Key("error", "MessageRejected", one_of(ERRORS), ERRORS),
        Key("attempts", ">3", compared, (">1", ">3", ">10")),
        Key("trigger", "hand", trigger, TRIGGERS),
        Key("resolved", "no", one_of(("yes", "no")), ("yes", "no")),
        Key("installation", '"Heap Production"'),
        Key("source", "Webshop"),
        Key("since", "2h", when, ("15m", "1h", "24h", "7d")),
        Key("until", "1h", when, ("15m", "1h", "24h", "7d")),
        Key("delivery", "1207", number),
        Key("request", "311", number),
        Key("replay", "5", number),
    )
}


def time_of(search: Search, key: str, now: datetime) -> datetime | None:
    """Return the time that a search gives for a key, if it does."""
    values = search.values(key)
    return moment(values[0], now) if values else None
