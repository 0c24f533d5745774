"""Whole blocks of text to token ids by table look-ups, equal to google-research/bert's FullTokenizer.

`tokenization.BertTokenizer` does the same with TensorFlow's operations, which run in a graph and in a SavedModel; this
one needs no TensorFlow, whose import alone takes longer than tokenising tens of megabytes. Both are tested against the
same restatement of Google's rules. Its Unicode tables are Python's, as Google's are.

Each code point is classified once in the life of a tokeniser, when it is first met; then a block costs a few look-ups
per character. Chinese characters and punctuation are words by themselves and have their id in a table. Runs of letters
and digits go through a dictionary of words met before.
"""

import dataclasses
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable

import numpy as np

from chemkd_tf.text.segmentation import WordSegmenter
from chemkd_tf.text.vocabulary import Vocabulary
from chemkd_tf.text.word_pieces import WordPieces

MOST_WORDS_KEPT = 1 << 16  # Numbers and codes never end: the dictionary starts anew when it holds so many.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
# What a code point is. Blank to Python's str.isspace: up to _BLANK_VANISHES. Part of a longer word: from _LETTER on.
_UNSEEN, _NEWLINE, _SPACE, _BLANK_VANISHES, _VANISHES, _WORD, _LETTER, _DECOMPOSED = range(8)
_NUM_CODE_POINTS = 0x110000


@dataclasses.dataclass(frozen=True)
class TokenizedLines:
    """The tokens of a text of L lines, all in a row (N tokens).

    Args:
        token_ids: int32 [N].
        line_splits: int64 [L + 1], where each line starts; the last is N.
        blank: bool [L], lines of nothing but white space.
        unit_starts: bool [N], which token starts a unit of whole-word masking; None without a segmenter.
    """

    token_ids: np.ndarray
    line_splits: np.ndarray
    blank: np.ndarray
    unit_starts: np.ndarray | None


class BlockTokenizer:
    """Tokenises texts of many lines at once.

    Args:
        vocabulary: the entries.
        do_lower_case: lower-case and strip accents; must agree with how the vocabulary was made.
        segmenter: finds words, for whole-word masking; None: no `unit_starts`.
    """

    def __init__(self, vocabulary: Vocabulary, do_lower_case: bool = True, segmenter: WordSegmenter | None = None):
        self._lower = do_lower_case
        self._segmenter = segmenter
        self._unknown_id = vocabulary.unknown_id
        self._ids = {token: index for index, token in enumerate(vocabulary.tokens)}
        self._word_pieces = WordPieces(vocabulary)
        self._kinds = np.zeros(_NUM_CODE_POINTS, np.uint8)
        self._folded = np.zeros(_NUM_CODE_POINTS, "<u4")  # Lower-cased, without accent.
        self._word_ids = np.full(_NUM_CODE_POINTS, self._unknown_id, np.int32)
        self._words = _Words(self._pieces_of)

    def tokenize(self, text: str) -> TokenizedLines:
        """Returns the tokens of the lines of `text`, which "\\n" parts; "\\r" is white space.

        Args:
            text: without lone surrogates.
        """
        codes, kinds = self._classified(text)
        line_ends = np.append(np.flatnonzero(kinds == _NEWLINE), len(codes))
        filled_before = np.concatenate([[0], np.cumsum(kinds > _BLANK_VANISHES)])[np.append(0, line_ends)]
        blank = np.diff(filled_before) == 0

        visible = (kinds != _VANISHES) & (kinds != _BLANK_VANISHES)
        if not visible.all():
            codes, kinds = codes[visible], kinds[visible]
            line_ends = np.append(np.flatnonzero(kinds == _NEWLINE), len(codes))
        # An element is a word of one character or a run of letters: what WordPiece works on, and never parted by masks.
        in_run = kinds >= _LETTER
        run_edges = np.flatnonzero(np.diff(in_run, prepend=False, append=False))
        run_starts, run_ends = run_edges[::2], run_edges[1::2]
        starts_element = kinds == _WORD
        starts_element[run_starts] = True
        elements = np.flatnonzero(starts_element)
        folded = self._folded[codes].tobytes().decode("utf-32-le") if len(run_starts) or self._segmenter else ""
        token_ids, counts = self._element_tokens(codes, kinds, elements, folded, run_starts, run_ends)

        tokens_before = np.concatenate([[0], np.cumsum(counts)])
        line_splits = tokens_before[np.searchsorted(elements, np.append(0, line_ends))]
        line_splits[0] = 0
        unit_starts = None
        if self._segmenter:
            ends = elements + 1
            ends[kinds[elements] >= _LETTER] = run_ends
            opens_unit = self._opens_unit(folded, elements, ends)
            unit_starts = np.zeros(len(token_ids), bool)
            unit_starts[tokens_before[:-1][opens_unit & (counts > 0)]] = True
        return TokenizedLines(token_ids, line_splits.astype(np.int64), blank, unit_starts)

    def count_words(self, text: str) -> tuple[Counter[str], Counter[str]]:
        """Counts what WordPiece will see of `text`, as `tokenize` takes it.

        Args:
            text: without lone surrogates.

        Returns:
            Characters that are words wherever they stand (ideographs, punctuation); all other words.
        """
        codes, kinds = self._classified(text)
        visible = (kinds != _VANISHES) & (kinds != _BLANK_VANISHES)
        codes, kinds = codes[visible], kinds[visible]
        folded, counts = np.unique(self._folded[codes[kinds == _WORD]], return_counts=True)
        characters = Counter(dict(zip(map(chr, folded.tolist()), counts.tolist(), strict=True)))
        edges = np.flatnonzero(np.diff(kinds >= _LETTER, prepend=False, append=False)).tolist()
        letters = self._folded[codes].tobytes().decode("utf-32-le")
        words: Counter[str] = Counter()
        runs = Counter(letters[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
        for run, count in runs.items():
            if run.isascii():
                words[run] += count
                continue
            for word in self._words_of(run):
                # Punctuation that appears when a character is decomposed is a word wherever it stands, too.
                (characters if _is_punctuation(word[0]) else words)[word] += count
        return characters, words

    def _classified(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Code points of `text` (uint32 [N]) and what they are (uint8 [N])."""
        if self._lower and "Σ" in text:
            text = _SIGMA_WORD.sub(_lower_sigma, text)
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        kinds = self._kinds[codes]
        if not kinds.all():
            for code in np.unique(codes[kinds == _UNSEEN]).tolist():
                self._learn(code)
            kinds = self._kinds[codes]
        return codes, kinds

    def _element_tokens(
        self,
        codes: np.ndarray,
        kinds: np.ndarray,
        elements: np.ndarray,
        folded: str,
        run_starts: np.ndarray,
        run_ends: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of all elements (int32 [N]), and how many each element has (int64)."""
        counts = np.ones(len(elements), np.int64)
        first_ids = self._word_ids[codes[elements]]
        if not len(run_starts):
            return first_ids, counts
        runs = np.flatnonzero(kinds[elements] >= _LETTER)
        words = [folded[start:end] for start, end in zip(run_starts.tolist(), run_ends.tolist(), strict=True)]
        pieces, first_piece, num_pieces = self._words.look_up(words)
        counts[runs] = num_pieces
        starts = np.cumsum(counts) - counts
        token_ids = np.empty(int(counts.sum()), np.int32)
        single = counts == 1
        first_ids[runs] = pieces[np.minimum(first_piece, len(pieces) - 1)]
        token_ids[starts[single]] = first_ids[single]
        for index in np.unique(num_pieces[num_pieces > 1]).tolist():
            chosen = num_pieces == index
            columns = np.arange(index)
            token_ids[starts[runs[chosen]][:, None] + columns] = pieces[first_piece[chosen][:, None] + columns]
        return token_ids, counts

    def _opens_unit(self, folded: str, elements: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Which elements start a unit: a word starts behind the last element's end and not behind this one's start."""
        words_before = np.concatenate([[0], np.cumsum(self._segmenter.word_starts(folded))])
        previous_ends = np.append(0, ends[:-1])
        return words_before[elements + 1] > words_before[previous_ends]

    def _learn(self, code: int) -> None:
        """Classifies a code point (google-research/bert, BasicTokenizer)."""
        character = chr(code)
        category = unicodedata.category(character)
        folded = normalize(character) if self._lower else character
        self._folded[code] = code
        if character == "\n":
            kind = _NEWLINE
        elif character in "\t\r" or category in ("Zs", "Zl", "Zp"):
            kind = _SPACE
        elif category in ("Cc", "Cf") or code == 0xFFFD or not folded:
            kind = _BLANK_VANISHES if character.isspace() else _VANISHES
        elif len(folded) > 1 or (self._lower and unicodedata.combining(character)):
            kind = _DECOMPOSED  # `_pieces_of` decomposes the whole word.
        else:
            self._folded[code] = ord(folded)
            if is_ideograph(code) or _is_punctuation(folded):
                kind = _WORD
                self._word_ids[code] = self._ids.get(folded, self._unknown_id)
            else:
                kind = _LETTER
        self._kinds[code] = kind

    def _pieces_of(self, run: str) -> list[int]:
        """Ids of a run of letters."""
        return [piece for word in self._words_of(run) for piece in self._word_pieces.split(word) or [self._unknown_id]]

    def _words_of(self, run: str) -> list[str]:
        """A run of letters is one word, unless punctuation appears when it is decomposed."""
        if self._lower:
            run = normalize(run)
        if any(map(_is_punctuation, run)):
            run = "".join(f" {character} " if _is_punctuation(character) else character for character in run)
        return run.split()


class _Words:
    """Words met before: for each, where its pieces stand in one long array."""

    def __init__(self, pieces_of: Callable[[str], list[int]]):
        self._pieces_of = pieces_of
        self._clear()

    def _clear(self) -> None:
        self._index: dict[str, int] = {}
        self._pieces = np.zeros(1 << 10, np.int32)
        self._bounds = np.zeros(1 << 10, np.int64)  # Word i has the pieces from bounds[i] to bounds[i + 1].

    def look_up(self, words: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pieces of all known words in a row (int32), and for each of `words` its first one and how many there are."""
        if len(self._index) > MOST_WORDS_KEPT:
            self._clear()
        known = len(self._index)
        rows = np.fromiter((self._index.setdefault(word, len(self._index)) for word in words), np.int64, len(words))
        new = list(itertools.islice(self._index, known, None))
        if new:
            pieces = [self._pieces_of(word) for word in new]
            ends = self._bounds[known] + np.cumsum([len(row) for row in pieces])
            self._bounds = _with_room(self._bounds, len(self._index) + 1)
            self._bounds[known + 1 : len(self._index) + 1] = ends
            self._pieces = _with_room(self._pieces, ends[-1])
            self._pieces[self._bounds[known] : ends[-1]] = list(itertools.chain.from_iterable(pieces))
        firsts = self._bounds[rows]
        return self._pieces, firsts, self._bounds[rows + 1] - firsts


def _with_room(array: np.ndarray, size: int) -> np.ndarray:
    """`array`, or a copy of at least twice its length if `size` entries don't fit."""
    return array if size <= len(array) else np.resize(array, max(int(size), 2 * len(array)))


def normalize(text: str) -> str:
    """Lower case without accents: lower, NFD, drop category Mn."""
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(character for character in decomposed if unicodedata.category(character) != "Mn")


def is_ideograph(code: int) -> bool:
    """Whether a code point is an ideograph to BERT: a word wherever it stands."""
    return any(first <= code <= last for first, last in _IDEOGRAPHS)


def _is_punctuation(character: str) -> bool:
    """All ASCII symbols, and Unicode's punctuation."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character).startswith("P")


# Python lower-cases a capital sigma by where it stands in what BasicTokenizer takes for a word before it looks at
# punctuation: what white space and ideographs part. Everything else is lower-cased alike wherever it stands.
_SIGMA_STOPS = r"\t\n\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000" + "".join(
    f"{chr(first)}-{chr(last)}" for first, last in _IDEOGRAPHS
)
_SIGMA_WORD = re.compile(f"[^{_SIGMA_STOPS}Σ]*Σ[^{_SIGMA_STOPS}]*")


def _lower_sigma(match: re.Match) -> str:
    cleaned = "".join(
        character
        for character in match[0]
        if character != "\ufffd" and unicodedata.category(character) not in ("Cc", "Cf")
    )
    return cleaned.lower()
