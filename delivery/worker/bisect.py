"""Finds the rejected items of a request by halving it."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
Answer = tuple[Sequence[T], Exception | None]


def bisect(items: Sequence[T], send: Callable[[Sequence[T]], Answer[T]]) -> Iterator[Answer[T]]:
    """Send the items; halve a rejected request until each rejected item stands alone.

    send  sends one request and returns the items that it carried, which may be fewer than it was
          given, and the error, or None when they were accepted

    Yields (items, None) for each accepted request and ([item], error) for each rejected item, in
    order, and before the next request is sent. k rejected items among n cost at most
    2 * k * log2(n) + 1 requests.
    """
    carried, error = send(items)
    if error is not None and len(carried) > 1:
        middle = len(carried) // 2
        yield from bisect(carried[:middle], send)
        yield from bisect(carried[middle:], send)
    elif carried:
        yield carried, error
