"""Batches of labelled texts: number k depends on the seed alone, every epoch holds every text once."""

import itertools

import numpy as np
import pytest
from data.record_files import assert_same

from chemkd_tf.data.datasets import GROUPED_BATCHES, EncodedTexts, labelled_batches, labelled_examples

TOKENS, LABELLED = 16, 10


@pytest.fixture(scope="module")
def examples():
    """Each example's first token is its number + 10."""
    rng = np.random.default_rng(1)
    lengths = rng.permutation(np.arange(3, 3 + LABELLED)).astype("int32")
    token_ids = rng.integers(5, 50, (LABELLED, TOKENS)).astype("int32") * (np.arange(TOKENS) < lengths[:, None])
    token_ids[:, 0] = np.arange(LABELLED) + 10
    return EncodedTexts(token_ids.astype("int32"), lengths, np.arange(LABELLED, dtype="int32") % 3)


def numbers(found):
    """Numbers of the examples that count, in order."""
    return [
        int(ids[0]) - 10
        for batch in found
        for ids, weight in zip(batch["token_ids"], batch["example_weight"], strict=True)
        if weight
    ]


def labelled(examples, seed=3, num_batches=9, first=0, replicas=1, size=4):
    return list(labelled_batches(examples, size, seed, num_batches, first, replicas).as_numpy_iterator())


def test_labelled_batch_k_is_the_same_wherever_reading_begins(examples):
    whole = labelled(examples)
    assert len(whole) == 9
    for first in range(1, 9):  # 10 examples in batches of 4: epochs end within the 3rd, 5th and 8th batch
        assert_same(labelled(examples, first=first), whole[first:])
    assert labelled(examples, first=9) == []


def test_how_long_training_lasts_does_not_change_labelled_batch_k(examples):
    assert_same(labelled(examples, num_batches=4), labelled(examples, num_batches=9)[:4])


def test_every_epoch_holds_every_labelled_example_once_in_another_order(examples):
    drawn = numbers(labelled(examples))
    assert len(drawn) == 36
    epochs = [drawn[start : start + LABELLED] for start in (0, 10, 20)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(LABELLED))
    for one, other in itertools.combinations([*epochs, list(range(LABELLED))], 2):
        assert one != other


def test_another_seed_gives_another_order_of_labelled_examples(examples):
    drawn = [numbers(labelled(examples, seed=seed)) for seed in (3, 4, 3)]
    assert drawn[0] != drawn[1]
    assert drawn[0] == drawn[2]


def test_a_labelled_batch_holds_what_belongs_to_its_examples(examples):
    for batch in labelled(examples, replicas=3):
        rows = [int(ids[0]) - 10 for ids in batch["token_ids"]]
        assert len(rows) == 6 and batch["example_weight"].tolist() == [1.0] * 4 + [0.0] * 2
        longest = examples.lengths[rows].max()
        np.testing.assert_array_equal(batch["token_ids"], examples.token_ids[rows, :longest])
        np.testing.assert_array_equal(batch["padding_mask"].sum(axis=1), examples.lengths[rows])
        np.testing.assert_array_equal(np.diff(batch["padding_mask"], axis=1) <= 0, True)
        np.testing.assert_array_equal(batch["segment_ids"], np.zeros_like(batch["token_ids"]))
        np.testing.assert_array_equal(batch["label_ids"], examples.label_ids[rows])


def test_labelled_and_unlabelled_texts_are_grouped_alike(examples):
    """Short labelled texts share their batch with short unlabelled ones, and reading may begin anywhere."""

    def found(first, num_batches=GROUPED_BATCHES + 5):
        dataset = labelled_batches(
            examples, 2, 3, num_batches, first, 1, unlabelled=examples, unlabelled_batch_size=3, group_by_length=True
        )
        return list(dataset.as_numpy_iterator())

    whole = found(0)
    assert len(whole) == GROUPED_BATCHES + 5
    for first in (1, GROUPED_BATCHES, GROUPED_BATCHES + 2):
        assert_same(found(first), whole[first:])
    lengths = [batch["padding_mask"].sum(axis=1) for batch in whole[:GROUPED_BATCHES]]
    labels = [batch["has_label"].tolist() for batch in whole]
    assert labels == [[1.0] * 2 + [0.0] * 3] * len(whole)
    labelled_lengths = np.array([of_batch[:2].mean() for of_batch in lengths])
    unlabelled_lengths = np.array([of_batch[2:].mean() for of_batch in lengths])
    assert np.corrcoef(labelled_lengths, unlabelled_lengths)[0, 1] > 0.95


@pytest.mark.parametrize("size", [1, 3, 4, 10, 16])
@pytest.mark.parametrize("replicas", [1, 2])
def test_evaluation_sees_every_labelled_example_once_in_order(examples, size, replicas):
    found = list(labelled_examples(examples, size, replicas).as_numpy_iterator())
    assert numbers(found) == list(range(LABELLED))
    assert {len(batch["label_ids"]) for batch in found} == {-(-size // replicas) * replicas}
