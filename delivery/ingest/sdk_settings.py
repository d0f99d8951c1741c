"""The settings documents that browser SDKs load before they send."""


def segment_settings(request, source, integration):
    """Return the settings that Segment's browser SDK loads before it sends anything.

    They name exactly one integration: with two, the SDK fetches code from Segment's servers and
    never starts, and without its own it sends to Segment. Measured with
    @segment/analytics-next 1.84.3 and
    @customerio/cdp-analytics-browser 0.5.11, November 2026.
    """
    ours = {
        "apiKey": source.write_key,
        "apiHost": f"{request.get_host()}/v1",
        "protocol": request.scheme,
    }
    return {"integrations": {integration: ours}, "plan": {}, "metrics": {"sampleRate": 0}}


def rudder_settings(source):
    """Return the settings that RudderStack's browser SDK loads: a source without destinations.

    Measured with @rudderstack/analytics-js 3.34.1, November 2026.
    """
    silent = {"errors": {"enabled": False}, "metrics": {"enabled": False}}
    described = {
        "id": str(source.pk),
        "name": source.name,
        "writeKey": source.write_key,
        "enabled": True,
        "workspaceId": "penstock",
        "connections": [],
        "destinations": [],
        "config": {"statsCollection": silent},
        "dataplanes": {},
    }
    return {"source": described, "updatedAt": source.created_at.isoformat()}
