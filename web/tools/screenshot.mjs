/** Photographs the page: `node tools/screenshot.mjs --url=URL --text=TEXT --out=FILE.png [--width=1280] [--dark]`. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { open, settled } from "./chromium.mjs";

const { values } = parseArgs({
  options: {
    url: { type: "string" },
    text: { type: "string", default: "" },
    out: { type: "string" },
    width: { type: "string", default: "1280" },
    dark: { type: "boolean", default: false },
  },
});
const profile = mkdtempSync(join(tmpdir(), "page-"));
const { context, page } = await open(profile, {
  viewport: { width: Number(values.width), height: 800 },
  colorScheme: values.dark ? "dark" : "light",
});
await page.goto(values.url);
const { kind } = await settled(page);
if (kind === "ready") {
  await page.locator("#offline").waitFor({ state: "visible" });
  // The first answers of a process take longer than all that follow.
  for (const text of [...values.text].map((_, index) => values.text.slice(0, index + 1))) await page.fill("#text", text);
  if (values.text) await page.waitForFunction((text) => document.getElementById("result").dataset.text === text, values.text);
}
await page.screenshot({ path: values.out, fullPage: true });
await context.close();
rmSync(profile, { recursive: true });
