"""Duplicates: similarities against exact ones, the index against a comparison of every pair."""

import hashlib
import math
import random
import sys

import numpy as np
import pytest

from chemkd_tf.cleaning.duplicates import (
    NUM_HASHES,
    SHINGLE,
    MinHasher,
    NearDuplicates,
    RepeatedSentences,
    bands_and_rows,
    digest,
)
from chemkd_tf.errors import InputError


def random_text(rng: random.Random, length: int) -> str:
    return "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(length))


def exact_similarity(first: str, second: str) -> float:
    sets = [{text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))} for text in (first, second)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def pair_with_similarity(rng: random.Random, similarity: float, size: int) -> tuple[str, str]:
    """Two texts that share a beginning: of n and n shingles, k are common, so k / (2n - k) is the similarity."""
    common = round(2 * size * similarity / (1 + similarity))
    start = random_text(rng, common + SHINGLE - 1)
    return start + random_text(rng, size - common), start + random_text(rng, size - common)


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("size", [60, 3000])
def test_signatures_estimate_the_similarity_without_bias(similarity, size):
    hasher = MinHasher()
    rng = random.Random(size)
    errors = []
    for _ in range(40):
        first, second = pair_with_similarity(rng, similarity, size)
        exact = exact_similarity(first, second)
        assert abs(exact - similarity) < 0.02
        errors.append((hasher.signature(first) == hasher.signature(second)).mean() - exact)
    standard_error = math.sqrt(similarity * (1 - similarity) / NUM_HASHES)
    assert np.abs(errors).max() <= 4.5 * standard_error + 1e-12
    assert abs(np.mean(errors)) <= 4 * standard_error / math.sqrt(len(errors)) + 1e-12


def test_a_signature_depends_on_the_set_of_shingles_alone():
    hasher = MinHasher()
    text = random_text(random.Random(3), 2500)
    assert (hasher.signature(text) == hasher.signature(text + text[:4] + text)).mean() > 0.97  # Few shingles are new.
    period = "一二三四五六七"
    assert (hasher.signature(period * 2) == hasher.signature(period * 500)).all()
    assert hasher.signature(text).dtype == np.uint32 and hasher.signature("").shape == (NUM_HASHES,)
    assert (hasher.signature("酸") != hasher.signature("碱")).all()


def test_signatures_are_the_same_for_ever():
    signature = MinHasher().signature("盐酸与氢氧化钠反应生成氯化钠和水")
    assert hashlib.sha256(signature.astype("<u4").tobytes()).hexdigest()[:16] == "abc2e8c05ba62f59"


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.99, 1.0])
def test_bands_find_nearly_every_pair_at_the_threshold(threshold):
    bands, rows = bands_and_rows(threshold)
    assert bands * rows <= NUM_HASHES
    assert 1 - (1 - threshold**rows) ** bands >= 0.97
    assert 1 - (1 - 0.05**rows) ** bands < 0.01, "unrelated texts would all be candidates"


def test_near_duplicates_are_those_that_a_comparison_of_all_pairs_finds():
    rng = random.Random(7)
    bases = [random_text(rng, 300) for _ in range(30)]
    texts = []
    for _ in range(120):
        characters = list(rng.choice(bases))
        for _ in range(rng.choice([0, 1, 2, 12, 40])):  # Either well above the threshold of 0.7, or well below.
            characters[rng.randrange(len(characters))] = chr(rng.randrange(0x4E00, 0x9FA5))
        texts.append("".join(characters))
    near = NearDuplicates(0.7)
    kept: list[int] = []
    for number, text in enumerate(texts):
        exact = {earlier: exact_similarity(text, texts[earlier]) for earlier in kept}
        found = near.find_or_add(text, number)
        if found is None:
            assert max(exact.values(), default=0) < 0.85
            kept.append(number)
        else:
            assert exact[found[0]] > 0.55 and abs(found[1] - exact[found[0]]) < 0.15
    assert 30 < len(kept) < 100


def test_the_first_of_a_family_stays_and_unlike_texts_all_stay():
    rng = random.Random(1)
    text = random_text(rng, 400)
    near = NearDuplicates(0.8)
    assert near.find_or_add(text, 10) is None
    assert near.find_or_add(text[:200] + "改" + text[201:], 11)[0] == 10
    assert near.find_or_add(text, 12) == (10, 1.0)
    # More than the table of signatures holds at first.
    assert all(near.find_or_add(random_text(rng, 20), number) is None for number in range(20, 1300))
    assert near.find_or_add(text, 2000) == (10, 1.0)


def test_without_datasketch_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(InputError, match=r"pip install 'chemkd_tf\[clean\]'"):
        NearDuplicates(0.8)


def test_repeated_sentences_are_those_beyond_the_limit():
    repeated = RepeatedSentences(2)
    answers = [
        repeated.is_repeated(sentence)
        for sentence in ("版权所有", "水", "版权所有", "版权所有", "水", "版权所有", "水")
    ]
    assert answers == [False, False, False, True, False, True, True]


def test_digests_tell_texts_apart():
    assert len({digest(chr(code)) for code in range(0x4E00, 0x9FA5)}) == 0x9FA5 - 0x4E00
    assert len(digest("酸")) == 16 and len(digest("酸", 8)) == 8
