"""Variants of labelled texts: with few labels, a classifier otherwise learns its training set by heart."""

import dataclasses

import numpy as np

from chemkd_tf.text.vocabulary import Vocabulary

SENTENCE_ENDS = ("。", "！", "？", "；", "!", "?", ";")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What happens to a text each time it is trained on.

    Attributes:
        mask_prob: mean share of tokens replaced by [MASK], at most 0.5; each text draws its own share from 0 to twice
            this. (Tang et al. 2019, arXiv:1903.12136, section 4.3, mask words so; [MASK] is what a masked-LM encoder
            has learnt to read around.)
        sentence_drop_prob: probability of leaving a sentence out; one always stays.
        shuffle_sentences: whether the sentences that stay come in random order.
        mask_id: id of [MASK].
        sentence_end_ids: ids of the tokens that end a sentence.
    """

    mask_prob: float
    sentence_drop_prob: float
    shuffle_sentences: bool
    mask_id: int
    sentence_end_ids: tuple[int, ...]

    @classmethod
    def of(
        cls, vocabulary: Vocabulary, mask_prob: float, sentence_drop_prob: float, shuffle_sentences: bool
    ) -> "Augmentation":
        """Looks up in `vocabulary` what [MASK] is and what ends a sentence."""
        ends = tuple(number for number, token in enumerate(vocabulary.tokens) if token in SENTENCE_ENDS)
        return cls(mask_prob, sentence_drop_prob, shuffle_sentences, vocabulary.mask_id, ends)

    def __bool__(self) -> bool:
        """Whether it changes anything."""
        return bool(self.mask_prob or self.sentence_drop_prob or self.shuffle_sentences)

    def __call__(self, token_ids: np.ndarray, length: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Returns a variant of one text.

        Args:
            token_ids: int32 `[T]`: [CLS], the text, [SEP], padding (0).
            length: number of real tokens.
            rng: source of all random choices.

        Returns:
            int32 `[T]` and its number of real tokens.
        """
        body = token_ids[1 : length - 1]
        if self.sentence_drop_prob or self.shuffle_sentences:
            body = self._rearranged(body, rng)
        if self.mask_prob:
            share = rng.uniform(0.0, 2.0 * self.mask_prob)
            body = np.where(rng.random(len(body)) < share, self.mask_id, body)
        variant = np.zeros_like(token_ids)
        variant[: len(body) + 2] = np.concatenate([token_ids[:1], body, token_ids[length - 1 : length]])
        return variant, len(body) + 2

    def _rearranged(self, body: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        ends = np.flatnonzero(np.isin(body, self.sentence_end_ids)) + 1
        sentences = [sentence for sentence in np.split(body, ends) if len(sentence)]
        if len(sentences) < 2:
            return body
        kept = [sentence for sentence in sentences if rng.random() >= self.sentence_drop_prob]
        kept = kept or [sentences[rng.integers(len(sentences))]]
        if self.shuffle_sentences:
            kept = [kept[number] for number in rng.permutation(len(kept))]
        return np.concatenate(kept)
