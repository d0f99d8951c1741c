"""Finds the client's address and scheme behind trusted proxies."""

from ipaddress import ip_address, ip_network

from django.conf import settings


def trusted_proxies(get_response):
    """Set the client's address and scheme from the headers of a trusted proxy.

    Any client can send these headers, so they count only as far back as trusted proxies wrote them.
    """
    networks = [ip_network(each, strict=False) for each in settings.TRUSTED_PROXIES]

    def middleware(request):
        request.META["REMOTE_ADDR"] = _without_mapping(request.META.get("REMOTE_ADDR", ""))
        if networks and _is_trusted_address(request.META.get("REMOTE_ADDR", ""), networks):
            _apply_forwarded_headers(request.META, networks)
        return get_response(request)

    return middleware


def _apply_forwarded_headers(meta, networks):
    hops = [each.strip() for each in meta.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    for hop in reversed(hops):
        if not _is_address(hop):
            break
        meta["REMOTE_ADDR"] = hop = _without_mapping(hop)
        if not _is_trusted_address(hop, networks):
            break
    scheme = meta.get("HTTP_X_FORWARDED_PROTO", "").split(",")[0].strip().lower()
    if scheme in ("http", "https"):
        meta["wsgi.url_scheme"] = scheme


def _without_mapping(text):
    """Return an IPv4 address that a server for IPv6 shows as ::ffff:10.0.0.7 as what it is."""
    is_ipv6 = ":" in text and _is_address(text)
    return str((ip_address(text).ipv4_mapped if is_ipv6 else None) or text)


def _is_address(text):
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def _is_trusted_address(text, networks):
    return _is_address(text) and any(ip_address(text) in network for network in networks)
