"""Parses the trigger language into a tree, or raises an error that names the position.

    or          and ("or" and)*                     and binds stronger than or
    and         not ("and" not)*
    not         ("!" | "not") not | "(" or ")" | contains | match | comparison
    contains    "contains(" field "," text ")"      match is written the same way
    comparison  field operator value

The parser keeps groups on its own stack, so that redundant parentheses may nest to any depth.

"!contains" and "!match" hold only for text that does not match; "!(contains(…))" also holds for
values that are not text. The language is the FQL of Segment's and Customer.io's destinations;
docs/blueprints.md lists the differences.
"""

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from operator import ge, gt, le, lt
from typing import Any, NamedTuple

from integrations.blueprints.triggers import AllOf, AnyOf, Node, Not, Test, nesting_depth

TRIGGER_FIELDS = (
    "type", "event", "name", "category", "userId", "anonymousId", "groupId", "previousId",
    "messageId", "channel", "properties", "traits", "context", "integrations",
)  # fmt: skip
ORDER_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
TRIGGER_FUNCTIONS = ("contains", "match")
CONSTANTS = {"true": True, "false": False, "null": None}
MAX_GROUP_DEPTH = 200  # nested groups that are not redundant; each costs a Python frame

TOKEN_PATTERN = re.compile(
    r"""(?P<blank>\s+)
    |(?P<text>"(?:\\["\\]|[^"])*+"|'(?:\\['\\]|[^'])*+')
    |(?P<number>[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w$-]))
    |(?P<word>(?:\\.|[\w$])(?:\\.|[\w$-])*)
    |(?P<sign><=|>=|!=|[=<>!().,\[\]])""",
    re.VERBOSE,
)
ESCAPE_PATTERN = re.compile(r"\\(.)", re.DOTALL)
ESCAPED_QUOTE_PATTERN = re.compile(r"""\\(["'\\])""")


class TriggerError(Exception):
    """The text is not a valid trigger.

    position  the character at which parsing failed, counted from 1
    """

    def __init__(self, position: int, message: str):
        super().__init__(f"position {position}: {message}")
        self.position = position


class Token(NamedTuple):
    kind: str  # "text", "number", "word", "sign" or "end"
    text: str  # for an end, the invalid text that follows, or ""
    position: int

    def __str__(self) -> str:
        return self.text or "the end"

    def says(self, *words: str) -> bool:
        return self.kind in ("word", "sign") and self.text.lower() in words


def parse_trigger(text: str) -> Node:
    """Parse a trigger into its tree. Raises TriggerError."""
    return _Parser(text).tree()


def _tokenize(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        match = TOKEN_PATTERN.match(text, at)
        if match is None and text[at] in "\"'":
            raise TriggerError(at + 1, f"expected a closing quote, found {text[at : at + 20]}")
        if match is None:  # not a token; the parser knows what it expects here
            yield Token("end", text[at : at + 20], at + 1)
            return
        if match.lastgroup != "blank":
            yield Token(match.lastgroup or "", match.group(), at + 1)
        at = match.end()
    yield Token("end", "", len(text) + 1)


class _Group:
    """The conditions between two parentheses: alternatives, each a list that must hold."""

    def __init__(self, position: int, *, negated: bool = False):
        self.position, self.negated = position, negated
        self.alternatives: list[list[Node]] = [[]]

    def add(self, node: Node, *, negated: bool) -> None:
        if negated:
            node = node.inner if isinstance(node, Not) else Not(node)
        self.alternatives[-1].append(node)

    def tree(self) -> Node:
        parts = [AllOf(tuple(each)) if len(each) > 1 else each[0] for each in self.alternatives]
        return AnyOf(tuple(parts)) if len(parts) > 1 else parts[0]


class _Parser:
    def __init__(self, text: str):
        self.text = text
        self.tokens = list(_tokenize(text))
        self.at = 0
        self.groups = [_Group(1)]

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    @property
    def at_end(self) -> bool:
        return self.next.kind == "end" and not self.next.text

    def take(self) -> Token:
        token = self.next
        self.at += token.kind != "end"
        return token

    def accept(self, *words: str) -> bool:
        """Consume the next token if it is one of these words or signs. Return whether it was."""
        if self.next.says(*words):
            self.at += 1
            return True
        return False

    def expect(self, sign: str) -> None:
        if not self.accept(sign):
            raise self.error(f'expected "{sign}"')

    def since(self, first: int) -> str:
        """Return the source text from the token with this index to the last one taken."""
        last = self.tokens[self.at - 1]
        return self.text[self.tokens[first].position - 1 : last.position - 1 + len(last.text)]

    def error(self, message: str, token: Token | None = None) -> TriggerError:
        token = token or self.next
        return TriggerError(token.position, f"{message}, found {token}")

    def tree(self) -> Node:
        while True:
            self.condition()
            self.close_groups()
            if self.at_end:
                return self.finished()
            self.connect()
            # Segment and Customer.io accept a trailing "and" or "or", and export such triggers.
            if self.at_end and len(self.groups) == 1:
                return self.finished()

    def condition(self) -> None:
        """Parse one condition, with any parentheses and negations before it."""
        negated = False
        while self.next.says("!", "not", "("):
            if self.accept("("):
                self.groups.append(_Group(self.tokens[self.at - 1].position, negated=negated))
                negated = False
            else:
                self.take()
                negated = not negated
        if self.next.text in TRIGGER_FUNCTIONS:
            self.groups[-1].add(self.function(negated=negated), negated=False)
        else:
            self.groups[-1].add(self.comparison(), negated=negated)

    def close_groups(self) -> None:
        while len(self.groups) > 1 and self.accept(")"):
            group = self.groups.pop()
            node = group.tree()
            if nesting_depth(node) > MAX_GROUP_DEPTH:
                raise TriggerError(group.position, f"more than {MAX_GROUP_DEPTH} nested groups")
            self.groups[-1].add(node, negated=group.negated)

    def connect(self) -> None:
        if self.accept("or"):
            self.groups[-1].alternatives.append([])
        elif not self.accept("and"):
            end = '")"' if len(self.groups) > 1 else "the end"
            raise self.error(f'expected "and", "or" or {end}')

    def finished(self) -> Node:
        if len(self.groups) > 1:
            opened = self.groups[-1].position
            raise self.error(f'expected ")" to close the parenthesis at position {opened}')
        if not self.groups[0].alternatives[-1]:
            self.groups[0].alternatives.pop()
        return self.groups[0].tree()

    def function(self, *, negated: bool) -> Test:
        first = self.at
        name = self.take().text
        self.expect("(")
        field, keys = self.field()
        self.expect(",")
        token = self.take()
        if token.kind not in ("text", "number", "word") or token.text in CONSTANTS:
            raise self.error("expected text in quotes", token)
        self.expect(")")
        text = _unquote(token)
        matches = _contains_test(text) if name == "contains" else self.matching(text, token)
        check = _text_check(matches, negated=negated)
        return Test(field, keys, check, f"{'!' * negated}{self.since(first)}")

    def matching(self, pattern: str, token: Token) -> Callable[[str], bool]:
        start, end = pattern[:-1], pattern[1:]
        if "*" in (start if pattern.endswith("*") else end):
            message = (
                'expected one * at the start or at the end of the pattern; try contains(…, "…")'
            )
            raise self.error(message, token)
        if pattern.endswith("*"):
            return lambda text: text.startswith(start)
        # Without any * the reference also skips the first character, so Penstock does the same.
        return lambda text: text.endswith(end)

    def field(self) -> tuple[str, tuple[str, ...]]:
        """Return the field of the message, and the keys below it."""
        first = self.take()
        if first.kind != "word" or first.text not in TRIGGER_FIELDS:
            near = get_close_matches(
                first.text, TRIGGER_FIELDS + TRIGGER_FUNCTIONS, n=1, cutoff=0.6
            )
            hint = (
                f" (did you mean {near[0]}?)" if near else f": one of {', '.join(TRIGGER_FIELDS)}"
            )
            raise self.error(f"expected a field{hint}", first)
        keys = []
        while self.next.says(".", "["):
            keys.append(self.name() if self.accept(".") else self.index())
        return first.text, tuple(keys)

    def name(self) -> str:
        token = self.take()
        if token.kind != "word" or token.text.isdigit():
            raise self.error(
                "expected a name after the dot; write [0] for an item of a list", token
            )
        return ESCAPE_PATTERN.sub(r"\1", token.text)

    def index(self) -> str:
        self.expect("[")
        token = self.take()
        if token.kind != "text" and not token.text.isdecimal():
            raise self.error('expected a number or a name in quotes, as in [0] or ["a b"]', token)
        self.expect("]")
        return _unquote(token)

    def comparison(self) -> Test:
        if self.next.kind != "word" or self.next.says("and", "or"):
            raise self.error('expected a condition, such as type = "track"')
        first = self.at
        field, keys = self.field()
        sign = self.take()
        if sign.text in ORDER_OPERATORS:
            check = _order_check(ORDER_OPERATORS[sign.text], self.number())
        elif sign.text in ("=", "!="):
            check = _equality_check(self.value(), negated=sign.text == "!=")
        else:
            raise self.error("expected one of = != < <= > >=", sign)
        return Test(field, keys, check, self.since(first))

    def number(self) -> float:
        """Return a number. A number in quotes is accepted, as in the reference."""
        token = self.take()
        bare = _unquote(token)
        match = TOKEN_PATTERN.fullmatch(bare)
        if match is None or match.lastgroup != "number":
            raise self.error("expected a number", token)
        return _parse_number(bare)

    def value(self) -> Any:
        token = self.take()
        if token.kind == "number":
            return _parse_number(token.text)
        if token.text in CONSTANTS:
            return CONSTANTS[token.text]
        if token.kind not in ("text", "word") or token.says("and", "or", "not"):
            raise self.error(
                "expected a value: text in quotes, a number, true, false or null", token
            )
        return _unquote(token)


def _unquote(token: Token) -> str:
    if token.kind == "text":
        return ESCAPED_QUOTE_PATTERN.sub(r"\1", token.text[1:-1])
    return ESCAPE_PATTERN.sub(r"\1", token.text)


def _parse_number(text: str) -> float:
    return int(text) if text.lstrip("+-").isdigit() and len(text) < 20 else float(text)


# --- checks of one value; None stands for null and for an absent field ---


def _contains_test(part: str) -> Callable[[str], bool]:
    return lambda text: part in text


def _text_check(matches: Callable[[str], bool], *, negated: bool) -> Callable[[Any], bool]:
    """Return a check that only text passes, negated or not, because pasted triggers rely on it."""
    if negated:
        return lambda value: type(value) is str and not matches(value)
    return lambda value: type(value) is str and matches(value)


def _order_check(holds: Callable[[Any, Any], bool], number: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and holds(value, number)


def _equality_check(wanted: Any, *, negated: bool) -> Callable[[Any], bool]:
    if wanted is None or isinstance(wanted, bool):
        return (lambda v: v is not wanted) if negated else (lambda v: v is wanted)
    if isinstance(wanted, str):
        return (lambda v: v != wanted) if negated else (lambda v: v == wanted)
    # Other values are neither equal nor unequal to a number, as in the reference.
    if negated:
        return lambda v: type(v) in (int, float) and v != wanted
    return lambda v: type(v) in (int, float) and v == wanted
