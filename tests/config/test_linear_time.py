"""Every regular expression and every parser takes linear time and memory, whatever it is given.

They are found in the code, not listed here. The texts are built to hurt: from the parts of each
expression, because a backtracking expression is slow for text that nearly matches, and from the
signs of JSON and of the project's own languages.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from re import _constants as ops
from re import _parser
from types import ModuleType

import pytest

import config
import delivery
import integrations

# The entry points of a web server limit the database connections of the process that imports them.
NOT_IMPORTED = re.compile(r"\.migrations|\.management\.commands|^config\.[rw]sgi$")

SMALL = 4_000  # characters
NOTICEABLE = 0.002  # seconds of CPU time for SMALL characters; quadratic time takes far longer
MOST_RATIO = 3.0  # of the figures of two sizes, the second of which is twice the first
MEASURED_BYTES = 1_000_000  # memory below this is not compared
UNLIKELY = ("\x01", "!", "é")  # parts that most expressions do not expect

SIGNS = ('"', '\\"', "\\", "{", "[", "]", ":", ",", "{{", "{{a", "}", "(", "a", "a.", " ", "0", "-")
PHRASES = ('"a":', 'type="a" and ', "!", "(", "user:a ", 'a:"', "$.a", "['a']", "; q=1, ", "<a>")
STARTS = ("", '"', "[" * 70, '{"a":', 'type = "', "$", "{{", "-")
ARGUMENTS = {
    int: 64,
    float: 1.0,
    bool: False,
    str: "a",
    bytes: b"a",
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
}


@cache
def modules() -> tuple[ModuleType, ...]:
    found = []
    for package in (config, delivery, integrations):
        for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not NOT_IMPORTED.search(each.name):
                found.append(importlib.import_module(each.name))
    return tuple(found)


# --- regular expressions -------------------------------------------------------------------------


def expressions() -> dict[str, re.Pattern]:
    """Return every expression by its place: compiled ones, and the literals given to `re`."""
    found = {}
    for module in modules():
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                found.setdefault(value, f"{module.__name__}.{name}")
        known = {each.pattern for each in found}
        for pattern, line in _literals(module):
            if pattern not in known:
                found.setdefault(re.compile(pattern), f"{module.__name__}:{line}")
    return {place: pattern for pattern, place in found.items()}


def _literals(module) -> Iterator[tuple[str | bytes, int]]:
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        is_call = isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.")
        if is_call and node.args and isinstance(node.args[0], ast.Constant):
            yield node.args[0].value, node.lineno


@pytest.mark.parametrize("place", sorted(expressions()))
def test_an_expression_is_linear(place):
    pattern = expressions()[place]
    for text in hostile_texts(pattern):
        assert_linear(lambda text: walk(pattern, text), text, place)


def walk(pattern, text):
    for _ in pattern.finditer(text):
        pass
    pattern.fullmatch(text)


def hostile_texts(pattern) -> Iterator[tuple]:
    """Yield (start, unit): texts are the start and many units."""
    parts = [*dict.fromkeys(_samples(_parser.parse(pattern.pattern, pattern.flags)))]
    parts = [*sorted(parts, key=len)[:14], *UNLIKELY]
    pairs = product(["", *parts], parts)
    units = {
        *((start, unit) for start, unit in pairs),
        *(("", a + b) for a, b in product(parts, parts)),
    }
    for start, unit in sorted(units):
        if isinstance(pattern.pattern, bytes):
            yield start.encode("latin-1"), unit.encode("latin-1")
        else:
            yield start, unit


def _samples(sequence) -> Iterator[str]:
    """Yield a text that a sequence of the parsed expression matches, and those of its parts."""
    whole = ""
    for op, value in sequence:
        inner = list(_inner_samples(op, value))
        yield from inner
        whole += inner[-1] if inner else ""
    if whole:
        yield whole


def _inner_samples(op, value) -> Iterator[str]:
    if op is ops.LITERAL:
        yield chr(value)
    elif op in (ops.NOT_LITERAL, ops.ANY):
        yield "a" if value != ord("a") else "b"
    elif op is ops.IN:
        yield _member(value)
    elif op in (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT):
        yield from _samples(value[2])
    elif op is ops.SUBPATTERN:
        yield from _samples(value[3])
    elif op is ops.ATOMIC_GROUP:
        yield from _samples(value)
    elif op is ops.BRANCH:
        for branch in value[1]:
            yield from _samples(branch)
    elif op in (ops.ASSERT, ops.ASSERT_NOT):
        yield from _samples(value[1])


def _member(values) -> str:
    expression = re.compile("".join(["[", *map(_written, values), "]"]))
    return next(
        each for each in map(chr, (*range(97, 123), *range(32, 256), 9)) if expression.match(each)
    )


def _written(value) -> str:
    op, given = value
    if op is ops.NEGATE:
        return "^"
    if op is ops.RANGE:
        return f"\\x{given[0]:02x}-\\x{min(given[1], 255):02x}"
    if op is ops.LITERAL:
        return f"\\x{given:02x}" if given < 256 else chr(given)
    return {ops.CATEGORY_DIGIT: "\\d", ops.CATEGORY_NOT_DIGIT: "\\D", ops.CATEGORY_SPACE: "\\s",
            ops.CATEGORY_NOT_SPACE: "\\S", ops.CATEGORY_WORD: "\\w",
            ops.CATEGORY_NOT_WORD: "\\W"}[given]  # fmt: skip


# --- parsers -------------------------------------------------------------------------------------


def parsers() -> dict[str, tuple]:
    """Return the public functions whose first argument is text, with the types of all arguments."""
    found = {}
    for module in modules():
        for name, value in vars(module).items():
            if (
                inspect.isfunction(value)
                and value.__module__ == module.__name__
                and not name.startswith("_")
                and (types := _argument_types(value))
            ):
                found[f"{module.__name__}.{name}"] = value, types
    return found


def _argument_types(function) -> list | None:
    """Return the type of each required argument, or None if the function cannot be called here."""
    with suppress(TypeError, NameError, ValueError):
        parameters = list(inspect.signature(function, eval_str=True).parameters.values())
        needed = [each for each in parameters if each.default is each.empty]
        plain = all(each.kind is each.POSITIONAL_OR_KEYWORD for each in needed)
        types = [each.annotation for each in needed]
        if plain and types and types[0] in (str, bytes) and set(types) <= ARGUMENTS.keys():
            return types
    return None


@pytest.mark.parametrize("place", sorted(parsers()))
def test_a_parser_is_linear_in_time_and_memory(place):
    function, types = parsers()[place]
    others = [ARGUMENTS[each] for each in types[1:]]

    def call(text):
        with suppress(Exception):  # refusing the text is fine, and so is needing a database
            result = function(text, *others)
            if inspect.isgenerator(result):
                list(result)

    for start, unit in product(STARTS, (*SIGNS, *PHRASES)):
        text = (start.encode(), unit.encode()) if types[0] is bytes else (start, unit)
        assert_linear(call, text, place)
    assert_linear_memory(call, (b'["', b'\\"') if types[0] is bytes else ('["', '\\"'), place)


# --- measuring -----------------------------------------------------------------------------------


def assert_linear(function, text, place):
    if cpu_seconds(function, text, SMALL) < NOTICEABLE:
        return
    small = least_cpu_seconds(function, text, SMALL)
    if small < NOTICEABLE:
        return
    ratio = least_cpu_seconds(function, text, 2 * SMALL) / small
    assert ratio < MOST_RATIO, (
        f"{place}: {text!r} takes {ratio:.1f} times as long for twice as much"
    )


def least_cpu_seconds(function, text, size):
    """Return the least of several runs, because other work can only add to it."""
    return min(cpu_seconds(function, text, size) for _ in range(5))


def cpu_seconds(function, text, size):
    long = build(text, size)
    start = time.thread_time()
    function(long)
    return time.thread_time() - start


def build(text, size):
    start, unit = text
    return start + unit * (size // len(unit))


def assert_linear_memory(function, text, place):
    peaks = [peak_bytes(function, build(text, size)) for size in (200_000, 400_000)]
    assert peaks[1] < max(MEASURED_BYTES, MOST_RATIO * peaks[0]), place
    assert peaks[1] < 100 * 400_000, place  # as much as many small objects take


def peak_bytes(function, text):
    tracemalloc.start()
    try:
        function(text)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
