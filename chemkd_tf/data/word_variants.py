"""Variants of a text at the level of words: replacement by given candidates, swap, deletion.

Replacement follows TinyBERT (Jiao et al. 2020, arXiv:1909.10351, Algorithm 1), swap and deletion EDA (Wei and Zou 2019,
arXiv:1901.11196, section 2). Where we part from them: docs/augmentation.md.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from chemkd_tf.data.augmentation import SENTENCE_ENDS

_ATTEMPTS_PER_VARIANT = 10  # Then a text has given what it can.


@dataclasses.dataclass(frozen=True)
class VariantSettings:
    """How much a variant differs from its text.

    Attributes:
        num_variants: most variants of a text.
        replace_prob: probability that a word with candidates is replaced by one of them.
        swap_prob: probability that a changeable word changes places with another of its sentence.
        delete_prob: probability that a changeable word is left out.
    """

    num_variants: int
    replace_prob: float
    swap_prob: float
    delete_prob: float


class SegmentedText(NamedTuple):
    """A text as words.

    Attributes:
        words: joined, they are the text.
        changeable: which of them may be replaced, swapped or left out.
    """

    words: Sequence[str]
    changeable: Sequence[bool]


class Variants(NamedTuple):
    """Variants of one text.

    Attributes:
        texts: distinct, none of them the text itself.
        num_words: of the text, times the number of variants; white space is no word.
        num_changeable: likewise, of the words that may change.
        replaced: words replaced, in all variants together.
        swapped: words that stand elsewhere.
        deleted: words left out.
    """

    texts: list[str]
    num_words: int
    num_changeable: int
    replaced: int
    swapped: int
    deleted: int


def make_variants(
    text: SegmentedText,
    candidates: Mapping[int, Sequence[str]],
    settings: VariantSettings,
    rng: np.random.Generator,
) -> Variants:
    """Returns up to `settings.num_variants` variants of `text`.

    Args:
        text: its words.
        candidates: what may replace a word, by the word's place in the text.
        settings: how much is changed.
        rng: source of all random choices.
    """
    sentences = _sentences(text)
    seen = {"".join(text.words)}
    variants: list[str] = []
    counts = np.zeros(3, np.int64)
    for _ in range(_ATTEMPTS_PER_VARIANT * settings.num_variants if sentences else 0):
        if len(variants) == settings.num_variants:
            break
        variant, changes = _vary(text, sentences, candidates, settings, rng)
        if variant not in seen:
            seen.add(variant)
            variants.append(variant)
            counts += changes
    size = sum(not word.isspace() for word in text.words), sum(text.changeable)
    return Variants(variants, *(len(variants) * number for number in size), *map(int, counts))


def _sentences(text: SegmentedText) -> list[list[int]]:
    """The places of the changeable words, by sentence; sentences without one are left out."""
    sentences: list[list[int]] = [[]]
    for place, (word, changeable) in enumerate(zip(text.words, text.changeable, strict=True)):
        if changeable:
            sentences[-1].append(place)
        elif word in SENTENCE_ENDS or "\n" in word:
            sentences.append([])
    return [sentence for sentence in sentences if sentence]


def _vary(
    text: SegmentedText,
    sentences: list[list[int]],
    candidates: Mapping[int, Sequence[str]],
    settings: VariantSettings,
    rng: np.random.Generator,
) -> tuple[str, tuple[int, int, int]]:
    """One variant, and how many words it has replaced, swapped and left out."""
    words = list(text.words)
    replaced = 0
    for place in sorted(candidates):
        if rng.random() < settings.replace_prob:
            words[place] = candidates[place][rng.integers(len(candidates[place]))]
            replaced += 1
    order = list(range(len(words)))
    for sentence in sentences:
        for index in np.flatnonzero(rng.random(len(sentence)) < settings.swap_prob) if len(sentence) > 1 else ():
            other = (index + rng.integers(1, len(sentence))) % len(sentence)
            first, second = sentence[index], sentence[other]
            order[first], order[second] = order[second], order[first]
    words = [words[place] for place in order]
    places = [place for sentence in sentences for place in sentence]
    drawn = rng.random(len(places)) < settings.delete_prob
    if drawn.all():
        drawn[rng.integers(len(drawn))] = False
    deleted = [place for place, gone in zip(places, drawn, strict=True) if gone]
    for place in deleted:
        words[place] = ""
    return "".join(words), (replaced, sum(place != index for index, place in enumerate(order)), len(deleted))
