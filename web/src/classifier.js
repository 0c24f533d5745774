/** An exported ONNX classifier in the browser: strings in, probabilities out. Nothing leaves the device. */

import * as ort from "onnxruntime-web/wasm";

import { parseArtefact } from "./artefact.js";
import { InputError } from "./input_error.js";
import { BertTokenizer } from "./tokenizer.js";
import { parseVocabulary } from "./vocabulary.js";

export const ARTEFACT_FILE = "model/artefact.json";
export const VOCABULARY_FILE = "model/vocab.txt";
export const MODEL_FILE = "model/model.onnx";
export const RUNTIME_FILE = "ort/ort-wasm-simd-threaded.wasm";

const INPUT = "token_ids";
const OUTPUT = "probabilities";

/**
 * @typedef {object} Answer
 * @property {Float32Array} probabilities in the order of `labels`
 * @property {import("./tokenizer.js").Piece[]} pieces of the whole text, without special tokens
 * @property {number} numUsed how many of them the model has read
 * @property {number} tokenizerMilliseconds
 * @property {number} modelMilliseconds
 */

export class Classifier {
  /**
   * Loads runtime, model, vocabulary and description from the folders `ort` and `model` beside the page.
   *
   * @param {(bytes: number) => void} onBytes called with the number of bytes read so far
   * @param {AbortSignal} signal ends what is still being read
   * @returns {Promise<Classifier>}
   * @throws {InputError} a file is missing or not what it should be
   */
  static async load(onBytes = () => {}, signal = undefined) {
    let total = 0;
    const read = (file) => download(file, signal, (bytes) => onBytes((total += bytes)));
    const [artefact, vocabulary, model, runtime] = await Promise.all(
      [ARTEFACT_FILE, VOCABULARY_FILE, MODEL_FILE, RUNTIME_FILE].map(read),
    );
    const entries = parseVocabulary(vocabulary, VOCABULARY_FILE);
    const description = parseArtefact(new TextDecoder().decode(artefact), entries, ARTEFACT_FILE);
    const classifier = new Classifier(description, entries, await startSession(model, runtime));
    // The first call takes longest, and shows whether model and description belong together.
    const { probabilities } = await classifier.classify("");
    if (probabilities.length !== description.labels.length) {
      throw new InputError(
        `${MODEL_FILE}: ${probabilities.length} classes, but artefact.json names ${description.labels.length}; ` +
          "copy both from one export",
      );
    }
    return classifier;
  }

  /** Use `load`. */
  constructor(description, vocabulary, session) {
    this.labels = description.labels;
    this.maxSeqLength = description.maxSeqLength;
    this.runId = description.runId;
    this.tokenizer = new BertTokenizer(vocabulary, description.doLowerCase);
    this._session = session;
  }

  /**
   * Classifies one text.
   *
   * @param {string} text any string; the empty one has an answer too
   * @returns {Promise<Answer>}
   */
  async classify(text) {
    const start = performance.now();
    const pieces = this.tokenizer.tokenize(text);
    const row = this.tokenizer.encode(pieces, this.maxSeqLength);
    const tokenized = performance.now();
    const outputs = await this._session.run({ [INPUT]: new ort.Tensor("int32", row, [1, row.length]) });
    return {
      probabilities: outputs[OUTPUT].data,
      pieces,
      numUsed: row.length - 2,
      tokenizerMilliseconds: tokenized - start,
      modelMilliseconds: performance.now() - tokenized,
    };
  }
}

async function download(file, signal, onBytes) {
  let response;
  try {
    response = await fetch(file, { signal });
  } catch {
    throw new InputError(`${file}: can't be read; serve the page's folder (python -m http.server) and open it there`);
  }
  if (!response.ok) {
    throw new InputError(`${file}: ${response.status} ${response.statusText}; build the page again with make web`);
  }
  const parts = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    onBytes(value.length);
  }
  return new Blob(parts).arrayBuffer();
}

async function startSession(model, runtime) {
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = runtime;
  // More threads need headers that a plain file server doesn't send, and so small a model gains little from them.
  ort.env.wasm.numThreads = 1;
  let session;
  try {
    session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  } catch (error) {
    const reason = String(error?.message ?? error).split("\n")[0];
    throw new InputError(`${MODEL_FILE}: ONNX Runtime can't read it (${reason}); is it an .onnx of this project?`);
  }
  if (!session.inputNames.includes(INPUT) || !session.outputNames.includes(OUTPUT)) {
    throw new InputError(
      `${MODEL_FILE}: maps ${session.inputNames} to ${session.outputNames}, not ${INPUT} to ${OUTPUT}; ` +
        "is it an .onnx of this project?",
    );
  }
  return session;
}
