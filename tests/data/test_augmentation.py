"""Variants of labelled texts: what may change, what never does, and that they depend on seed and place alone."""

import collections

import numpy as np
import pytest

from chemkd_tf.data.augmentation import Augmentation
from chemkd_tf.data.datasets import EncodedTexts, labelled_batches
from chemkd_tf.text.vocabulary import Vocabulary

PAD, CLS, SEP, MASK, STOP = 0, 2, 3, 4, 5
VOCABULARY = Vocabulary(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "。", *"甲乙丙丁戊己庚辛"))
SENTENCES = ((6, 7, STOP), (8, STOP), (9, 10, 11, STOP), (12, 13))
TEXT = [CLS, *(token for sentence in SENTENCES for token in sentence), SEP]


def row(tokens, width=16):
    return np.array(tokens + [PAD] * (width - len(tokens)), np.int32)


def variants(number, mask_prob=0.0, drop=0.0, shuffle=False):
    augment = Augmentation.of(VOCABULARY, mask_prob, drop, shuffle)
    for seed in range(number):
        ids, length = augment(row(TEXT), len(TEXT), np.random.default_rng(seed))
        assert ids.dtype == np.int32 and ids.shape == (16,)
        assert ids[0] == CLS and ids[length - 1] == SEP and not ids[length:].any()
        yield list(ids[1 : length - 1])


def sentences_of(body):
    """The sentences of TEXT that make up `body`, which must hold nothing else."""
    found, rest = [], list(body)
    while rest:
        sentence = next(s for s in SENTENCES if tuple(rest[: len(s)]) == s)
        found.append(sentence)
        rest = rest[len(sentence) :]
    return found


def test_masking_replaces_tokens_in_place_and_its_mean_share_is_as_asked():
    masked = total = 0
    shares = []
    for body in variants(2000, mask_prob=0.3):
        assert len(body) == len(TEXT) - 2
        assert all(token in (MASK, original) for token, original in zip(body, TEXT[1:-1], strict=True))
        shares.append(body.count(MASK) / len(body))
        masked, total = masked + body.count(MASK), total + len(body)
    assert masked / total == pytest.approx(0.3, abs=0.02)
    # A uniform share between 0 and 0.6 spreads far wider than a fixed share of 0.3 would (0.14 for 11 tokens).
    assert np.std(shares) > 0.18


def test_sentences_are_dropped_independently_in_order_and_one_always_stays():
    kept = collections.Counter()
    for body in variants(2000, drop=0.5):
        found = sentences_of(body)
        assert found and [s for s in SENTENCES if s in found] == found
        kept.update(found)
    # P(kept) = 1/2, and 1/4 of the 1/16 cases where all were dropped.
    for sentence in SENTENCES:
        assert kept[sentence] / 2000 == pytest.approx(0.5 + 1 / 64, abs=0.04)


def test_shuffling_permutes_whole_sentences():
    orders = collections.Counter(tuple(sentences_of(body)) for body in variants(1200, shuffle=True))
    assert all(sorted(order) == sorted(SENTENCES) for order in orders)
    assert len(orders) == 24
    assert max(orders.values()) < 2.2 * 1200 / 24


def test_nothing_asked_nothing_changed():
    assert not Augmentation.of(VOCABULARY, 0.0, 0.0, False)
    assert next(variants(1)) == TEXT[1:-1]


def test_texts_of_one_sentence_and_empty_texts_survive():
    augment = Augmentation.of(VOCABULARY, 0.0, 0.9, True)
    for tokens in ([CLS, SEP], [CLS, 6, SEP], [CLS, 6, STOP, SEP]):
        ids, length = augment(row(tokens), len(tokens), np.random.default_rng(1))
        assert list(ids[:length]) == tokens


def batches(first=0, replicas=1, size=3, augmented=True, seed=7):
    texts = [[CLS, 6 + n, STOP, 7 + n, 8, STOP, 9, SEP] for n in range(5)]
    examples = EncodedTexts(
        np.stack([row(text) for text in texts]), np.full(5, 8, np.int32), np.arange(5, dtype=np.int32)
    )
    augmentation = Augmentation.of(VOCABULARY, *((0.4, 0.3, True) if augmented else (0.0, 0.0, False)))
    return list(labelled_batches(examples, size, seed, 8, first, replicas, augmentation).as_numpy_iterator())


def rows_of(found):
    return [
        (label, *ids[: mask.sum()])
        for batch in found
        for ids, mask, label, weight in zip(
            batch["token_ids"], batch["padding_mask"], batch["label_ids"], batch["example_weight"], strict=True
        )
        if weight
    ]


def test_a_variant_depends_on_the_seed_and_its_place_in_the_run_alone():
    whole = rows_of(batches())
    assert len(whole) == 24
    for first in (1, 4, 7):
        assert rows_of(batches(first=first)) == whole[3 * first :]
    assert rows_of(batches(replicas=2)) == whole
    assert rows_of(batches(size=2))[:16] == whole[:16]
    assert rows_of(batches(seed=8)) != whole
    of_one_text = [found for found in whole if found[0] == whole[0][0]]
    assert len(set(of_one_text)) > 1  # a new variant each time it comes round


def test_labels_and_order_are_those_without_augmentation():
    plain = batches(augmented=False)
    assert [found[0] for found in rows_of(batches())] == [found[0] for found in rows_of(plain)]
    assert all(found[1] == CLS and MASK not in found[1:] for found in rows_of(plain))
