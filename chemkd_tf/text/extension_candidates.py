"""What a corpus asks of a vocabulary: characters that are [UNK], and words that fall into many pieces.

BERT's tokeniser makes a word of every ideograph before WordPiece looks for entries. An entry of several ideographs is
never reached: 聚氯乙烯 is four tokens with any vocabulary, and what can be added for Chinese is single characters. What
can be added besides are letters and signs (℃, α, ₂), each as `x` and `##x` where it is needed, and words with letters:
naoh, h2so4, pvc, and ##ml for 50ml.
"""

import re
from collections import Counter
from typing import NamedTuple

from chemkd_tf.text.block_tokenization import BlockTokenizer
from chemkd_tf.text.vocabulary import CONTINUATION, Vocabulary
from chemkd_tf.text.vocabulary_extension import extend
from chemkd_tf.text.word_pieces import WordPieces

CHARACTER, WORD = "character", "word"
MOST_WORDS_COUNTED = 1 << 19
MOST_WORDS_REMEMBERED = 1 << 16
_LETTER = re.compile(r"[^\W\d_]")


class NewEntry(NamedTuple):
    """An entry to add.

    Attributes:
        token: as it will stand in the vocabulary.
        kind: CHARACTER (without it something is [UNK]) or WORD (without it, several pieces).
        frequency: of a character, how often it is lacking; of a word, how often it occurs by itself or, with "##",
            behind something that is no letter.
    """

    token: str
    kind: str
    frequency: int


class Choice(NamedTuple):
    """Entries to add and what was left out.

    Attributes:
        entries: characters, then words.
        left_out: number of candidates without an entry, by reason.
    """

    entries: list[NewEntry]
    left_out: dict[str, int]


class BoundedCounter:
    """Counts words in bounded memory: when there are too many, the rarer half is forgotten (lossy counting).

    Manku and Motwani, "Approximate Frequency Counts over Data Streams", VLDB 2002.

    Args:
        most: words kept.

    Attributes:
        counts: word to count, at most `lacking` too low.
        lacking: highest count that a word may have lost; 0 while nothing was forgotten.
    """

    def __init__(self, most: int = MOST_WORDS_COUNTED):
        self.counts: Counter[str] = Counter()
        self.lacking = 0
        self._most = most

    def add(self, word: str, count: int) -> None:
        """Adds `count` occurrences of `word`."""
        self.counts[word] += count
        if len(self.counts) > self._most:
            rare = sorted(self.counts.values())[len(self.counts) // 2]
            self.counts = Counter({word: count for word, count in self.counts.items() if count > rare})
            self.lacking += rare


class _Word(NamedTuple):
    """What matters of a word, worked out when it is first met."""

    missing: tuple[str, ...]
    candidate: str | None
    may_break: bool


class Candidates:
    """Counts what a vocabulary lacks for a corpus.

    Memory is bounded: missing entries are single characters, other candidates a `BoundedCounter`.

    Args:
        vocabulary: the old one.
        do_lower_case: as the tokeniser's.
    """

    def __init__(self, vocabulary: Vocabulary, do_lower_case: bool = True):
        self._vocabulary = vocabulary
        self._tokenizer = BlockTokenizer(vocabulary, do_lower_case)
        self._pieces = WordPieces(vocabulary)
        self._missing: Counter[str] = Counter()
        self._words = BoundedCounter()
        self._may_break = BoundedCounter()
        self._met: dict[str, _Word] = {}

    @property
    def lacking(self) -> int:
        """How much too low the frequency of a word may be."""
        return self._words.lacking

    def add(self, text: str) -> None:
        """Counts a text of any number of lines."""
        characters, words = self._tokenizer.count_words(text)
        for character, count in characters.items():
            if character not in self._pieces:
                self._missing[character] += count
        if len(self._met) > MOST_WORDS_REMEMBERED:
            self._met.clear()
        for word, count in words.items():
            met = self._met.get(word)
            if met is None:
                met = self._met[word] = self._look_at(word)
            for token in met.missing:
                self._missing[token] += count
            if met.candidate:
                self._words.add(met.candidate, count)
            if met.may_break:
                self._may_break.add(word, count)

    def choose(self, most: int, min_frequency: int, min_word_length: int) -> Choice:
        """Chooses entries: characters by frequency, then words by the number of tokens that they save.

        No word that has pieces now becomes [UNK]: "pvc" is no entry if it would leave "pvcα" with a "##α" that the
        vocabulary lacks, where "pv" and "##cα" were entries.

        Args:
            most: entries.
            min_frequency: what is met less often gets no entry.
            min_word_length: shortest word in characters, without "##"; 0 for no words.
        """
        missing = _ranked({token: (count, count) for token, count in self._missing.items()}, min_frequency)
        characters = [NewEntry(token, CHARACTER, count) for token, count in missing[:most]]
        known = extend(self._vocabulary, [entry.token for entry in characters])
        words = self._ranked_words(WordPieces(known), min_frequency, min_word_length) if min_word_length else []
        room = most - len(characters)
        refused: set[str] = set()
        while True:
            chosen = [NewEntry(token, WORD, count) for token, count in words if token not in refused][:room]
            pieces = WordPieces(extend(known, [entry.token for entry in chosen]))
            broken = [word for word in self._may_break.counts if not pieces.split(word)]
            if not broken:
                break
            texts = {entry.token: entry.token.removeprefix(CONTINUATION) for entry in chosen}
            refused |= {token for token, text in texts.items() if any(text in word for word in broken)}
        left_out = {
            "characters_too_rare": len(self._missing) - len(missing),
            "characters_without_room": len(missing) - len(characters),
            "words_without_room": len(words) - len(refused) - len(chosen),
            "words_that_would_break_others": len(refused),
        }
        return Choice(characters + chosen, left_out)

    def _look_at(self, word: str) -> _Word:
        ids, missing = self._pieces.match(word)
        candidate = None
        letter = _LETTER.search(word)
        if letter and len(ids) + len(missing) > 1:
            before = self._pieces.match(word[: letter.start()])
            # If pieces cross the border, as "5m" and "##ol" do, an entry "##mol" would not be found.
            if before == (ids[: len(before.ids)], missing[: len(before.missing)]):
                candidate = (CONTINUATION if letter.start() else "") + word[letter.start() :]
        # WordPiece never goes back: where an entry ends that was not there, it goes on with what follows.
        may_break = (
            bool(ids) and not missing and any(CONTINUATION + character not in self._pieces for character in word[1:])
        )
        return _Word(tuple(missing), candidate, may_break)

    def _ranked_words(self, pieces: WordPieces, min_frequency: int, min_word_length: int) -> list[tuple[str, int]]:
        values = {}
        for token, count in self._words.counts.items():
            text = token.removeprefix(CONTINUATION)
            if count >= min_frequency and len(text) >= min_word_length:
                saved = len(pieces.split(text, continues=token.startswith(CONTINUATION))) - 1
                if saved > 0:
                    values[token] = (count * saved, count)
        return _ranked(values, min_frequency)


def _ranked(values: dict[str, tuple[int, int]], min_frequency: int) -> list[tuple[str, int]]:
    """Tokens with their frequency, the highest values first; of equal ones, in the order of their characters."""
    ranked = sorted(values.items(), key=lambda item: (-item[1][0], item[0]))
    return [(token, count) for token, (_, count) in ranked if count >= min_frequency]
