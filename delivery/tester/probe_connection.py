"""Tests an installation's connection with the probes its destination declares."""

from dataclasses import replace

from delivery.outbound import client
from delivery.tester.test_message import TEST_TIMEOUT_SECONDS
from delivery.transform.guard import DestinationCodeError, guarded_destination
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
        with guarded_destination(destination):
            probes = destination.probes(config)
    except (VendorUnavailable, DestinationCodeError) as error:
        return [Finding("bad", masked(str(error), secrets))]
    with client.new_session() as session:
        found = [_run_probe(each, destination, session) for each in probes]
    return [replace(each, text=masked(each.text, secrets)) for each in found]


def _run_probe(
    probe: Probe | Finding, destination: Destination, session: client.Session
) -> Finding:
    if isinstance(probe, Finding):
        return probe
    try:
        response = client.send_request(probe.request, session, total=TEST_TIMEOUT_SECONDS)
        with guarded_destination(destination):
            return probe.finding(response)
    except DestinationCodeError as error:
        return Finding("bad", str(error))
    except VendorUnavailable as error:
        return Finding("bad", f"No answer from {probe.request.url}: {error}")
