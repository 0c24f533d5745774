/**
 * Measures the page in Chromium: `node tools/measure.mjs --url=URL [--repetitions=300]`.
 *
 * Prints one JSON object: milliseconds to load, and for a text of about 32 and one of 128 tokens the mean time of the
 * tokeniser, and the least, the median and the 95th percentile of the model's (wasm, one thread).
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { open, settled } from "./chromium.mjs";

const SENTENCE = "负责反应釜和离心泵的检修，编制年度大修计划，建立台账。";

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
const texts = [SENTENCE, SENTENCE.repeat(6)];
const measured = await page.evaluate(
  async ([texts, repetitions]) => {
    const quantile = (times, share) => Number(times.sort((a, b) => a - b)[Math.floor(share * times.length)].toFixed(2));
    const rows = [];
    for (const text of texts) {
      const times = { tokenizer: [], model: [] };
      let numIds;
      for (let number = -50; number < repetitions; number++) {
        const answer = await window.classifier.classify(text);
        numIds = answer.numUsed + 2;
        if (number < 0) continue; // The compiler is still at work.
        times.tokenizer.push(answer.tokenizerMilliseconds);
        times.model.push(answer.modelMilliseconds);
      }
      // The browser's clock is coarse: a mean says more of the tokeniser than its median.
      const mean = times.tokenizer.reduce((sum, time) => sum + time, 0) / repetitions;
      rows.push({
        tokens: numIds,
        tokenizer_mean_ms: Number(mean.toFixed(3)),
        model_least_ms: quantile(times.model, 0),
        model_p50_ms: quantile(times.model, 0.5),
        model_p95_ms: quantile(times.model, 0.95),
      });
    }
    return rows;
  },
  [texts, Number(values.repetitions)],
);
console.log(
  JSON.stringify({ browser: context.browser()?.version(), status: status.text, load_ms: loadMilliseconds, measured }),
);
await context.close();
rmSync(profile, { recursive: true });
