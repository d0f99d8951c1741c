"""Limits on logins: each costs half a second of a processor, and anyone may try.

axes locks out a name at an address after repeated failures. These limits hold whatever the name is.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.http import HttpRequest

from integrations.rate_limits import token_bucket

LOGINS_AT_ONCE = 20  # of one guesser
LOGINS_PER_SECOND = 10 / 60  # of one guesser, after that
IPV6_PREFIX = 64  # bits: a customer usually has at least such a network
HASHING_THREADS = 1  # of a web process that check a password at the same time
WAITING_THREADS = 1  # of a web process that wait for their turn

_hashing = threading.BoundedSemaphore(HASHING_THREADS)
_places = threading.BoundedSemaphore(HASHING_THREADS + WAITING_THREADS)


class TooManyLogins(Exception):
    """A login was refused before its password was checked; `seconds` tells when to try again."""

    def __init__(self, seconds: float):
        super().__init__(f"Too many logins. Retry in {seconds:.0f} s.")
        self.seconds = seconds


class LimitedModelBackend(ModelBackend):
    """Django's backend, within the limits."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **more: Any,
    ) -> User | None:
        """Return the user with these credentials, or None. Raises TooManyLogins."""
        if request is None:  # a command, not a visitor
            return super().authenticate(request, username, password, **more)
        take_attempt(network_of(request.META.get("REMOTE_ADDR", "")))
        with _one_of_few_threads():
            return super().authenticate(request, username, password, **more)


def take_attempt(guesser: str) -> None:
    """Count an attempt to guess a password. Raises TooManyLogins.

    guesser   who is limited: a network, or the user whose access token is used
    """
    taken = token_bucket.take_tokens(
        f"login:{guesser}", 1, rate=LOGINS_PER_SECOND, size=LOGINS_AT_ONCE
    )
    if taken.wait:
        raise TooManyLogins(taken.wait)


def network_of(address: str) -> str:
    """Return what counts as one network: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and not parsed.ipv4_mapped:
        return str(ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


@contextmanager
def _one_of_few_threads() -> Iterator[None]:
    """Let few threads check passwords, so that processors and threads are left for the rest."""
    if not _places.acquire(blocking=False):
        raise TooManyLogins(1.0)
    try:
        with _hashing:
            yield
    finally:
        _places.release()
