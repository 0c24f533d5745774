/**
 * Text to token ids, equal to chemkd_tf.text.tokenization.BertTokenizer and so to google-research/bert's FullTokenizer.
 *
 * The rules, and the order in which they are applied, are those of the Python module; the tests compare the two on
 * test/hard_cases.json. What a character is (punctuation, accent, capital) is the browser's to say. It may know
 * characters that TensorFlow's older Unicode tables don't: README.md names them.
 */

import { END, PAD, START, UNKNOWN } from "./vocabulary.js";

// Control and format characters, U+FFFD, and halves of surrogate pairs, which UTF-8 can't hold. One pass: what is left
// after dropping a character between two halves must not become a pair.
const REMOVED = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\p{Cf}\p{Cs}\u{FFFD}]+/gu;
const WHITE_SPACE = /[\t\n\r\p{Z}]/gu;
const ACCENTS = /\p{Mn}+/gu;
const ALONE = new RegExp(
  "[!-/:-@\\[-`{-~\\p{P}" + // all ASCII symbols, and Unicode's punctuation
    "\\u{4E00}-\\u{9FFF}\\u{3400}-\\u{4DBF}\\u{20000}-\\u{2A6DF}\\u{2A700}-\\u{2B73F}" +
    "\\u{2B740}-\\u{2B81F}\\u{2B820}-\\u{2CEAF}\\u{F900}-\\u{FAFF}\\u{2F800}-\\u{2FA1F}]",
  "gu",
);
const LONGEST_WORD = 200; // characters (code points); a longer word is [UNK]

/**
 * Cleans text as BERT's BasicTokenizer does, short of splitting it.
 *
 * @param {string} text any string
 * @param {boolean} doLowerCase lower-case, decompose (NFD) and drop accents
 * @returns {string}
 */
export function normalize(text, doLowerCase = true) {
  const clean = text.replace(REMOVED, "").replace(WHITE_SPACE, " ");
  // toLowerCase, not toLocaleLowerCase: Turkish has another lower-case I.
  return doLowerCase ? clean.toLowerCase().normalize("NFD").replace(ACCENTS, "") : clean;
}

/**
 * Splits normalised text into the words that WordPiece sees: at spaces, around ideographs and punctuation.
 *
 * @param {string} normalized what `normalize` returned
 * @returns {string[]}
 */
export function splitWords(normalized) {
  return normalized.replace(ALONE, " $& ").split(" ").filter(Boolean);
}

/** @typedef {{id: number, token: string, word: string}} Piece an id, its entry, and the word that it is a piece of */

/** Strings to token ids. */
export class BertTokenizer {
  /**
   * @param {Map<string, number>} vocabulary ids by entry
   * @param {boolean} doLowerCase must agree with how the model was trained
   */
  constructor(vocabulary, doLowerCase = true) {
    this.vocabulary = vocabulary;
    this.doLowerCase = doLowerCase;
    this.padId = vocabulary.get(PAD);
    this.unknownId = vocabulary.get(UNKNOWN);
    this.startId = vocabulary.get(START);
    this.endId = vocabulary.get(END);
    this._longestEntry = 0;
    for (const entry of vocabulary.keys()) this._longestEntry = Math.max(this._longestEntry, entry.length);
  }

  /**
   * Returns the pieces of a text, without special tokens. A literal "[MASK]" is three words, never the special token.
   *
   * @param {string} text
   * @returns {Piece[]}
   */
  tokenize(text) {
    return splitWords(normalize(text, this.doLowerCase)).flatMap((word) => this._piecesOf(word));
  }

  /**
   * Returns a row for the model, `[CLS] ids... [SEP]`, cut at the end.
   *
   * @param {Piece[]} pieces what `tokenize` returned
   * @param {number} maxSeqLength most ids of the row, the two special tokens among them
   * @returns {Int32Array}
   */
  encode(pieces, maxSeqLength) {
    const ids = pieces.slice(0, maxSeqLength - 2).map((piece) => piece.id);
    return Int32Array.of(this.startId, ...ids, this.endId);
  }

  /** Greedy, longest match first; "##" before every piece but the first. */
  _piecesOf(word) {
    const unknown = [{ id: this.unknownId, token: UNKNOWN, word }];
    // Code units first: counting characters takes a pass, and hardly any word is that long.
    if (word.length > LONGEST_WORD && [...word].length > LONGEST_WORD) return unknown;
    const pieces = [];
    for (let start = 0; start < word.length; ) {
      const prefix = pieces.length ? "##" : "";
      let end = Math.min(word.length, start + this._longestEntry - prefix.length);
      let token, id;
      for (; end > start; end--) {
        token = prefix + word.slice(start, end);
        id = this.vocabulary.get(token);
        if (id !== undefined) break;
      }
      if (end <= start) return unknown;
      pieces.push({ id, token, word });
      start = end;
    }
    return pieces;
  }
}
