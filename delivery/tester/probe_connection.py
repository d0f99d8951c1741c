"""Tests an installation's connection with the probes its destination declares."""

from dataclasses import replace

from delivery.outbound import client
from delivery.tester.test_message import TEST_TIMEOUT_SECONDS
from delivery.transform.guard import DestinationCodeError, guarded_destination
from integrations.destination import ConnectionFinding, Destination, Probe
from integrations.encryption import mask_secrets, reveal
from integrations.errors import VendorUnavailable
from integrations.models import Installation


def test_connection(installation: Installation) -> list[ConnectionFinding]:
    """Run the probes, which leave nothing at the vendor. Raises SecretsUnreadable."""
    config = installation.settings()
    secrets = tuple(reveal(installation.sealed_secrets).values())
    destination = installation.destination
    try:
        with guarded_destination(destination):
            probes = destination.probes(config)
    except (VendorUnavailable, DestinationCodeError) as error:
        return [ConnectionFinding("bad", mask_secrets(str(error), secrets))]
    with client.new_session() as session:
        found = [_run_probe(each, destination, session) for each in probes]
    return [replace(each, text=mask_secrets(each.text, secrets)) for each in found]


def _run_probe(
    probe: Probe | ConnectionFinding, destination: Destination, session: client.Session
) -> ConnectionFinding:
    if isinstance(probe, ConnectionFinding):
        return probe
    try:
        response = client.send_request(probe.request, session, total=TEST_TIMEOUT_SECONDS)
        with guarded_destination(destination):
            return probe.finding(response)
    except DestinationCodeError as error:
        return ConnectionFinding("bad", str(error))
    except VendorUnavailable as error:
        return ConnectionFinding("bad", f"No response from {probe.request.url}: {error}")
