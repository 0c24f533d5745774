/** The page in a real Chromium without a window, found by the name it has on this system or in $CHROMIUM. */

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

import { chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const PATIENCE_MILLISECONDS = 120_000; // A busy machine is slow to start a browser, and slower to compile WebAssembly.

/** Returns the path of the browser. */
export function executable() {
  const candidates = [process.env.CHROMIUM, ...NAMES.flatMap((name) => process.env.PATH.split(delimiter).map((folder) => join(folder, name)))];
  const found = candidates.filter(Boolean).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error(`no Chromium: none of ${NAMES.join(", ")} in PATH; name it in CHROMIUM`);
  return found;
}

/**
 * Opens a page in a browser of its own.
 *
 * @param {string} profile folder of the browser's profile, which holds what a visit leaves behind
 * @param {object} options of Playwright's context: viewport, colorScheme, offline, ...
 * @returns {Promise<{context: object, page: object, requests: string[], complaints: string[]}>} what the page asked for,
 *   and what it complained about
 */
export async function open(profile, options = {}) {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: executable(),
    // In a container there is often no namespace for the sandbox; the pages opened here are our own.
    args: ["--no-sandbox"],
    ...options,
  });
  context.setDefaultTimeout(PATIENCE_MILLISECONDS);
  const page = context.pages()[0] ?? (await context.newPage());
  const requests = [];
  const complaints = [];
  context.on("request", (request) => requests.push(request.url()));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  return { context, page, requests, complaints };
}

/** Waits until the page is ready or has given up, and returns its status line. */
export async function settled(page) {
  const status = page.locator("#status:not([data-kind=busy])");
  await status.waitFor();
  return { kind: await status.getAttribute("data-kind"), text: await status.innerText() };
}
