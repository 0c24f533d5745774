"""Text to token ids with TensorFlow ops, equal to google-research/bert's FullTokenizer.

The same few ops run eagerly, in a tf.data pipeline and inside a SavedModel, so the id that a model was trained on is
the id that it is served. Equality holds for every character that Python's `unicodedata` and the Unicode tables within
TensorFlow agree on; they differ in characters that Unicode 14 and later added (a few dead scripts).
"""

import tensorflow as tf
import tensorflow_text as tf_text

from chemkd_tf.text.vocabulary import UNKNOWN, Vocabulary

# Google's rules as RE2 character classes (google-research/bert, tokenization.py). Python's split(), which it calls
# after its own cleaning, also splits at U+2028 and U+2029, hence \p{Z}.
WHITE_SPACE = r"[\t\n\r\p{Z}]"
REMOVED = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\p{Cf}\x{FFFD}]+"
IDEOGRAPHS = (
    r"\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}"
    r"\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}"
)
PUNCTUATION = r"!-/:-@\[-`{-~\p{P}"  # All ASCII symbols, and Unicode's punctuation.
LONGEST_WORD = 200  # Characters; a longer word is [UNK].
LONGEST_WORD_BYTES = 4 * LONGEST_WORD  # UTF-8 takes at most 4 a character.
# Texts that may hold a longer word. The exact class, counted to 201, overflows RE2; this one counts a few characters
# too many (rare punctuation, say), never one too few.
PERHAPS_LONG_WORD = (
    rf"(?s).*[^ !-/:-@\[-`{{-~\x{{3001}}-\x{{3003}}\x{{3400}}-\x{{4DBF}}\x{{4E00}}-\x{{9FFF}}]{{{LONGEST_WORD + 1}}}.*"
)


def normalize(texts: tf.Tensor, do_lower_case: bool = True) -> tf.Tensor:
    """Cleans text as BERT's BasicTokenizer does, short of splitting it.

    Undecodable bytes, U+0000, U+FFFD, control and format characters vanish, white space becomes plain spaces; with
    `do_lower_case` letters are lower-cased, decomposed (NFD) and lose their accents (category Mn).

    Args:
        texts: string tensor of any shape, meant as UTF-8.
        do_lower_case: as in google-research/bert.

    Returns:
        String tensor of the same shape, valid UTF-8.
    """
    # Invalid bytes become U+FFFD, which the next line removes: together Python's decode("utf-8", "ignore").
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    texts = tf.strings.regex_replace(texts, REMOVED, "")
    texts = tf.strings.regex_replace(texts, WHITE_SPACE, " ")
    if do_lower_case:
        # ASCII first: the Unicode rule takes the machine's language, and Turkish has another lower-case I.
        texts = tf.strings.lower(tf.strings.lower(texts), encoding="utf-8")
        texts = tf_text.normalize_utf8(texts, "NFD")
        texts = tf.strings.regex_replace(texts, r"\p{Mn}+", "")
    return texts


def split_words(normalized: tf.Tensor) -> tf.RaggedTensor:
    """Splits normalised text into the words that WordPiece sees: at spaces, around ideographs and punctuation.

    Args:
        normalized: string tensor [B], what `normalize` returned.

    Returns:
        Ragged string tensor [B, (words)].
    """
    return tf.strings.split(tf.strings.regex_replace(normalized, f"[{PUNCTUATION}{IDEOGRAPHS}]", r" \0 "))


def _blank_long_words(normalized: tf.Tensor) -> tf.Tensor:
    """Replaces words of more than 200 characters by one that is too long for the WordPiece op, which counts bytes.

    Args:
        normalized: string [B].

    Returns:
        String [B]; only texts that hold such a word may have changed.
    """
    rows = tf.where(tf.strings.regex_full_match(normalized, PERHAPS_LONG_WORD))
    words = split_words(tf.gather_nd(normalized, rows))
    long = tf.strings.length(words.flat_values, unit="UTF8_CHAR") > LONGEST_WORD
    words = words.with_flat_values(tf.where(long, "x" * (LONGEST_WORD_BYTES + 1), words.flat_values))
    return tf.tensor_scatter_nd_update(normalized, rows, tf.strings.reduce_join(words, axis=1, separator=" "))


class Tokenizer(tf.Module):
    """What every tokeniser can do: frame ids as a batch. A kind of tokeniser adds `tokenize`.

    Args:
        vocabulary: the entries.
        name: of the module.
    """

    def __init__(self, vocabulary: Vocabulary, name: str):
        super().__init__(name=name)
        self.vocabulary_size = vocabulary.size
        self._pad_id, self._start_id, self._end_id = vocabulary.pad_id, vocabulary.start_id, vocabulary.end_id

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Maps string `[B]` to the token ids of each text, without special tokens: ragged int32 `[B, (T)]`."""
        raise NotImplementedError

    def encode(self, texts: tf.Tensor, max_seq_length: int, pad_to_max: bool = False) -> dict[str, tf.Tensor]:
        """Returns a batch for the model: `[CLS] ids... [SEP]`, cut at the end, padded on the right.

        Args:
            texts: string [B], UTF-8; an empty text gives `[CLS] [SEP]`.
            max_seq_length: most tokens of a row, the two special tokens among them; at least 2.
            pad_to_max: pad to `max_seq_length` instead of to the longest row.

        Returns:
            `token_ids`, `segment_ids` (zeros) and `padding_mask` (1 = token, 0 = padding), int32 [B, T].
        """
        pieces = self.tokenize(texts)[:, : max_seq_length - 2]
        rows = pieces.nrows()
        special = [tf.fill([rows, 1], tf.constant(token_id, tf.int32)) for token_id in (self._start_id, self._end_id)]
        pieces = tf.concat([special[0], pieces, special[1]], axis=1)
        lengths = pieces.row_lengths()
        shape = [None, max_seq_length if pad_to_max else None]
        token_ids = pieces.to_tensor(default_value=self._pad_id, shape=shape)
        padding_mask = tf.sequence_mask(lengths, tf.shape(token_ids)[1], dtype=tf.int32)
        padding_mask.set_shape(token_ids.shape)
        return {"token_ids": token_ids, "segment_ids": tf.zeros_like(token_ids), "padding_mask": padding_mask}


class BertTokenizer(Tokenizer):
    """Strings to token ids, equal to google-research/bert's FullTokenizer (tokenization.py).

    A tf.Module: as an attribute of the module that is exported, it works inside a SavedModel's signature, which then
    needs `import tensorflow_text` before it is loaded and nothing of this package.

    Args:
        vocabulary: the entries.
        do_lower_case: lower-case and strip accents; must agree with how the vocabulary was made.
    """

    def __init__(self, vocabulary: Vocabulary, do_lower_case: bool = True):
        super().__init__(vocabulary, name="bert_tokenizer")
        self.do_lower_case = do_lower_case
        self._word_pieces = tf_text.FastWordpieceTokenizer(
            vocab=list(vocabulary.tokens),
            unknown_token=UNKNOWN,
            token_out_type=tf.int32,
            max_bytes_per_word=LONGEST_WORD_BYTES,
        )

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Returns the token ids of each text, without special tokens.

        A literal "[MASK]" in the text is three words, as Google's is, and never the special token.

        Args:
            texts: string [B], UTF-8; undecodable bytes are passed over.

        Returns:
            Ragged int32 [B, (T)].
        """
        return self.tokenize_with_offsets(texts)[0]

    def tokenize_with_offsets(
        self, texts: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor, tf.Tensor]:
        """Returns the token ids and where each stands in the normalised text.

        Args:
            texts: string [B], UTF-8.

        Returns:
            Token ids (ragged int32 [B, (T)]), first byte and byte behind the last of each piece in the normalised text
            (ragged int64 [B, (T)]), and the normalised texts (string [B]; a filler stands for a word of more than 200
            characters).
        """
        normalized = _blank_long_words(normalize(texts, self.do_lower_case))
        token_ids, starts, ends = self._word_pieces.tokenize_with_offsets(normalized)
        return token_ids, tf.cast(starts, tf.int64), tf.cast(ends, tf.int64), normalized
