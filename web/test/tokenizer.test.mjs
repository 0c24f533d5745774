import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { BertTokenizer } from "../src/tokenizer.js";
import { parseVocabulary } from "../src/vocabulary.js";

const hard = JSON.parse(readFileSync(new URL("hard_cases.json", import.meta.url), "utf8"));
const vocabulary = new Map(hard.vocabulary.map((entry, id) => [entry, id]));

for (const item of hard.cases) {
  test(`${item.name}${item.do_lower_case ? "" : ", cased"}`, () => {
    const tokenizer = new BertTokenizer(vocabulary, item.do_lower_case);
    const pieces = tokenizer.tokenize(item.parts.map(([string, count]) => string.repeat(count)).join(""));
    const ids = pieces.map((piece) => piece.id);
    if (item.ids) {
      assert.deepEqual(ids, item.ids);
    } else {
      assert.equal(ids.length, item.num_ids);
      assert.equal(createHash("sha256").update(ids.join(",")).digest("hex"), item.sha256);
    }
    assert.deepEqual(Array.from(tokenizer.encode(pieces, hard.row_length)), item.row);
    for (const piece of pieces) assert.equal(hard.vocabulary[piece.id], piece.token);
  });
}

test("a piece knows the word that it comes from", () => {
  const pieces = new BertTokenizer(vocabulary).tokenize("NaOH Zürich");
  assert.deepEqual(pieces.map(({ token, word }) => [token, word]), [
    ["na", "naoh"],
    ["##oh", "naoh"],
    ["[UNK]", "zurich"],
  ]);
});

const bytes = (text) => new TextEncoder().encode(text);
const SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";

test("a vocabulary's line is its id, whatever the line ends in", () => {
  for (const text of [SPECIAL + "酸\n", SPECIAL + "酸", "\ufeff" + (SPECIAL + "酸\n").replaceAll("\n", "\r\n")]) {
    assert.deepEqual([...parseVocabulary(bytes(text))].at(-1), ["酸", 5]);
    assert.equal(parseVocabulary(bytes(text)).get("[PAD]"), 0);
  }
});

test("an entry may hold what other languages take for the end of a line", () => {
  assert.equal(parseVocabulary(bytes(SPECIAL + "\u2028\n\u0085\nb\n")).get("b"), 7);
});

for (const [what, content, message] of [
  ["an empty line", SPECIAL + "a\n\nb\n", /^v:7: empty line/],
  ["an entry twice", SPECIAL + "a\na\n", /^v:7: a stands on line 6 already/],
  ["no [MASK]", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n", /^v: no \[MASK\] among its 4 entries/],
]) {
  test(`a vocabulary with ${what} is refused`, () => {
    assert.throws(() => parseVocabulary(bytes(content), "v"), { name: "InputError", message });
  });
}

test("a vocabulary that is not UTF-8 is refused", () => {
  assert.throws(() => parseVocabulary(Uint8Array.of(0xff, 0xfe), "v"), { name: "InputError", message: /not UTF-8/ });
});
