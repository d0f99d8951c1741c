"""Adds context that the request reveals about its messages. Bodies are not changed. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import msgspec

ANONYMISED_PREFIX_BITS = {4: 24, 6: 48}  # bits kept of an anonymised address, by IP version
DIRECT_FLAG_PATTERN = re.compile(
    r'"direct"\s*:\s*true'
)  # set by server SDKs that want the request's IP address
MAX_USER_AGENT_CHARS = 500  # real user agents have about 150


@dataclass(frozen=True, slots=True)
class AddedContext:
    """Context to add, as JSON text or "".

    to_all      the context of every message
    to_clients  the context of messages sent by the user's own device; the IP address and user agent
                of a server say nothing about the user
    """

    to_all: str = ""
    to_clients: str = ""
    from_client: bool = False

    def for_message(self, text: str) -> str:
        """Return the context to add to a message, given as JSON text."""
        return (
            self.to_clients if self.from_client or DIRECT_FLAG_PATTERN.search(text) else self.to_all
        )


NO_ADDED_CONTEXT = AddedContext()


def build_added_context(
    meta: Mapping[str, Any], default: Mapping[str, Any], *, from_client: bool, anonymise: bool
) -> AddedContext:
    """Return the context to add: the source's default, and the request's IP and user agent."""
    user_agent = meta.get("HTTP_USER_AGENT", "")[:MAX_USER_AGENT_CHARS]
    seen = {"ip": client_ip(meta, anonymise=anonymise), "userAgent": user_agent}
    client = {**{name: value for name, value in seen.items() if value}, **default}
    return AddedContext(_encode_context(default), _encode_context(client), from_client)


def client_ip(meta: Mapping[str, Any], *, anonymise: bool) -> str:
    """Return the client's IP address, or only its network if anonymised; "" if there is none."""
    try:
        address = ip_address(meta.get("REMOTE_ADDR", ""))
    except ValueError:  # a Unix socket has no address
        return ""
    plain = getattr(address, "ipv4_mapped", None) or address
    return str(_anonymise(plain) if anonymise else plain)


def _anonymise(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    network = ip_network((address, ANONYMISED_PREFIX_BITS[address.version]), strict=False)
    return network.network_address


def _encode_context(context: Mapping[str, Any]) -> str:
    return msgspec.json.encode(context).decode() if context else ""
