// Track steadily with Segment's Node SDK as it comes: `node flow.mjs FOLDER HOST KEY EVENTS
// PER_SECOND`. Exits with 1 when the SDK gave anything up. Knows nothing of Penstock.
import { createRequire } from "node:module";
import path from "node:path";

const LONGEST = 240_000; // ms for what waits at the end
const [folder, host, key, events, perSecond] = process.argv.slice(2);
const { Analytics } = createRequire(path.join(folder, "package.json"))("@segment/analytics-node");

const client = new Analytics({ writeKey: key, host, flushInterval: 500 });
const lost = [];
client.on("error", (error) => lost.push(error));
for (let n = 0; n < events; n++) {
  client.track({ userId: "grace", event: "Counted", properties: { n }, messageId: `node-${n}` });
  await new Promise((resolve) => setTimeout(resolve, 1000 / perSecond));
}
await client.closeAndFlush({ timeout: LONGEST });
if (lost.length) console.error("The SDK gave up:", lost);
process.exit(lost.length ? 1 : 0);
