// Print each licence of the bundle once, with the packages that it covers.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const packed = JSON.parse(readFileSync(process.argv[2], "utf8"));
const names = new Set(
  Object.keys(packed.inputs).map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]).filter(Boolean),
);
const texts = new Map();
for (const name of [...names].sort()) {
  const folder = join("node_modules", name);
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  const text = readFileSync(join(folder, file), "utf8").trim();
  texts.set(text, [...(texts.get(text) ?? []), `${name} ${version}`]);
}
for (const [text, packages] of texts) console.log(`${packages.join(", ")}\n\n${text}\n`);
