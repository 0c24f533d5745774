"""Batches of tokens: full, of similar lengths, a function of (seed, k), filled up with rows that weigh nothing."""

import collections
import random

import numpy as np
import pytest
from data.record_files import FORMATS, TOKENS, assert_same, features_of, number_of, serialize, text, write_records

from chemkd_tf.data.datasets import pretraining_batches
from chemkd_tf.data.token_batches import cut_into_batches, rows_that_fit

TEXTS = 39
BUDGET = 2 * TOKENS + 5
# What the others add takes minutes.
PARAMS = [name if name in ("unpadded", "dynamic") else pytest.param(name, marks=pytest.mark.slow) for name in FORMATS]
GROUP = 2 * 64  # rows


@pytest.fixture(scope="module", params=PARAMS)
def records(request, tmp_path_factory):
    """Shards of a kind; each text has tokens that no other has. Some are longer than a sample."""
    rng = random.Random(5)
    record_format = FORMATS[request.param]
    written = [
        serialize(features_of(record_format, text(number, rng.choice([1, 2, 3, 5, 8, 30])), rng))
        for number in range(TEXTS)
    ]
    return write_records(str(tmp_path_factory.mktemp("records") / "P"), written, record_format, num_shards=3)


def batches(records, number, seed=3, first=0, replicas=1, multiple=1, budget=BUDGET):
    dataset = pretraining_batches(records, 4, seed, first, replicas, length_multiple=multiple, batch_tokens=budget)
    return list(dataset.take(number).as_numpy_iterator())


def texts_of(found):
    """Which text each row that counts is of."""
    for batch in found:
        for row in np.flatnonzero(batch["example_weight"]):
            ids = batch["token_ids"][row].copy()
            masked = batch["mask_weights"][row] > 0
            ids[batch["mask_positions"][row][masked]] = batch["mask_ids"][row][masked]
            yield number_of(ids[1 : batch["padding_mask"][row].sum() - 1].tolist())


def first_group(found):
    """The batches that together have the rows of a group."""
    rows = np.cumsum([batch["example_weight"].sum() for batch in found])
    (last,) = np.flatnonzero(rows == GROUP)[:1]
    return found[: last + 1]


@pytest.mark.parametrize("multiple", [1, 16])
@pytest.mark.parametrize("seed", range(5))
def test_batches_are_full_and_the_last_two_share_what_is_left(seed, multiple):
    rng = np.random.default_rng(seed)
    lengths = -np.sort(-rng.integers(3, 129, rng.integers(1, 2000)))
    budget = int(rng.integers(128, 4000))
    bounds = cut_into_batches(lengths, budget, multiple)
    assert bounds[0] == 0 and bounds[-1] == len(lengths) and (np.diff(bounds) > 0).all()
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        longest = -(-lengths[start] // multiple) * multiple
        assert (end - start) * longest <= budget or end - start == 1
        if end < bounds[max(len(bounds) - 3, 0)]:
            more = end - start + (8 if end - start >= 8 else 1)
            assert more * longest > budget, "another row, or another eight, would have fitted"
    if len(bounds) > 2:
        assert bounds[-1] - bounds[-2] >= (bounds[-2] - bounds[-3]) // 2


@pytest.mark.parametrize(("length", "tokens", "rows"), [(128, 128, 1), (128, 100, 1), (10, 75, 7), (10, 80, 8),
                                                         (10, 159, 8), (10, 160, 16)])  # fmt: skip
def test_rows_are_a_multiple_of_eight_if_they_can_be(length, tokens, rows):
    assert rows_that_fit(length, tokens) == rows


def test_batch_k_is_the_same_wherever_reading_begins(records):
    whole = batches(records, 70)
    group = len(first_group(whole))
    assert 2 < group < 60
    for first in (1, group - 1, group, group + 1, 60):
        assert_same(batches(records, len(whole) - first, first=first), whole[first:])


def test_a_group_has_the_rows_that_plain_batches_have_in_another_order(records):
    group = first_group(batches(records, 70))
    plain = list(pretraining_batches(records, GROUP, 3).take(1).as_numpy_iterator())
    assert collections.Counter(texts_of(group)) == collections.Counter(texts_of(plain))
    lengths = [batch["padding_mask"].sum(axis=1) for batch in group]
    longest = [each.max() for each in lengths]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True), "in random order"
    for each in lengths:  # no batch reaches into another's lengths
        assert all(other.max() <= each.min() or other.min() >= each.max() for other in lengths if other is not each)


def test_no_batch_has_more_tokens_than_it_may(records):
    found = batches(records, 70)
    assert max(batch["token_ids"].size for batch in found) <= BUDGET
    assert np.mean([batch["token_ids"].size for batch in found]) > 0.7 * BUDGET
    rows = {len(batch["token_ids"]) for batch in found}
    assert min(rows) <= 3 and max(rows) >= 8, "the shorter the rows, the more of them"


def test_another_seed_gives_other_batches(records):
    one, other, same = (list(texts_of(batches(records, 5, seed=seed))) for seed in (3, 4, 3))
    assert one == same != other


@pytest.mark.parametrize("replicas", [2, 6])
def test_replicas_do_not_change_what_a_batch_counts(records, replicas):
    for plain, filled in zip(batches(records, 20), batches(records, 20, replicas=replicas), strict=True):
        rows = len(plain["token_ids"])
        assert len(filled["token_ids"]) == -(-rows // replicas) * replicas
        np.testing.assert_array_equal(filled["example_weight"], np.arange(len(filled["token_ids"])) < rows)
        for name in plain:
            np.testing.assert_array_equal(filled[name][:rows], plain[name], err_msg=name)


@pytest.mark.parametrize("replicas", [1, 2])
def test_rounded_lengths_have_one_shape_each(records, replicas):
    found = batches(records, 70, replicas=replicas, multiple=4)
    shapes = {batch["token_ids"].shape for batch in found}
    assert len(shapes) == len({columns for _, columns in shapes}) <= TOKENS // 4
    assert {columns % 4 for _, columns in shapes} == {0}
    assert {batch["mask_ids"].shape[1] for batch in found} == {found[0]["mask_ids"].shape[1]}
    group = first_group(found)
    plain = list(pretraining_batches(records, GROUP, 3).take(1).as_numpy_iterator())
    assert collections.Counter(texts_of(group)) == collections.Counter(texts_of(plain))
