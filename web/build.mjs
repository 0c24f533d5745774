/**
 * Builds the page into one folder of static files: `node build.mjs --export=EXPORT_DIR [--precision=fp32] [--out=dist]`.
 *
 * EXPORT_DIR is --export_dir of run_classifier.py, with `onnx/` in it. The folder appears once it is complete.
 */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

import { parseArtefact } from "./src/artefact.js";
import { InputError } from "./src/input_error.js";
import { parseVocabulary } from "./src/vocabulary.js";

const HERE = dirname(fileURLToPath(import.meta.url));
const RUNTIME = dirname(createRequire(import.meta.url).resolve("onnxruntime-web/wasm"));
const WASM = "ort-wasm-simd-threaded.wasm";

/** Returns the contents of the files of an export by their names in the page's folder, checked. */
function readExport(folder, precision) {
  const path = (name) => join(folder, "onnx", name);
  const model = `${precision}.onnx`;
  if (!existsSync(path(model))) {
    const found = existsSync(path("")) ? readdirSync(path("")).filter((name) => name.endsWith(".onnx")) : [];
    throw new InputError(
      found.length
        ? `PRECISION=${precision}: no ${path(model)}; there is ${found.join(", ")}`
        : `EXPORT=${folder}: no ${path(model)}; run run_classifier.py --do_export --export_formats=onnx first`,
    );
  }
  for (const name of ["artefact.json", "vocab.txt"]) {
    if (!existsSync(path(name))) throw new InputError(`EXPORT=${folder}: no ${path(name)} beside the model; export it again`);
  }
  const files = {
    "model/model.onnx": readFileSync(path(model)),
    "model/artefact.json": readFileSync(path("artefact.json")),
    "model/vocab.txt": readFileSync(path("vocab.txt")),
  };
  const vocabulary = parseVocabulary(files["model/vocab.txt"], path("vocab.txt"));
  parseArtefact(files["model/artefact.json"].toString("utf8"), vocabulary, path("artefact.json"));
  return files;
}

async function bundle(entry, define) {
  const { outputFiles } = await build({
    entryPoints: [join(HERE, "src", entry)],
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    target: ["chrome103", "firefox104", "safari16"],
    // A classic script, so that opened as a file the page can still say what is wrong; it has no import.meta.
    define: { ...define, "import.meta.url": "document.baseURI" },
    legalComments: "inline",
    logLevel: "error",
  });
  return Buffer.from(outputFiles[0].contents);
}

function bytesOf(files) {
  return Object.values(files).reduce((total, content) => total + content.length, 0);
}

function readArguments() {
  const options = {
    export: { type: "string", default: "" },
    precision: { type: "string", default: "int8" },
    out: { type: "string", default: join(HERE, "dist") },
  };
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    throw new InputError(`${error.message.split("\n")[0]}; known are --export, --precision and --out`);
  }
}

async function main() {
  const values = readArguments();
  if (!values.export) throw new InputError("EXPORT is empty: name the --export_dir of run_classifier.py");
  const downloads = { ...readExport(values.export, values.precision), [`ort/${WASM}`]: readFileSync(join(RUNTIME, WASM)) };
  const site = {
    precision: values.precision,
    modelBytes: downloads["model/model.onnx"].length,
    downloadBytes: bytesOf(downloads),
  };
  const files = {
    ...downloads,
    "index.html": readFileSync(join(HERE, "index.html")),
    "style.css": readFileSync(join(HERE, "style.css")),
    "page.js": await bundle("page.js", { __SITE__: JSON.stringify(site) }),
  };
  const digest = createHash("sha256");
  for (const name of Object.keys(files).sort()) digest.update(name).update("\0").update(files[name]);
  // "./" is the page itself, by the name that it is asked for.
  const cache = { version: digest.digest("hex").slice(0, 12), files: ["./", ...Object.keys(files)] };
  files["service_worker.js"] = await bundle("service_worker.js", { __CACHE__: JSON.stringify(cache) });

  const out = resolve(values.out);
  if (existsSync(out) && readdirSync(out).length && !existsSync(join(out, "service_worker.js"))) {
    throw new InputError(`--out=${out}: something else is there; name a folder that does not exist yet`);
  }
  const partial = `${out}.partial`;
  rmSync(partial, { recursive: true, force: true });
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(partial, name)), { recursive: true });
    writeFileSync(join(partial, name), content);
  }
  rmSync(out, { recursive: true, force: true });
  renameSync(partial, out);
  printSizes(files);
  console.log(`serve it: python -m http.server --directory ${out}`);
}

/** Prints what a visitor downloads, plain and as a server that compresses sends it. */
function printSizes(files) {
  const kilobytes = (bytes) => `${Math.ceil(bytes / 1000).toLocaleString("en")} kB`.padStart(9);
  const sizes = Object.entries(files).map(([name, content]) => [name, content.length, gzipSync(content).length]);
  const together = sizes.reduce(([name, plain, packed], size) => [name, plain + size[1], packed + size[2]], ["together", 0, 0]);
  for (const [name, plain, packed] of [...sizes, together]) {
    console.log(`${name.padEnd(34)} ${kilobytes(plain)}  gzip ${kilobytes(packed)}`);
  }
}

main().catch((error) => {
  console.error(error instanceof InputError ? `error: ${error.message}` : error);
  process.exitCode = 1;
});
