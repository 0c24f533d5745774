/**
 * Tokenises for a comparison with Python: `node tools/tokenize.mjs VOCAB.txt TEXTS.json [--cased]` prints the ids, a JSON list of
 * lists.
 */

import { readFileSync } from "node:fs";

import { BertTokenizer } from "../src/tokenizer.js";
import { parseVocabulary } from "../src/vocabulary.js";

const [vocabulary, texts, cased] = process.argv.slice(2);
const tokenizer = new BertTokenizer(parseVocabulary(readFileSync(vocabulary), vocabulary), cased !== "--cased");
const rows = JSON.parse(readFileSync(texts, "utf8")).map((text) => tokenizer.tokenize(text).map((piece) => piece.id));
process.stdout.write(JSON.stringify(rows));
