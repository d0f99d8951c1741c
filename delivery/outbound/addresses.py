"""Restricts outbound connections to public addresses and those that the operator allows.

Users can enter URLs in a destination's settings, and could point them at the internal network, such
as a database or a cloud's metadata service with the machine's secrets. So a name is resolved once,
every returned address is checked, and the connection goes to one of the checked addresses. This
also defeats a name that resolves to a different address the second time, and one that resolves to a
public and a private address at once.

The operator's own URLs, in the environment, are not restricted, because whoever sets them controls
the machine.
"""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from django.conf import settings
from urllib3.util.connection import allowed_gai_family

IpAddress = IPv4Address | IPv6Address

DEFAULT_PORTS = {"http": 80, "https": 443}

# Not public, although some versions of Python consider them global.
# Source: https://www.iana.org/assignments/iana-ipv4-special-registry and
# https://www.iana.org/assignments/iana-ipv6-special-registry (seen 2026-11).
SPECIAL_NETWORKS = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15",
        "240.0.0.0/4", "2001::/23", "2001:db8::/32", "3fff::/20",
    )
)  # fmt: skip
UNICAST_NETWORK = ip_network("2000::/3")  # all of IPv6 that is allocated so far
NAT64_NETWORK = ip_network("64:ff9b::/96")
ISATAP_MARKERS = (0x0000_5EFE, 0x0200_5EFE)  # the third 32 bits of an ISATAP address


class AddressForbidden(OSError):
    """The address is not public, and the operator has not allowed it."""


def resolve_allowed_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the resolver's order, if all of them are allowed.

    Raises AddressForbidden when any is not allowed, and socket.gaierror when there are none.
    """
    host = host.strip("[]")
    entries = socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM)
    found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    if (host.lower(), port) in _operator_hosts():
        return found
    for each in found:
        if not is_address_allowed(ip_address(each)):
            name = host if host == each else f"{host} ({each})"
            raise AddressForbidden(
                f"{name} is not a public address. Add it to PENSTOCK_ALLOWED_NETWORKS if "
                "deliveries may go there."
            )
    return found


def is_address_allowed(address: IpAddress) -> bool:
    """Return whether an address is public, or in a network that the operator allows."""
    inner = _embedded_addresses(address)
    networks = [ip_network(each, strict=False) for each in settings.ALLOWED_NETWORKS]
    if any(each in network for each in (address, *inner) for network in networks):
        return True
    return _is_public(address) and all(map(_is_public, inner))


def _is_public(address: IpAddress) -> bool:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped or address in NAT64_NETWORK:
            return True  # only the embedded IPv4 address matters
        if address not in UNICAST_NETWORK:
            return False
    special = any(address in network for network in SPECIAL_NETWORKS)
    return address.is_global and not address.is_multicast and not special


def _embedded_addresses(address: IpAddress) -> Sequence[IPv4Address]:
    """Return the IPv4 address that an IPv6 address maps or tunnels to, if any."""
    if isinstance(address, IPv4Address):
        return ()
    number = int(address)
    last = IPv4Address(number & 0xFFFF_FFFF)
    if address in NAT64_NETWORK or (number >> 32) & 0xFFFF_FFFF in ISATAP_MARKERS:
        return (last,)
    found = address.ipv4_mapped or address.sixtofour
    return (found,) if found else ()


def _operator_hosts() -> set[tuple[str, int]]:
    """Return host and port of the URLs in the operator's settings."""
    urls = map(urlsplit, (settings.SANDBOX_URL, settings.ALARM_WEBHOOK_URL))
    return {(url.hostname or "", url.port or DEFAULT_PORTS.get(url.scheme, 0)) for url in urls}
