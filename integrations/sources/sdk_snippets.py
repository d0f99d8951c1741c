"""How each SDK is pointed here, ready to copy. Pure.

The options that name a host, and the calls, are those that tests/sdks sends with; docs/ingest.md
has the table.
"""

from dataclasses import dataclass

TRACK_ARGUMENTS = '"Order Completed", { order_id: "A-1001", revenue: 39.95 }'


@dataclass(frozen=True, slots=True)
class Snippet:
    """What to install and to write for one SDK.

    text   with {host} and {key} in it, and no other braces that str.replace would touch
    note   what to know beside it
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
        "The answer is 200 once the event is stored.",
    ),
    Snippet(
        "segment-browser",
        "Segment, browser",
        f"""// npm install @segment/analytics-next
import {{ AnalyticsBrowser }} from "@segment/analytics-next";

const analytics = AnalyticsBrowser.load({{ writeKey: "{{key}}", cdnURL: "{{host}}" }});
analytics.identify("user-123", {{ email: "ada@example.com" }});
analytics.track({TRACK_ARGUMENTS});""",
        "cdnURL is where it asks for its settings; they send it here.",
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
        "It asks the same path as Segment's SDK for its settings, hence the /cio.",
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
        "Jitsu's keys have two halves; what stands after the colon is not asked for.",
    ),
    Snippet(
        "pixel",
        "Pixel",
        """<img alt="" width="1" height="1"
  src="{host}/v1/pixel/track?wk={key}&amp;e=Mail%20Opened&amp;uid=user-123">""",
        "For mails and pages without scripts.",
    ),
)


def get_snippet(key: str) -> Snippet:
    """Return the snippet of that key, or the first one."""
    return next((each for each in SNIPPETS if each.key == key), SNIPPETS[0])
