"""What a masked language model would write in place of a Chinese word: whole words of the same length.

A Chinese word is several tokens, one a character, and what a masked language model says of each masked position by
itself does not make words: 开(发) at the first and (设)计 at the second give 开计. So words are searched for as
sequences, from left to right, and only within a lexicon.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from chemkd_tf.models import states
from chemkd_tf.text.lexicon import SpelledWords
from chemkd_tf.text.vocabulary import Vocabulary

_INPUTS = (*states.ENCODER_INPUTS, states.MASK_POSITIONS)
# Few shapes, so that memory is laid out seldom.
_LENGTH_MULTIPLE = 16
_POSITIONS_MULTIPLE = 8


class MaskedWord(NamedTuple):
    """A word to find candidates for.

    Attributes:
        row: which text it stands in.
        first: place of its first token in the text's ids, [CLS] counted.
        word: one token a character.
        word_class: candidates have the same (see `Lexicon.class_of`).
    """

    row: int
    first: int
    word: str
    word_class: str


class WordCandidates:
    """Finds words of a lexicon that the masked language model takes for likely.

    The score of a word c_1 ... c_n of the same length and class is the sum over k of
    log p(c_k | text, c_1 ... c_k-1, the rest of the word masked): a beam search from left to right. A prefix is judged
    by its score and by the best word of the lexicon that it can become, according to what the model said of the
    remaining positions when the whole word was masked. With a beam as wide as there are prefixes it is exact.

    Words that stand far apart are masked in the same row, which takes several times fewer rows than one word each.

    Args:
        masked_lm: the teacher with its masked-LM head.
        vocabulary: its entries.
        spelled: the words that may be proposed.
        beam_width: prefixes kept.
        least_likelihood: words less likely than this share of the most likely one (which may be the word itself) are no
            candidates; so 的, of which the model is sure, gets none.
        masked_share: about the share of a row's tokens that are masked at once; 0: one word a row.
        batch_size: rows at once.
    """

    def __init__(
        self,
        masked_lm: keras.Model,
        vocabulary: Vocabulary,
        spelled: SpelledWords,
        beam_width: int,
        least_likelihood: float,
        masked_share: float,
        batch_size: int,
    ):
        self._vocabulary, self._spelled = vocabulary, spelled
        self._beam_width, self._least_likelihood = beam_width, least_likelihood
        self._masked_share, self._batch_size = masked_share, batch_size
        self._log_probabilities = tf.function(
            lambda batch: tf.nn.log_softmax(tf.cast(masked_lm(batch, training=False)[states.LOGITS], tf.float32)),
            input_signature=[{name: tf.TensorSpec([None, None], tf.int32) for name in _INPUTS}],
            autograph=False,
        )

    def best(self, rows: Sequence[np.ndarray], words: Sequence[MaskedWord], most: int) -> list[list[str]]:
        """Returns for each of `words` up to `most` others that fit best, the best one first.

        Args:
            rows: int32 [T_i], the texts' ids with [CLS] and [SEP], nothing masked.
            words: what to find candidates for; those of a text in their order.
            most: candidates for a word.
        """
        proposals = [self._spelled.of(len(word.word), word.word_class) for word in words]
        searches: list[_Search | None] = []
        for _, spelling in proposals:
            searches.append(_Search(spelling, self._vocabulary.size) if len(spelling) else None)
        for step in range(max((len(word.word) for word in words), default=0)):
            open_words = [
                number for number, word in enumerate(words) if searches[number] is not None and len(word.word) > step
            ]
            for number, prefix, values in self._asked(rows, words, searches, open_words, step):
                searches[number].add(step, prefix, values)
            for number in open_words:
                if len(words[number].word) > step + 1:
                    searches[number].prune(step + 1, self._beam_width)
        found = []
        for word, (names, _), search in zip(words, proposals, searches, strict=True):
            best = search.best(most + 1, self._least_likelihood) if search else []
            found.append([names[place] for place in best if names[place] != word.word][:most])
        return found

    def _asked(
        self,
        rows: Sequence[np.ndarray],
        words: Sequence[MaskedWord],
        searches: Sequence["_Search | None"],
        open_words: list[int],
        step: int,
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yields word, prefix and the log-probabilities [n - step, V] of the word's positions from `step` on.

        Later steps need the first of these positions alone.
        """
        of_text: dict[int, list[int]] = {}
        for number in open_words:
            of_text.setdefault(words[number].row, []).append(number)
        jobs: list[tuple[int, int, list[int]]] = []  # text, prefix, words
        for text in sorted(of_text, key=lambda text: (len(rows[text]), text)):
            masked = sum(len(words[number].word) - step for number in of_text[text])
            at_once = max(1, int(self._masked_share * (len(rows[text]) - 2)))
            num_groups = min(len(of_text[text]), -(-masked // at_once)) if self._masked_share else len(of_text[text])
            for first in range(num_groups):
                group = of_text[text][first::num_groups]  # spread over the whole text
                for prefix in range(max(searches[number].num_prefixes for number in group)):
                    live = [number for number in group if prefix < searches[number].num_prefixes]
                    jobs.append((text, prefix, live))
        for start in range(0, len(jobs), self._batch_size):
            batch = jobs[start : start + self._batch_size]
            filled, positions = [], []
            for text, prefix, group in batch:
                row, asked = rows[text].copy(), []
                for number in group:
                    first, length = words[number].first, len(words[number].word)
                    row[first : first + step] = searches[number].prefixes[prefix]
                    row[first + step : first + length] = self._vocabulary.mask_id
                    asked += range(first + step, first + (length if step == 0 else step + 1))
                filled.append(row)
                positions.append(asked)
            values = self._run(filled, positions)
            for index, (_, prefix, group) in enumerate(batch):
                column = 0
                for number in group:
                    width = len(words[number].word) if step == 0 else 1
                    yield number, prefix, values[index, column : column + width]
                    column += width

    def _run(self, rows: list[np.ndarray], positions: list[list[int]]) -> np.ndarray:
        """Log-probabilities float32 [B, P, V] at the positions of each row."""
        shape = len(rows), _round_up(max(map(len, rows)), _LENGTH_MULTIPLE)
        token_ids = np.full(shape, self._vocabulary.pad_id, np.int32)
        padding_mask = np.zeros(shape, np.int32)
        mask_positions = np.zeros((len(rows), _round_up(max(map(len, positions)), _POSITIONS_MULTIPLE)), np.int32)
        for index, (row, asked) in enumerate(zip(rows, positions, strict=True)):
            token_ids[index, : len(row)] = row
            padding_mask[index, : len(row)] = 1
            mask_positions[index, : len(asked)] = asked
        batch = {
            "token_ids": token_ids,
            "segment_ids": np.zeros_like(token_ids),
            "padding_mask": padding_mask,
            states.MASK_POSITIONS: mask_positions,
        }
        return self._log_probabilities({name: tf.constant(value) for name, value in batch.items()}).numpy()


class _Search:
    """The words that are still in the running for one place.

    Args:
        spelling: int32 [N, n], the tokens of the words of the lexicon's list.
        vocabulary_size: V.
    """

    def __init__(self, spelling: np.ndarray, vocabulary_size: int):
        self._places = np.arange(len(spelling))  # in the list, of the words that are left
        self._spelling, self._vocabulary_size = spelling, vocabulary_size
        self._scores = np.zeros(len(spelling), np.float32)  # of the characters asked for so far
        self._ahead: np.ndarray | None = None  # [N, n], log-probabilities when the whole word is masked
        self._prefix_of = np.zeros(len(spelling), np.int64)
        self.prefixes = np.zeros((1, 0), np.int32)

    @property
    def num_prefixes(self) -> int:
        return len(self.prefixes)

    def add(self, step: int, prefix: int, values: np.ndarray) -> None:
        """Takes in log-probabilities [n - step, V] of the next positions, given one of the prefixes."""
        if step == 0:
            self._ahead = np.stack([row[self._spelling[:, k]] for k, row in enumerate(values)], axis=1)
            self._scores = self._ahead[:, 0].copy()
        else:
            chosen = np.flatnonzero(self._prefix_of == prefix)
            self._scores[chosen] += values[0][self._spelling[chosen, step]]

    def prune(self, length: int, most: int) -> None:
        """Keeps the words that begin with one of the `most` best prefixes of this length."""
        # A longer prefix is a kept one and a token more.
        keys = self._prefix_of * self._vocabulary_size + self._spelling[:, length - 1]
        values = np.full(self.num_prefixes * self._vocabulary_size, -np.inf, np.float32)
        np.maximum.at(values, keys, self._scores + self._ahead[:, length:].sum(axis=1))
        met = np.flatnonzero(values > -np.inf)
        kept = met[np.argsort(-values[met], kind="stable")[:most]]
        number = np.full(len(values), -1)
        number[kept] = np.arange(len(kept))
        old, tokens = np.divmod(kept, self._vocabulary_size)
        self.prefixes = np.concatenate([self.prefixes[old], tokens[:, None].astype(np.int32)], axis=1)
        alive = np.flatnonzero(number[keys] >= 0)
        self._prefix_of = number[keys[alive]]
        self._places, self._spelling = self._places[alive], self._spelling[alive]
        self._scores, self._ahead = self._scores[alive], self._ahead[alive]

    def best(self, most: int, least_likelihood: float) -> np.ndarray:
        """The places of the words with the highest scores, the best one first."""
        order = np.argsort(-self._scores, kind="stable")[:most]
        likely = np.exp(self._scores[order] - self._scores[order[0]]) >= least_likelihood
        return self._places[order[likely]]


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
