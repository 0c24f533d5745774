"""Words instead of pieces: what the student without distillation reads (paper section 4.3.1).

The paper lower-cases and splits by white space; Chinese has none between words, so jieba finds them
(docs/deviations.md). Outside of Python there is no jieba: a model of words is not exported.
"""

import collections
import types
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from chemkd_tf.text.segmentation import WordSegmenter
from chemkd_tf.text.tokenization import Tokenizer, normalize
from chemkd_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary, vocabulary_of


class WordSplitter:
    """Texts to their words: normalised as BERT normalises, then cut by jieba; white space is dropped.

    Args:
        do_lower_case: lower-case and strip accents.
        user_dictionary: a file of more words in jieba's format; empty for none.

    Raises:
        InputError: see `WordSegmenter`.
    """

    def __init__(self, do_lower_case: bool = True, user_dictionary: str = ""):
        self._do_lower_case = do_lower_case
        self._segmenter = WordSegmenter(user_dictionary, str.lower if do_lower_case else str)

    def __call__(self, texts: Sequence[str]) -> list[list[str]]:
        """Returns the words of each text."""
        if not texts:
            return []
        return self.of_normalized(normalize(tf.constant(list(texts)), self._do_lower_case).numpy())

    def of_normalized(self, texts: Iterable[bytes]) -> list[list[str]]:
        """The same for texts that `tokenization.normalize` returned: UTF-8 without line breaks."""
        # One call for all texts is many times as fast as one for each; a line break is a word by itself.
        joined = "\n".join(text.decode("utf-8") for text in texts)
        starts = [*np.flatnonzero(self._segmenter.word_starts(joined)).tolist(), len(joined)] if joined else [0]
        rows: list[list[str]] = [[]]
        for start, end in zip(starts, starts[1:], strict=False):
            word = joined[start:end]
            if word == "\n":
                rows.append([])
            elif not word.isspace():
                rows[-1].append(word)
        return rows


class WordTokenizer(Tokenizer):
    """Strings to the ids of their words; a word that the vocabulary lacks is [UNK].

    It has the interface of `BertTokenizer` and stands in a tf.function, but calls back into Python: a SavedModel can't
    hold it.

    Args:
        vocabulary: words, behind the special tokens (`word_vocabulary`).
        do_lower_case: see `WordSplitter`.
        user_dictionary: likewise.
    """

    def __init__(self, vocabulary: Vocabulary, do_lower_case: bool = True, user_dictionary: str = ""):
        super().__init__(vocabulary, name="word_tokenizer")
        self.do_lower_case = do_lower_case
        self._splitter = WordSplitter(do_lower_case, user_dictionary)
        self._unknown_id = vocabulary.unknown_id
        # A proxy: TensorFlow would wrap a dict to track it, and every look-up would pass through the wrapper.
        self._ids = types.MappingProxyType({word: index for index, word in enumerate(vocabulary.tokens)})

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Maps string `[B]` to the ids of the words, ragged int32 `[B, (T)]`."""
        word_ids, lengths = tf.numpy_function(
            self._look_up, [normalize(texts, self.do_lower_case)], [tf.int32, tf.int64], stateful=False
        )
        word_ids.set_shape([None])
        lengths.set_shape([None])
        return tf.RaggedTensor.from_row_lengths(word_ids, lengths, validate=False)

    def _look_up(self, normalized: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = self._splitter.of_normalized(normalized) if len(normalized) else []
        word_ids = [self._ids.get(word, self._unknown_id) for row in rows for word in row]
        return np.array(word_ids, np.int32), np.array([len(row) for row in rows], np.int64)


def word_vocabulary(rows: Iterable[Sequence[str]], min_count: int, max_words: int) -> Vocabulary:
    """Returns the special tokens and the words of `rows`, the most frequent first, equally frequent ones in order.

    Args:
        rows: words of each training text.
        min_count: how often a word must occur.
        max_words: most words; 0 for all.
    """
    counts = collections.Counter(word for row in rows for word in row)
    words = [word for word in counts if counts[word] >= min_count and word not in SPECIAL_TOKENS]
    words.sort(key=lambda word: (-counts[word], word))
    return vocabulary_of(words[: max_words or None])
