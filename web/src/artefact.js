/** artefact.json: what lies beside an exported model, read and compared with the vocabulary. */

import { InputError } from "./input_error.js";
import { END, PAD, START, UNKNOWN } from "./vocabulary.js";

/**
 * @typedef {object} Artefact
 * @property {string[]} labels names of the classes, in the order of the probabilities
 * @property {number} maxSeqLength most ids of a row, the two special tokens among them
 * @property {boolean} doLowerCase of the tokeniser
 * @property {string} runId of the training; "" where none is given
 */

/**
 * Reads artefact.json.
 *
 * @param {string} text the file
 * @param {Map<string, number>} vocabulary of the vocab.txt beside it
 * @param {string} name of the file, for messages
 * @returns {Artefact}
 * @throws {InputError} not an artefact.json, one of a model that can't run here, or another model's vocabulary
 */
export function parseArtefact(text, vocabulary, name = "artefact.json") {
  const refuse = (found) => {
    throw new InputError(`${name}: ${found}; export the classifier again with --export_formats=onnx`);
  };
  let values;
  try {
    values = JSON.parse(text);
  } catch {
    refuse("not JSON");
  }
  const { labels, max_seq_length: maxSeqLength, do_lower_case: doLowerCase } = values ?? {};
  if (!Array.isArray(labels) || !labels.length || labels.some((label) => typeof label !== "string")) {
    refuse("labels is no list of names");
  }
  if (!Number.isInteger(maxSeqLength) || maxSeqLength < 2) refuse("max_seq_length is no number of tokens");
  if (typeof doLowerCase !== "boolean") refuse("do_lower_case is neither true nor false");
  const tokenizer = values.tokenizer ?? "wordpiece";
  if (tokenizer !== "wordpiece") {
    throw new InputError(`${name}: the model reads ${tokenizer}, the page knows wordpiece alone; use another model`);
  }
  const size = values.architecture?.vocabulary_size;
  if (Number.isInteger(size) && size !== vocabulary.size) {
    refuse(`the model has ${size} entries, the vocab.txt beside it ${vocabulary.size}`);
  }
  const ids = { pad_id: PAD, unknown_id: UNKNOWN, start_id: START, end_id: END };
  for (const [key, token] of Object.entries(ids)) {
    if (key in values && values[key] !== vocabulary.get(token)) {
      refuse(`${key} is ${values[key]}, but ${token} is ${vocabulary.get(token)} in the vocab.txt beside it`);
    }
  }
  return { labels, maxSeqLength, doLowerCase, runId: values.run_id ?? "" };
}
