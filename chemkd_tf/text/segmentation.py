"""Chinese words (jieba) laid over WordPiece pieces: what whole-word masking masks together."""

import logging
import tempfile
import warnings
from collections.abc import Sequence

import numpy as np

with warnings.catch_warnings():  # jieba 0.42 imports pkg_resources and holds unescaped patterns; both only warn.
    warnings.simplefilter("ignore")
    import jieba

from chemkd_tf.text.vocabulary import CONTINUATION, Vocabulary


class WordSegmenter:
    """jieba's words, without jieba's habits: no log, and no cache file shared with every user of the machine.

    jieba marshals its dictionary to a file of fixed name in the shared temporary folder and trusts what it finds there;
    this one builds the dictionary anew (about a second) beside nobody.
    """

    def __init__(self):
        jieba.setLogLevel(logging.WARNING)
        self._tokenizer = jieba.Tokenizer()
        with tempfile.TemporaryDirectory(prefix="jieba-") as folder:
            self._tokenizer.tmp_dir = folder
            self._tokenizer.initialize()

    def words(self, text: str) -> list[str]:
        """Returns the words of `text`, white space and punctuation among them; joined, they are `text` again."""
        return self._tokenizer.lcut(text)


def continuation_flags(vocabulary: Vocabulary) -> np.ndarray:
    """Returns bool [V]: which entries continue a word ("##...")."""
    return np.array([token.startswith(CONTINUATION) and token != CONTINUATION for token in vocabulary.tokens])


def word_starts(
    row_lengths: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    continues: np.ndarray,
    words: Sequence[Sequence[str]],
) -> np.ndarray:
    """Says for each piece whether it starts a new unit of whole-word masking.

    A unit is the smallest run of pieces that splits neither a word of jieba nor a WordPiece word: a "##" piece always
    joins its predecessor, and two WordPiece words share a unit if a word of jieba overlaps both. (`15℃` is one word
    to WordPiece, `15 ##℃`, and two to jieba: one unit.)

    Args:
        row_lengths: int [B], pieces of each sentence; N is their sum.
        starts: int [N], first byte of each piece in its normalised sentence, all sentences in a row.
        ends: int [N], byte behind the last of each piece; [UNK] covers its whole word.
        continues: bool [N], whether the piece is a "##" piece.
        words: B lists of words which, joined, are the normalised sentences.

    Returns:
        bool [N]; the first piece of every sentence starts a unit.
    """
    # One long text of all the sentences: boundaries_before[p] = words that start before byte p.
    word_lengths = [len(word.encode("utf-8")) for sentence in words for word in sentence]
    words_per_sentence = np.array([len(sentence) for sentence in words], np.int64)
    word_ends = np.concatenate([[0], np.cumsum(word_lengths, dtype=np.int64)])
    sentence_offsets = word_ends[np.concatenate([[0], np.cumsum(words_per_sentence)])[:-1].astype(np.int64)]
    is_boundary = np.zeros(word_ends[-1] + 1, np.int64)
    is_boundary[word_ends[:-1]] = 1
    boundaries_before = np.concatenate([[0], np.cumsum(is_boundary)])

    piece_offsets = np.repeat(sentence_offsets, row_lengths)
    starts, ends = starts + piece_offsets, ends + piece_offsets
    previous_ends = np.concatenate([[0], ends[:-1]])
    first_of_sentence = np.zeros(len(starts), bool)
    first_of_sentence[(np.cumsum(row_lengths) - row_lengths)[row_lengths > 0]] = True
    previous_ends = np.where(first_of_sentence, starts, previous_ends)
    # A word that starts between the previous piece and this one keeps them apart.
    parted = boundaries_before[starts + 1] > boundaries_before[previous_ends]
    return first_of_sentence | (parted & ~continues)
