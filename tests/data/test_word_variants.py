"""Variants of a text: what may change, how often, and what never does."""

import collections
import itertools

import numpy as np
import pytest

from chemkd_tf.data.word_variants import SegmentedText, VariantSettings, make_variants

WORDS = "甲|乙|，|丙|15|丁|。|戊|己|！|庚|；|辛|.".split("|")
FREE = [word in "甲乙丙丁戊己庚辛" for word in WORDS]
SENTENCES = ("甲乙丙丁", "戊己", "庚", "辛")
TEXT = SegmentedText(WORDS, FREE)
CANDIDATES = {0: ["子", "丑"], 3: ["寅"], 8: ["卯", "辰", "巳"]}


def variants(number=20, replace=0.0, swap=0.0, delete=0.0, seed=0, text=TEXT, candidates=CANDIDATES):
    settings = VariantSettings(number, replace, swap, delete)
    return make_variants(text, candidates, settings, np.random.default_rng(seed))


def single_variants(count, **probabilities):
    """The first variant of each of many seeds."""
    for seed in range(count):
        yield from variants(1, seed=seed, **probabilities).texts


def test_replacement_takes_a_words_own_candidates_each_as_often_and_leaves_the_others():
    seen = collections.Counter()
    for text in single_variants(3000, replace=0.4):
        assert len(text) == len("".join(WORDS))
        for place, (word, character) in enumerate(zip(WORDS, text.replace("15", "#"), strict=True)):
            if place in CANDIDATES:
                assert character in [word, *CANDIDATES[place]]
                seen[place, character] += 1
            else:
                assert character == word.replace("15", "#")
    # A text that came out unchanged is drawn again: a probability of 0.4 given that one of the three was replaced.
    replaced = 0.4 / (1 - 0.6**3)
    for place, words in CANDIDATES.items():
        for word in words:
            assert seen[place, word] / 3000 == pytest.approx(replaced / len(words), abs=0.04)


def test_swaps_permute_the_free_words_of_a_sentence_and_nothing_else():
    moved = 0
    for text in single_variants(500, swap=0.3):
        characters = text.replace("15", "#")
        assert [c for c, free in zip(characters, FREE, strict=True) if not free] == list("，#。！；.")
        free = [c for c, free in zip(characters, FREE, strict=True) if free]
        for sentence in SENTENCES:
            now, free = free[: len(sentence)], free[len(sentence) :]
            assert sorted(now) == sorted(sentence)
            moved += sum(a != b for a, b in zip(now, sentence, strict=True))
    assert moved > 500


def test_deletion_leaves_out_free_words_alone_and_at_least_one_stays():
    kept = collections.Counter()
    for text in single_variants(2000, delete=0.5):
        rest = iter(text.replace("15", "#"))
        for word, free in zip(WORDS, FREE, strict=True):
            if not free:
                assert word.replace("15", "#") in rest  # found, in order
        left = [c for c in text if c in "甲乙丙丁戊己庚辛"]
        assert left == [c for c in "甲乙丙丁戊己庚辛" if c in left] and left
        kept.update(left)
    for word in "甲乙丙丁戊己庚辛":
        assert kept[word] / 2000 == pytest.approx(0.5, abs=0.05)
    few = SegmentedText(["甲", "，", "乙"], [True, False, True])
    texts = {t for seed in range(50) for t in variants(5, delete=0.99, seed=seed, text=few, candidates={}).texts}
    assert texts == {"甲，", "，乙"}


def test_variants_are_distinct_and_never_the_text_itself():
    found = variants(50, replace=0.5, swap=0.1, delete=0.1)
    assert len(set(found.texts)) == len(found.texts) == 50
    assert "".join(WORDS) not in found.texts


def test_a_text_gives_no_more_variants_than_it_has():
    found = variants(200, replace=0.7)
    every = {f"{a}乙，{b}15丁。戊{c}！庚；辛." for a, b, c in itertools.product("甲子丑", "丙寅", "己卯辰巳")}
    assert set(found.texts) == every - {"".join(WORDS)}
    nothing = SegmentedText(["15", "℃", "。"], [False] * 3)
    assert variants(20, 0.4, 0.1, 0.1, text=nothing, candidates={}).texts == []
    assert variants(20, 0.4, 0.1, 0.0, text=SegmentedText(["甲"], [True]), candidates={}).texts == []
    assert variants(20, 0.4, 0.1, 0.5, text=SegmentedText([], []), candidates={}).texts == []


def test_counts_say_what_was_changed():
    found = variants(20, replace=1.0)
    assert (found.replaced, found.swapped, found.deleted) == (3 * len(found.texts), 0, 0)
    assert (found.num_words, found.num_changeable) == (14 * len(found.texts), 8 * len(found.texts))
    found = variants(20, delete=0.3)
    lost = sum(len("".join(WORDS)) - len(text) for text in found.texts)
    assert (found.replaced, found.swapped, found.deleted) == (0, 0, lost)
    for seed in range(20):
        found = variants(5, swap=0.5, seed=seed)
        differences = (a != b for text in found.texts for a, b in zip("".join(WORDS), text, strict=True))
        assert found.swapped == sum(differences) > 0


def test_the_same_seed_gives_the_same_variants():
    settings = dict(replace=0.4, swap=0.1, delete=0.1)
    assert variants(seed=3, **settings) == variants(seed=3, **settings)
    assert variants(seed=3, **settings) != variants(seed=4, **settings)
