// Send calls.json and some more with one Node SDK: `node send.mjs FOLDER SDK HOST KEY OPTIONS`, with
// FOLDER the place of node_modules and OPTIONS the SDK's own, as JSON. Prints the calls as JSON.
// Knows nothing of Penstock.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const MANY = 45; // more than one batch of any of them
const [folder, sdk, host, key, given] = process.argv.slice(2);
const options = JSON.parse(given);
const load = createRequire(path.join(folder, "package.json"));
const calls = JSON.parse(readFileSync(new URL("calls.json", import.meta.url), "utf8"));
const userId = sdk === "@jitsu/js" ? "ada" : "many"; // Jitsu's user is who was identified last
for (let n = 0; n < MANY; n++)
  calls.push({ type: "track", userId, event: "Counted", properties: { n } });

const SDKS = {
  "@segment/analytics-node"() {
    const { Analytics } = load("@segment/analytics-node");
    const client = new Analytics({ writeKey: key, host, ...options });
    return [client, () => client.closeAndFlush()];
  },
  "@customerio/cdp-analytics-node"() {
    const { Analytics } = load("@customerio/cdp-analytics-node");
    const client = new Analytics({ writeKey: key, host, ...options });
    return [client, () => client.closeAndFlush()];
  },
  "analytics-node"() {
    const client = new (load("analytics-node"))(key, { host, ...options });
    return [client, () => drain(client)];
  },
  "@rudderstack/rudder-sdk-node"() {
    const module = load("@rudderstack/rudder-sdk-node");
    const client = new (module.default ?? module)(key, { dataPlaneUrl: host, ...options });
    return [client, () => drain(client)];
  },
  "@jitsu/js"() {
    const { jitsuAnalytics } = load("@jitsu/js");
    const client = jitsuAnalytics({ host, writeKey: `${key}:secret`, s2s: true, ...options });
    return [positional(client), () => {}];
  },
};

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// These send the first call alone, and say nothing about when the last one is answered.
async function drain(client) {
  do {
    client.flush();
    await pause(200);
  } while (client.queue.length);
  await pause(500);
}

function positional(client) {
  return {
    identify: (call) => client.identify(call.userId, call.traits),
    track: (call) => client.track(call.event, call.properties),
    page: (call) => client.page({ name: call.name, ...call.properties }),
    group: (call) => client.group(call.groupId, call.traits),
  };
}

const [client, finish] = SDKS[sdk]();
const made = calls.filter((call) => client[call.type]);
for (const { type, ...call } of made) await client[type](call);
await finish();
console.log(JSON.stringify(made));
process.exit(0);
