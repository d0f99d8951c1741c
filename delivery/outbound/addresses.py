"""Which addresses may be connected to: public ones, and those that the operator named.

A destination may take a URL from a person, who could point it at our own network: at a database, at
the page on which a cloud tells a machine its secrets. So a name is resolved once, each address that
comes back is judged, and the connection goes to one of those: a name that says another address when
it is asked again gains nothing, nor does one that says a public and a private address at once.

The operator's own URLs, in the environment, may be anywhere: who sets them has the machine.
"""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from django.conf import settings
from urllib3.util.connection import allowed_gai_family

IpAddress = IPv4Address | IPv6Address

DEFAULT_PORTS = {"http": 80, "https": 443}

# Not public either, whatever this version of Python says of them.
# Source: https://www.iana.org/assignments/iana-ipv4-special-registry and
# https://www.iana.org/assignments/iana-ipv6-special-registry (seen 2026-11).
SPECIAL_NETWORKS = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15",
        "240.0.0.0/4", "2001::/23", "2001:db8::/32", "3fff::/20",
    )
)  # fmt: skip
UNICAST_NETWORK = ip_network("2000::/3")  # all that was given out of IPv6 so far
NAT64_NETWORK = ip_network("64:ff9b::/96")
ISATAP_MARKERS = (0x0000_5EFE, 0x0200_5EFE)  # the third quarter of its addresses


class AddressForbidden(OSError):
    """The address is not public, and the operator has not allowed it."""


def resolve_allowed_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host that may be connected to, in the resolver's order.

    Raises AddressForbidden when any is not allowed, and socket.gaierror when there are none.
    """
    host = host.strip("[]")
    entries = socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM)
    found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    if (host.lower(), port) in _operator_hosts():
        return found
    for each in found:
        if not is_address_allowed(ip_address(each)):
            said = host if host == each else f"{host} is {each}"
            raise AddressForbidden(
                f"{said}: no public address. Add it to PENSTOCK_ALLOWED_NETWORKS if what is "
                "delivered may go there."
            )
    return found


def is_address_allowed(address: IpAddress) -> bool:
    """Say whether an address is public, or in a network that the operator allows."""
    inner = _embedded_addresses(address)
    networks = [ip_network(each, strict=False) for each in settings.ALLOWED_NETWORKS]
    if any(each in network for each in (address, *inner) for network in networks):
        return True
    return _is_public(address) and all(map(_is_public, inner))


def _is_public(address: IpAddress) -> bool:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped or address in NAT64_NETWORK:
            return True  # only the address in it says anything
        if address not in UNICAST_NETWORK:
            return False
    special = any(address in network for network in SPECIAL_NETWORKS)
    return address.is_global and not address.is_multicast and not special


def _embedded_addresses(address: IpAddress) -> Sequence[IPv4Address]:
    """Return the IPv4 address that an IPv6 address stands for or leads to, if there is one."""
    if isinstance(address, IPv4Address):
        return ()
    number = int(address)
    last = IPv4Address(number & 0xFFFF_FFFF)
    if address in NAT64_NETWORK or (number >> 32) & 0xFFFF_FFFF in ISATAP_MARKERS:
        return (last,)
    found = address.ipv4_mapped or address.sixtofour
    return (found,) if found else ()


def _operator_hosts() -> set[tuple[str, int]]:
    """Return host and port of the URLs that the operator set."""
    urls = map(urlsplit, (settings.SANDBOX_URL, settings.ALARM_WEBHOOK_URL))
    return {(url.hostname or "", url.port or DEFAULT_PORTS.get(url.scheme, 0)) for url in urls}
