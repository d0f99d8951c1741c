"""Decides who may read the metrics."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

# A proxy on this machine makes strangers look local. One that is trusted has its client's address
# in REMOTE_ADDR by now (config/proxies.py).
PROXY_HEADERS = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")


def may_read_metrics(request: HttpRequest) -> bool:
    """Return whether the request has the token or comes from an allowed network.

    Without either setting, only this machine may read.
    """
    if settings.METRICS_TOKEN and has_token(request):
        return True
    address = _client_address(request)
    if address is None:
        return False
    if settings.METRICS_NETWORKS:
        networks = (ip_network(each, strict=False) for each in settings.METRICS_NETWORKS)
        return any(address in network for network in networks)
    if settings.METRICS_TOKEN:
        return False
    return address.is_loopback and not any(request.META.get(name) for name in PROXY_HEADERS)


def has_token(request: HttpRequest) -> bool:
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return scheme.lower() == "bearer" and constant_time_compare(
        token.strip(), settings.METRICS_TOKEN
    )


def _client_address(request: HttpRequest) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)  # a dual-stack server sees ::ffff:10.0.0.7
    return mapped or address
