"""The words of jieba's dictionary with their parts of speech: what a word may be replaced by."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from chemkd_tf.text.block_tokenization import is_ideograph
from chemkd_tf.text.segmentation import dictionary_file, read_user_dictionary
from chemkd_tf.text.vocabulary import Vocabulary

# A word that the dictionary does not know, or knows without its part of speech: in a domain's text a noun.
UNKNOWN_CLASS = "n"
NUMERAL_CLASS = "m"
# Rarer words of the dictionary are mostly names and slips of the pen; they are known, but never proposed.
_LEAST_FREQUENCY = 10


class Lexicon:
    """Words and their classes. A class is the first letter of jieba's tag: n noun, v verb, a adjective, d adverb, ...

    Args:
        user_dictionary: a file of more words in jieba's format; empty for none.

    Raises:
        InputError: `user_dictionary` can't be read or has a line that is not in jieba's format (names the line).
    """

    def __init__(self, user_dictionary: str = ""):
        self._user_words = read_user_dictionary(user_dictionary) if user_dictionary else []

    def __contains__(self, word: str) -> bool:
        return word in self._entries.classes

    def class_of(self, word: str) -> str:
        """Returns the class of `word`; of an unknown one `UNKNOWN_CLASS`."""
        return self._entries.classes.get(word, UNKNOWN_CLASS)

    def words(self) -> list[str]:
        """Returns the words that may be proposed, the user's first, then in the dictionary's order."""
        return self._entries.proposable

    @functools.cached_property
    def _entries(self) -> "_Entries":
        classes: dict[str, str] = {}
        proposable: dict[str, None] = {word: None for word, _, _ in self._user_words}
        with open(dictionary_file(), encoding="utf-8") as file:
            for line in file:
                word, frequency, tag = line.split()
                classes[word] = tag[0]
                if int(frequency) >= _LEAST_FREQUENCY:
                    proposable[word] = None
        for word, _, tag in self._user_words:
            classes[word] = tag[0] if tag else classes.get(word, UNKNOWN_CLASS)
        return _Entries(classes, list(proposable))


class _Entries(NamedTuple):
    classes: dict[str, str]
    proposable: list[str]


class SpelledWords:
    """Chinese words by length and class, spelled in the ids of a vocabulary: one token a character.

    Args:
        words: of any kind; only those of ideographs that all have an entry are kept.
        lexicon: says their classes.
        vocabulary: the entries.
    """

    def __init__(self, words: Iterable[str], lexicon: Lexicon, vocabulary: Vocabulary):
        ids = {token: index for index, token in enumerate(vocabulary.tokens) if is_chinese(token)}
        found: dict[tuple[int, str], list[str]] = {}
        for word in words:
            if all(character in ids for character in word):
                found.setdefault((len(word), lexicon.class_of(word)), []).append(word)
        self._found = {
            key: (words, np.array([[ids[character] for character in word] for word in words], np.int32))
            for key, words in found.items()
        }

    def of(self, length: int, word_class: str) -> tuple[list[str], np.ndarray]:
        """Returns the words of so many characters and their token ids, int32 [N, length]; N may be 0."""
        return self._found.get((length, word_class), ([], np.zeros((0, length), np.int32)))


def is_chinese(word: str) -> bool:
    """Whether `word` has ideographs alone, of which BERT's tokeniser makes one token each."""
    return bool(word) and all(is_ideograph(ord(character)) for character in word)
