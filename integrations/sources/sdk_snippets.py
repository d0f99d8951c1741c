"""Snippets, ready to copy, that configure each SDK to send to Penstock. Pure.

The host options and the calls are the ones that tests/sdks sends with. docs/ingest.md lists them.
"""

from dataclasses import dataclass

TRACK_ARGUMENTS = '"Order Completed", { order_id: "A-1001", revenue: 39.95 }'


@dataclass(frozen=True, slots=True)
class Snippet:
    """The installation command and the code for one SDK.

    text   contains {host} and {key}, and no other braces that str.replace would change
    note   a hint shown below the snippet
    """

    key: str
    title: str
    text: str
    note: str = ""

    def fill(self, host: str, key: str) -> str:
        return self.text.replace("{host}", host).replace("{key}", key)


SNIPPETS = (
    Snippet(
        "curl",
        "curl",
        """curl {host}/v1/track \\
  -u {key}: \\
  -d '{"event": "Order Completed", "userId": "user-123",
       "properties": {"order_id": "A-1001", "revenue": 39.95}}'""",
        "The response is 200 once the event is stored.",
    ),
    Snippet(
        "segment-browser",
        "Segment, browser",
        f"""// npm install @segment/analytics-next
import {{ AnalyticsBrowser }} from "@segment/analytics-next";

const analytics = AnalyticsBrowser.load({{ writeKey: "{{key}}", cdnURL: "{{host}}" }});
analytics.identify("user-123", {{ email: "ada@example.com" }});
analytics.track({TRACK_ARGUMENTS});""",
        "The SDK loads its settings from cdnURL; the settings direct its events to Penstock.",
    ),
    Snippet(
        "segment-node",
        "Segment, Node",
        """// npm install @segment/analytics-node
import { Analytics } from "@segment/analytics-node";

const analytics = new Analytics({ writeKey: "{key}", host: "{host}" });
analytics.track({
  userId: "user-123",
  event: "Order Completed",
  properties: { order_id: "A-1001", revenue: 39.95 },
});
await analytics.closeAndFlush();""",
    ),
    Snippet(
        "segment-python",
        "Segment, Python",
        """# pip install segment-analytics-python
from segment.analytics import Client

analytics = Client("{key}", host="{host}")
analytics.track("user-123", "Order Completed", {"order_id": "A-1001", "revenue": 39.95})
analytics.shutdown()""",
    ),
    Snippet(
        "rudderstack-browser",
        "RudderStack, browser",
        f"""// npm install @rudderstack/analytics-js
import {{ RudderAnalytics }} from "@rudderstack/analytics-js";

const rudder = new RudderAnalytics();
rudder.load("{{key}}", "{{host}}", {{ configUrl: "{{host}}" }});
rudder.track({TRACK_ARGUMENTS});""",
    ),
    Snippet(
        "rudderstack-node",
        "RudderStack, Node",
        """// npm install @rudderstack/rudder-sdk-node
import Analytics from "@rudderstack/rudder-sdk-node";

const rudder = new Analytics("{key}", { dataPlaneUrl: "{host}" });
rudder.track({ userId: "user-123", event: "Order Completed", properties: { revenue: 39.95 } });
rudder.flush();""",
    ),
    Snippet(
        "rudderstack-python",
        "RudderStack, Python",
        """# pip install rudder-sdk-python
from rudderstack.analytics import Client

rudder = Client("{key}", host="{host}")
rudder.track("user-123", "Order Completed", {"order_id": "A-1001", "revenue": 39.95})
rudder.shutdown()""",
    ),
    Snippet(
        "customerio-browser",
        "Customer.io, browser",
        f"""// npm install @customerio/cdp-analytics-browser
import {{ AnalyticsBrowser }} from "@customerio/cdp-analytics-browser";

const cio = AnalyticsBrowser.load({{ writeKey: "{{key}}", cdnURL: "{{host}}/cio" }});
cio.track({TRACK_ARGUMENTS});""",
        "The /cio is needed because Segment's SDK loads its settings from the same path.",
    ),
    Snippet(
        "customerio-node",
        "Customer.io, Node",
        """// npm install @customerio/cdp-analytics-node
import { Analytics } from "@customerio/cdp-analytics-node";

const cio = new Analytics({ writeKey: "{key}", host: "{host}" });
cio.track({ userId: "user-123", event: "Order Completed", properties: { revenue: 39.95 } });
await cio.closeAndFlush();""",
    ),
    Snippet(
        "jitsu",
        "Jitsu",
        f"""// npm install @jitsu/js
import {{ jitsuAnalytics }} from "@jitsu/js";

const jitsu = jitsuAnalytics({{ host: "{{host}}", writeKey: "{{key}}:secret" }});
jitsu.track({TRACK_ARGUMENTS});""",
        "Jitsu's keys have two parts. Penstock ignores the part after the colon.",
    ),
    Snippet(
        "pixel",
        "Pixel",
        """<img alt="" width="1" height="1"
  src="{host}/v1/pixel/track?wk={key}&amp;e=Mail%20Opened&amp;uid=user-123">""",
        "For emails and pages without scripts.",
    ),
)


def get_snippet(key: str) -> Snippet:
    """Return the snippet with this key, or the first one."""
    return next((each for each in SNIPPETS if each.key == key), SNIPPETS[0])
