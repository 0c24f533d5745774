import assert from "node:assert/strict";
import { test } from "node:test";

import { parseArtefact } from "../src/artefact.js";

const vocabulary = new Map(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "酸"].map((entry, id) => [entry, id]));
const GOOD = {
  labels: ["安全", "设备"],
  max_seq_length: 128,
  do_lower_case: true,
  pad_id: 0,
  unknown_id: 1,
  start_id: 2,
  end_id: 3,
  architecture: { vocabulary_size: 6 },
  run_id: "0123456789ab",
};
const read = (changes) => parseArtefact(JSON.stringify({ ...GOOD, ...changes }), vocabulary, "a");

test("a description is read", () => {
  assert.deepEqual(read({ tokenizer: "wordpiece" }), {
    labels: ["安全", "设备"],
    maxSeqLength: 128,
    doLowerCase: true,
    runId: "0123456789ab",
  });
});

for (const [what, changes, message] of [
  ["without labels", { labels: undefined }, /^a: labels is no list of names/],
  ["with numbers for labels", { labels: [1, 2] }, /^a: labels is no list of names/],
  ["without a length", { max_seq_length: null }, /^a: max_seq_length is no number/],
  ["that does not say how it lower-cases", { do_lower_case: "yes" }, /^a: do_lower_case is neither/],
  ["of another vocabulary", { architecture: { vocabulary_size: 8000 } }, /the model has 8000 entries.* 6;/],
  ["of a vocabulary in another order", { pad_id: 5 }, /^a: pad_id is 5, but \[PAD\] is 0/],
  ["of a model of words", { tokenizer: "words" }, /the model reads words, the page knows wordpiece alone/],
]) {
  test(`a description ${what} is refused in one line`, () => {
    assert.throws(() => read(changes), (error) => error.name === "InputError" && message.test(error.message) && !error.message.includes("\n"));
  });
}

test("what is not JSON is refused, and so is what is no object", () => {
  for (const text of ["<!doctype html>", "", "null", "[]", "3"]) {
    assert.throws(() => parseArtefact(text, vocabulary, "a"), { name: "InputError" });
  }
});
