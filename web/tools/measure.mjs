/**
 * Measures the page in Chromium: `node tools/measure.mjs --url=URL [--repetitions=300]`.
 *
 * Prints one JSON object: milliseconds to load, and for a text of about 32 and one of 128 tokens the least, the median and
 * the 95th percentile of the milliseconds that tokeniser and model take (wasm, one thread).
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { open, settled } from "./chromium.mjs";

const SENTENCE = "负责反应釜和离心泵的检修与润滑，编制年度大修计划，建立台账。";
const WARM_UP = 50; // answers before the first that counts: the compiler is still at work
const AT_ONCE = 20;

const { values } = parseArgs({
  options: { url: { type: "string" }, repetitions: { type: "string", default: "300" } },
});
const profile = mkdtempSync(join(tmpdir(), "page-"));
const { context, page } = await open(profile);
const start = performance.now();
await page.goto(values.url);
const status = await settled(page);
if (status.kind !== "ready") throw new Error(status.text);
const loadMilliseconds = Math.round(performance.now() - start);
const texts = [SENTENCE, SENTENCE.repeat(5)];
const measured = await page.evaluate(
  async ([texts, repetitions, WARM_UP, AT_ONCE]) => {
    const { classifier } = window;
    const quantile = (times, share) => Number(times.sort((a, b) => a - b)[Math.floor(share * times.length)].toFixed(2));
    const rows = [];
    for (const text of texts) {
      const times = { tokenizer: [], model: [] };
      let numIds;
      for (let number = -WARM_UP; number < repetitions; number++) {
        const { modelMilliseconds, numUsed } = await classifier.classify(text);
        numIds = numUsed + 2;
        if (number >= 0) times.model.push(modelMilliseconds);
        // The browser's clock is too coarse for a single text.
        const start = performance.now();
        for (let again = 0; again < AT_ONCE; again++) classifier.tokenizer.tokenize(text);
        if (number >= 0) times.tokenizer.push((performance.now() - start) / AT_ONCE);
      }
      const row = { tokens: numIds };
      for (const [name, found] of Object.entries(times)) {
        row[`${name}_ms`] = { least: quantile(found, 0), p50: quantile(found, 0.5), p95: quantile(found, 0.95) };
      }
      rows.push(row);
    }
    return rows;
  },
  [texts, Number(values.repetitions), WARM_UP, AT_ONCE],
);
console.log(
  JSON.stringify({ browser: context.browser()?.version(), status: status.text, load_ms: loadMilliseconds, measured }),
);
await context.close();
rmSync(profile, { recursive: true });
