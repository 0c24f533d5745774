/**
 * Types texts into the page and reads the bars off it:
 * `node tools/classify.mjs --url=URL --texts=TEXTS.json --answers=OUT.json --profile=FOLDER [--offline] [--use_newer]`.
 *
 * Writes {statuses, answers: [{label, probabilities}], requests, complaints}. The browser's profile is kept: with
 * `--offline`, the server gone, it shows what a second visit without a network is like. `--use_newer` waits until the page
 * offers a newer build, and takes it first.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { open, settled } from "./chromium.mjs";

const { values } = parseArgs({
  options: {
    url: { type: "string" },
    texts: { type: "string" },
    answers: { type: "string" },
    profile: { type: "string" },
    offline: { type: "boolean", default: false },
    use_newer: { type: "boolean", default: false },
  },
});
const { context, page, requests, complaints } = await open(values.profile, { offline: values.offline });
await page.goto(values.url);
const statuses = [await settled(page)];
if (values.use_newer) {
  await Promise.all([page.waitForEvent("load"), page.click("#use-newer")]);
  statuses.push(await settled(page));
}
const answers = [];
if (statuses.at(-1).kind === "ready") {
  for (const text of JSON.parse(readFileSync(values.texts, "utf8"))) {
    await page.fill("#text", text);
    await page.waitForFunction((text) => document.getElementById("result").dataset.text === text, text);
    const bars = await page.$$eval("#classes li", (rows) =>
      rows.map((row) => [row.dataset.label, Number(row.dataset.probability)]),
    );
    answers.push({ label: bars[0][0], probabilities: Object.fromEntries(bars) });
  }
  await page.locator("#offline").waitFor({ state: "visible" });
}
writeFileSync(values.answers, JSON.stringify({ statuses, answers, requests, complaints }));
await context.close();
