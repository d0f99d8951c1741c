"""Tests a connection to Heap without sending anything that stays there. Pure.

Heap accepts events from anyone who names an App ID, requires no other credentials, and accepts any
number as an App ID. An event without a name, which Heap must reject, therefore shows only that Heap
is reachable. The API key can be verified: in exchange for it Heap issues a token for deleting
users, valid for five minutes, which is never used.
Source: https://developers.heap.io/reference/track-1 and /user-deletion (seen 2026-11). For the
source on App IDs, see `sandbox/api.py`.
"""

from base64 import b64encode
from collections.abc import Sequence

import msgspec

from integrations.destination import Config, ConnectionFinding, Probe, Request, Response
from integrations.destinations.heap.api import HOSTS, base_url

APP_ID_FINDING = ConnectionFinding(
    "unknown",
    "Heap accepts any number as an App ID, so Penstock cannot verify yours. Send a test event and "
    "look for it in Heap.",
)


def connection_probes(config: Config) -> Sequence[Probe | ConnectionFinding]:
    """Return the probes, and the findings that need none.

    Raises VendorUnavailable if the region is the sandbox and none is running.
    """
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
        return ConnectionFinding(
            "good", "Heap is reachable, and rejects an empty event, as expected."
        )
    if 200 <= response.status < 300:
        return ConnectionFinding("good", "Heap is reachable.")
    return ConnectionFinding(
        "bad",
        f"Heap's address responded with HTTP {response.status}: {response.body[:200]}. The "
        "response may come from a proxy or a firewall in between.",
    )


def _api_key_probe(config: Config, key: str) -> Probe:
    # Both regions share one host for this call.
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
            "Heap does not accept the API key for this App ID. The key works only with the App ID "
            "of the main Production environment. It is needed only to delete users; events are "
            "delivered without it.",
        )
    return ConnectionFinding(
        "unknown", f"Heap did not say whether the API key is valid: HTTP {response.status}."
    )
