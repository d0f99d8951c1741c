"""Tests an installation's connection with the probes its destination declares."""

from dataclasses import replace

from delivery.outbound import client
from delivery.tester.test_message import TOTAL
from delivery.transform.guard import Unworkable, code_of
from integrations.destination import Destination, Finding, Probe
from integrations.encryption import masked, reveal
from integrations.errors import VendorUnavailable
from integrations.models import Installation


def test_connection(installation: Installation) -> list[Finding]:
    """Ask the vendor what it tells without anything staying there. Raises SecretsUnreadable."""
    config = installation.settings()
    secrets = tuple(reveal(installation.sealed_secrets).values())
    destination = installation.destination
    try:
        with code_of(destination):
            probes = destination.probes(config)
    except (VendorUnavailable, Unworkable) as error:
        return [Finding("bad", masked(str(error), secrets))]
    with client.new_session() as session:
        found = [_found(each, destination, session) for each in probes]
    return [replace(each, text=masked(each.text, secrets)) for each in found]


def _found(probe: Probe | Finding, destination: Destination, session: client.Session) -> Finding:
    if isinstance(probe, Finding):
        return probe
    try:
        response = client.send(probe.request, session, total=TOTAL)
        with code_of(destination):
            return probe.finding(response)
    except Unworkable as error:
        return Finding("bad", str(error))
    except VendorUnavailable as error:
        return Finding("bad", f"No answer from {probe.request.url}: {error}")
