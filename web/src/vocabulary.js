/** A BERT vocabulary: UTF-8, one entry a line, the line's number (from 0) is the id. */

import { InputError } from "./input_error.js";

export const PAD = "[PAD]";
export const UNKNOWN = "[UNK]";
export const START = "[CLS]";
export const END = "[SEP]";
const NEEDED = [PAD, UNKNOWN, START, END, "[MASK]"];

/**
 * Reads vocab.txt by the rules of chemkd_tf.text.vocabulary.load_vocabulary.
 *
 * @param {ArrayBuffer|Uint8Array} bytes the file; lines end in LF or CRLF, a byte-order mark is passed over
 * @param {string} name of the file, for messages
 * @returns {Map<string, number>} ids by entry, in the file's order
 * @throws {InputError} not UTF-8, an empty line, an entry twice, a special token missing
 */
export function parseVocabulary(bytes, name = "vocab.txt") {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new InputError(`${name}: not UTF-8; copy the vocabulary of the export again`);
  }
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  const ids = new Map();
  for (const [number, line] of lines.entries()) {
    const entry = line.endsWith("\r") ? line.slice(0, -1) : line;
    if (!entry) throw new InputError(`${name}:${number + 1}: empty line; copy the vocabulary of the export again`);
    if (ids.has(entry)) {
      throw new InputError(`${name}:${number + 1}: ${entry} stands on line ${ids.get(entry) + 1} already`);
    }
    ids.set(entry, number);
  }
  for (const token of NEEDED) {
    if (!ids.has(token)) throw new InputError(`${name}: no ${token} among its ${ids.size} entries: no BERT vocabulary`);
  }
  return ids;
}
