"""Addresses that Penstock must never call: its own network, in every spelling."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import requests
from django.test import override_settings

from delivery.models import Attempt, Delivery, Lane
from delivery.outbound import client
from integrations.destination import Request
from integrations.errors import VendorUnavailable
from tests.faults.registry import POSTGRES, SQLITE, Result, RowContext, row
from tests.faults.support.in_process import add_ledger_to, in_process_penstock, make_tracks
from tests.faults.support.raw_vendor import RawVendor, respond_with_status

PUBLIC = "93.184.216.34"
FORBIDDEN = {
    "private": (
        "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.0.1",
        "192.168.255.255",
    ),
    "loopback": (
        "127.0.0.1", "127.1.2.3", "127.255.255.254", "localhost", "LOCALHOST", "localhost.",
    ),
    "this network": ("0.0.0.0", "0.1.2.3", "0"),
    "carriers": ("100.64.0.1", "100.127.255.254"),
    "link-local and metadata": ("169.254.0.1", "169.254.169.254", "169.254.170.2"),
    "special": (
        "192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
        "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    ),
    "decimal, octal, hex, short": (
        "2130706433", "017700000001", "0x7f000001", "0177.0.0.1", "0x7f.0.0.1", "127.1", "127.0.1",
        "0x7f.1", "10.1", "3232235521", "0xa9fea9fe", "169.254.43518", "0xA9.0xFE.0xA9.0xFE",
    ),
    "IPv6": (
        "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]",
        "[fec0::1]", "[ff02::1]", "[2001:db8::1]", "[100::1]", "[3fff::1]", "[5f00::1]",
        "[2001::1]",
    ),
    "IPv4 in IPv6": (
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]",
        "[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[::7f00:1]",
    ),
    "6to4, NAT64, ISATAP, Teredo": (
        "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2002:c0a8:1::1]", "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[2606:4700::5efe:10.0.0.1]",
        "[2606:4700::200:5efe:192.168.0.1]", "[2001:0:7f00:1::1]",
    ),
    "userinfo and the like": (
        "vendor.example@127.0.0.1", "vendor.example:443@10.0.0.1", "127.0.0.1#@vendor.example",
        "127.0.0.1?@vendor.example",
    ),
    "other digits": ("①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.0.0.1"),
}  # fmt: skip


class FakeResolver:
    """A resolver that returns scripted answers in turn and records the lookups in `asked`. Address
    literals are resolved as usual."""

    def __init__(self, **answers: list[list[str]]):
        self.answers = {f"{name}.example": script for name, script in answers.items()}
        self.asked: list[str] = []
        self.real = socket.getaddrinfo

    def __call__(self, host, port, family=0, *rest, **options):
        if host not in self.answers:
            return self.real(host, port, family, *rest, **options)
        self.asked.append(host)
        script = self.answers[host]
        addresses = script.pop(0) if len(script) > 1 else script[0]
        return [entry for each in addresses for entry in self.real(each, port, family, *rest)]


@contextmanager
def watch_connections(**names: list[list[str]]) -> Iterator[tuple[FakeResolver, list[str]]]:
    """Record the addresses that sockets connect to; no other machine is reached."""
    connected: list[str] = []
    real = socket.socket.connect

    def connect(self, address):
        if self.family == socket.AF_UNIX:
            return real(self, address)
        connected.append(address[0])
        if address[0] == "127.0.0.1":
            return real(self, address)
        raise ConnectionRefusedError("connections are blocked")

    server = FakeResolver(**names)
    with (
        patch.object(socket.socket, "connect", connect),
        patch.object(socket, "getaddrinfo", server),
    ):
        yield server, connected


def refusal_of(url: str) -> str:
    """Return why a call of a URL failed; "" when a response came."""
    with client.new_session() as session:
        return refusal_in_session(url, session)


def refusal_in_session(url: str, session: requests.Session) -> str:
    try:
        client.send_request(Request(url=url, body=b"{}"), session)
    except VendorUnavailable as error:
        return str(error)
    return ""


@row(
    "18",
    "Addresses that must not be called",
    short=1,
    full=1,
    on=(SQLITE, POSTGRES),
    in_process=True,
)
def forbidden_addresses(context: RowContext, result: Result) -> None:
    """Calls every spelling of an address that is not public, names that resolve to such addresses,
    and a redirect, and checks the list of allowed networks. No socket to a forbidden address may be
    opened."""
    vectors = [host for hosts in FORBIDDEN.values() for host in hosts]
    with RawVendor() as vendor:
        with client.new_session() as session, watch_connections() as (_, connected):
            for host in vectors:
                for url in (f"http://{host}:{vendor.port}/", f"https://{host}/api"):
                    assert refusal_in_session(url, session), f"{url} was called"
                    assert connected == [], f"{url} opened a socket to {connected}"
        assert vendor.requests == []
        names = check_lying_names(vendor)
        check_redirect(vendor)
        check_allowed_networks(vendor)
        check_delivery_waits(result)
    result.rounds = result.full = len(vectors) * 2 + names + 1
    result.note = (
        f"{len(vectors)} spellings, each by http and https, {names} lying names, one redirect; "
        "no socket was opened"
    )


def check_lying_names(vendor: RawVendor) -> int:
    """Check names that resolve to a private address: at once, later, or among public addresses.
    Return how many there are."""
    lies = {
        "private": [["10.0.0.1"]],
        "metadata": [["169.254.169.254"]],
        "mixed": [[PUBLIC, "127.0.0.1"]],
        "mixed6": [["2606:4700::1", "::1"]],
    }
    for name in lies:
        with watch_connections(**{name: lies[name]}) as (_, connected):
            reason = refusal_of(f"http://{name}.example:{vendor.port}/")
        assert "is not a public address" in reason, f"{name}: {reason}"
        assert connected == [], f"{name} opened a socket to {connected}"
    with watch_connections(rebinding=[[PUBLIC], ["127.0.0.1"]]) as (server, connected):
        reason = refusal_of(f"http://rebinding.example:{vendor.port}/")
    assert "connections are blocked" in reason, reason
    assert (connected, len(server.asked)) == ([PUBLIC], 1), "the name was resolved again"
    with watch_connections(rebinding=[["127.0.0.1"]]) as (
        _,
        connected,
    ):  # the next connection checks again
        assert "is not a public address" in refusal_of(f"http://rebinding.example:{vendor.port}/")
    assert connected == []
    return len(lies) + 1


def check_redirect(vendor: RawVendor) -> None:
    vendor.answer = respond_with_status(302, "Location: http://127.0.0.1:9/latest/meta-data/\r\n")
    with override_settings(ALLOWED_NETWORKS=["127.0.0.1"]), watch_connections() as (_, connected):
        assert refusal_of(f"{vendor.url}/") == ""
    assert connected == ["127.0.0.1"]
    assert len(vendor.requests) == 1


def check_allowed_networks(vendor: RawVendor) -> None:
    """Check that networks and URLs that the operator allows in the environment are called."""
    with watch_connections(intern=[["10.1.2.3"]]) as (_, connected):
        with override_settings(ALLOWED_NETWORKS=["10.0.0.0/8"]):
            assert "connections are blocked" in refusal_of("http://intern.example/")
            assert "is not a public address" in refusal_of(f"{vendor.url}/")
        with override_settings(ALARM_WEBHOOK_URL="http://intern.example/hook"):
            assert "connections are blocked" in refusal_of("http://intern.example/hook")
            assert "is not a public address" in refusal_of("http://intern.example:8080/hook")
    assert connected == ["10.1.2.3"] * 2


def check_delivery_waits(result: Result) -> None:
    """Check the same for deliveries: the lane waits and has the reason; the attempt is kept."""
    with in_process_penstock("http://127.0.0.1:9") as penstock:
        heap = penstock.install()
        heap.config |= {"region": "us"}
        heap.save()
        penstock.send(*make_tracks(3))
        lane = Lane.objects.get()
        started = time.monotonic()
        with watch_connections() as (server, connected):
            server.answers["heapanalytics.com"] = [["127.0.0.1"]]
            penstock.drain_once(lane.pk)
        assert time.monotonic() - started < 2.0
        lane.refresh_from_db()
        assert "heapanalytics.com (127.0.0.1) is not a public address" in lane.last_error
        assert Attempt.objects.get().outcome == "VendorUnavailable"
        assert connected == []
        assert Delivery.objects.filter(state="queued").count() == 3
        add_ledger_to(result)
