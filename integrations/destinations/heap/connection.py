"""What can be told about a connection to Heap without sending anything that stays. Pure.

Heap takes events from anyone who names an App ID, and asks for nothing else; any number passes for
one. So an event without a name, which Heap must refuse, shows that Heap is there, and nothing more.
The API key can be asked about: with it Heap hands out a token for deleting users, good for five
minutes, that nobody uses.
Source: https://developers.heap.io/reference/track-1 and /user-deletion (seen 2026-11). That any
number is taken: see `sandbox/api.py`.
"""

from base64 import b64encode
from collections.abc import Sequence

import msgspec

from integrations.destination import Config, ConnectionFinding, Probe, Request, Response
from integrations.destinations.heap.api import HOSTS, base_url

APP_ID_FINDING = ConnectionFinding(
    "unknown",
    "Heap takes any number as App ID, so this one cannot be checked from here. Send a test event, "
    "and look for it in Heap.",
)


def connection_probes(config: Config) -> Sequence[Probe | ConnectionFinding]:
    """Return what to ask. Raises VendorUnavailable where no sandbox runs."""
    key = config.get("api_key")
    return (
        _reachability_probe(config),
        *((_api_key_probe(config, key),) if key else ()),
        APP_ID_FINDING,
    )


def _reachability_probe(config: Config) -> Probe:
    body = msgspec.json.encode({"app_id": config["app_id"], "events": [{}]})
    return Probe(
        request=Request(url=f"{base_url(config)}/api/track", body=body), finding=_judge_reachability
    )


def _judge_reachability(response: Response) -> ConnectionFinding:
    if response.status == 400:
        return ConnectionFinding("good", "Heap answers, and refuses an empty event, as it should.")
    if 200 <= response.status < 300:
        return ConnectionFinding("good", "Heap answers.")
    return ConnectionFinding(
        "bad",
        f"HTTP {response.status} from where Heap should be: {response.body[:200]}. A proxy or a "
        "firewall on the way may have answered.",
    )


def _api_key_probe(config: Config, key: str) -> Probe:
    # one host for both regions
    host = base_url(config) if config["region"] == "sandbox" else HOSTS["us"]
    basic = b64encode(f"{config['app_id']}:{key}".encode()).decode()
    request = Request(
        url=f"{host}/api/public/v0/auth_token",
        body=b"",
        headers={"Content-Type": "application/json", "Authorization": f"Basic {basic}"},
    )
    return Probe(request=request, finding=_judge_api_key)


def _judge_api_key(response: Response) -> ConnectionFinding:
    if 200 <= response.status < 300:
        return ConnectionFinding("good", "Heap accepts the API key together with the App ID.")
    if response.status in (401, 403):
        return ConnectionFinding(
            "bad",
            "Heap does not accept the API key for this App ID. It works with the App ID of the "
            "main Production environment only, and is needed only for deleting users: events are "
            "delivered without it.",
        )
    return ConnectionFinding(
        "unknown", f"Heap did not say whether the API key is right: {response.status}."
    )
