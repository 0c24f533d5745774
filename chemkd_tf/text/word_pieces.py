"""WordPiece on one word: greedily the longest entry first (google-research/bert, WordpieceTokenizer)."""

from typing import NamedTuple

from chemkd_tf.text.vocabulary import CONTINUATION, Vocabulary

LONGEST_WORD = 200  # Characters; a longer word is [UNK].


class Match(NamedTuple):
    """What a vocabulary has for a word.

    Attributes:
        ids: of the entries found, from the word's start to its end.
        missing: the entries of one character, `x` or `##x`, without which the word is [UNK]; none: it is not. With
            them the word becomes `ids` and them, in its order: an entry of one character is taken only where no longer
            one fits, so it changes nothing elsewhere.
    """

    ids: list[int]
    missing: list[str]


class WordPieces:
    """The entries of a vocabulary, to take words apart.

    Args:
        vocabulary: the entries.
    """

    def __init__(self, vocabulary: Vocabulary):
        self._ids = {token: index for index, token in enumerate(vocabulary.tokens)}
        self._longest_entry = max(map(len, vocabulary.tokens))

    def __contains__(self, token: str) -> bool:
        return token in self._ids

    def split(self, word: str, continues: bool = False) -> list[int]:
        """Returns the ids of the pieces of `word`; empty if it is [UNK].

        Args:
            word: normalised, without white space.
            continues: take it for the later part of a word, whose every piece begins with "##".
        """
        found = self.match(word, continues)
        return [] if found.missing else found.ids

    def match(self, word: str, continues: bool = False) -> Match:
        """Returns what there is for `word` and what is missing; nothing at all for a word of more than 200 characters.

        Args:
            word: normalised, without white space.
            continues: as in `split`.
        """
        found = Match([], [])
        if len(word) > LONGEST_WORD:
            return found
        start = 0
        while start < len(word):
            prefix = CONTINUATION if start or continues else ""
            for end in range(min(len(word), start + self._longest_entry), start, -1):
                index = self._ids.get(prefix + word[start:end])
                if index is not None:
                    found.ids.append(index)
                    break
            else:
                found.missing.append(prefix + word[start])
            start = end  # Behind the entry found, or behind the one character that none was found for.
        return found
