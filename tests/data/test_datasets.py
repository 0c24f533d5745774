"""Batches: number k depends on the seed alone, every epoch holds every record once, filled rows weigh nothing."""

import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf
from data.record_oracles import config_for, random_corpus, read_examples, write_corpus, write_vocabulary

from chemkd_tf.data.datasets import (
    GROUPED_BATCHES,
    EncodedTexts,
    fill_batch,
    held_out_batches,
    labelled_batches,
    labelled_examples,
    pretraining_batches,
    round_up,
    trim_padding,
)
from chemkd_tf.data.shards import write_pretraining_data

TOKENS, PREDICTIONS, BATCH = 16, 4, 9
LABELLED = 10


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Shards, and the examples in them as plain lists."""
    folder = tmp_path_factory.mktemp("records")
    write_corpus(folder / "corpus.txt", random_corpus(5, 9))
    write_vocabulary(folder)
    manifest = write_pretraining_data(config_for(folder, num_shards=3))
    examples = read_examples(str(folder / "P"))
    assert len(examples) % BATCH  # an epoch ends within a batch
    return manifest.shards, examples


def batches(records, number, seed=3, first=0, replicas=1, size=BATCH):
    dataset = pretraining_batches(records[0], TOKENS, PREDICTIONS, size, seed, first, replicas)
    return list(dataset.take(number).as_numpy_iterator())


def grouped(records, number, seed=3, first=0, replicas=1, size=4):
    arguments = TOKENS, PREDICTIONS, size, seed, first, replicas
    dataset = pretraining_batches(records[0], *arguments, group_by_length=True)
    return list(dataset.take(number).as_numpy_iterator())


def rows_of(found):
    """Token ids of every row, without padding."""
    return [
        tuple(ids[: mask.sum()])
        for batch in found
        for ids, mask in zip(batch["token_ids"], batch["padding_mask"], strict=True)
    ]


def stored_rows(records):
    return [tuple(example["input_ids"][: sum(example["input_mask"])]) for example in records[1]]


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_batch_k_is_the_same_wherever_reading_begins(records):
    per_epoch = len(records[1]) // BATCH
    whole = batches(records, 2 * per_epoch + 3)
    for first in (1, per_epoch - 1, per_epoch, per_epoch + 1, 2 * per_epoch):
        assert_same(batches(records, len(whole) - first, first=first), whole[first:])


def test_every_epoch_holds_every_record_once_in_another_order(records):
    size = len(records[1])
    rows = rows_of(batches(records, 3 * size // BATCH))
    expected = collections.Counter(stored_rows(records))
    epochs = [rows[:size], rows[size : 2 * size]]
    for epoch in epochs:
        assert collections.Counter(epoch) == expected
    assert epochs[0] != epochs[1]
    assert stored_rows(records) not in epochs


def test_another_seed_gives_another_order(records):
    size = len(records[1])
    epochs = [rows_of(batches(records, size // BATCH, seed=seed)) for seed in (3, 4, 3)]
    assert epochs[0] != epochs[1]
    assert epochs[0] == epochs[2]


def test_a_batch_may_be_larger_than_the_data(records):
    size = len(records[1])
    (batch,) = batches(records, 1, size=2 * size)
    assert set(collections.Counter(rows_of([batch])).values()) <= {
        2 * count for count in collections.Counter(stored_rows(records)).values()
    }


def test_replicas_do_not_change_what_a_batch_counts(records):
    one, two = batches(records, 5), batches(records, 5, replicas=2)
    for batch, filled in zip(one, two, strict=True):
        assert filled["token_ids"].shape[0] == BATCH + 1
        np.testing.assert_array_equal(filled["example_weight"], [1.0] * BATCH + [0.0])
        for name in batch:
            np.testing.assert_array_equal(filled[name][:BATCH], batch[name], err_msg=name)


def test_the_number_of_rows_is_known_before_the_first_batch(records):
    for replicas, rows in ((1, 9), (2, 10), (4, 12)):
        spec = pretraining_batches(records[0], TOKENS, PREDICTIONS, BATCH, 3, 0, replicas).element_spec
        assert {value.shape[0] for value in spec.values()} == {rows}
        spec = held_out_batches(records[0], TOKENS, PREDICTIONS, BATCH, replicas).element_spec
        assert {value.shape[0] for value in spec.values()} == {rows}


def test_held_out_records_come_once_in_the_order_of_the_files(records):
    found = list(held_out_batches(records[0], TOKENS, PREDICTIONS, BATCH).as_numpy_iterator())
    weights = np.concatenate([batch["example_weight"] for batch in found])
    size = len(records[1])
    np.testing.assert_array_equal(weights, np.arange(len(weights)) < size)
    assert len(weights) == -(-size // BATCH) * BATCH
    assert rows_of(found)[:size] == stored_rows(records)
    for name in found[-1].keys() - {"example_weight"}:
        for filler in found[-1][name][size % BATCH :]:
            np.testing.assert_array_equal(filler, found[-1][name][0], err_msg=name)


def test_grouped_batch_k_is_the_same_wherever_reading_begins(records):
    whole = grouped(records, 2 * GROUPED_BATCHES + 3)
    for first in (1, GROUPED_BATCHES - 1, GROUPED_BATCHES, GROUPED_BATCHES + 1, 2 * GROUPED_BATCHES):
        assert_same(grouped(records, len(whole) - first, first=first), whole[first:])


def test_grouping_shares_the_same_rows_out_again_by_length(records):
    plain, by_length = batches(records, 2 * GROUPED_BATCHES, size=4), grouped(records, 2 * GROUPED_BATCHES)
    for start in (0, GROUPED_BATCHES):
        group = slice(start, start + GROUPED_BATCHES)
        expected = sorted(rows_of(plain[group]), key=lambda row: (len(row), row))
        found = [rows_of([batch]) for batch in by_length[group]]
        assert sorted(sum(found, []), key=lambda row: (len(row), row)) == expected
        lengths = [sorted(len(row) for row in rows) for rows in found]
        assert sum(sorted(lengths), []) == [len(row) for row in expected], "no batch reaches into another's lengths"
        assert lengths != sorted(lengths), "short batches come before and after long ones"
    assert sum(batch["token_ids"].size for batch in by_length) < sum(batch["token_ids"].size for batch in plain)


def test_a_grouped_row_keeps_what_belongs_to_it(records):
    def facts(found):
        for batch in found:
            for row in range(len(batch["token_ids"])):
                masked = batch["mask_weights"][row] > 0
                names = ("mask_positions", "mask_ids", "mask_weights")
                yield (
                    tuple(batch["token_ids"][row][batch["padding_mask"][row] > 0]),
                    *(tuple(batch[name][row][masked]) for name in names),
                    batch["example_weight"][row],
                )

    plain, by_length = batches(records, GROUPED_BATCHES, size=4), grouped(records, GROUPED_BATCHES)
    assert collections.Counter(facts(plain)) == collections.Counter(facts(by_length))


def test_the_number_of_grouped_rows_is_known_before_the_first_batch(records):
    spec = pretraining_batches(records[0], TOKENS, PREDICTIONS, 5, 3, 0, 2, group_by_length=True).element_spec
    assert {value.shape[0] for value in spec.values()} == {6}


def some_batch(rows=3):
    rng = np.random.default_rng(rows)
    lengths = np.array([4, 2, 5])[:rows]
    mask = (np.arange(8) < lengths[:, None]).astype("int32")
    return {
        "token_ids": rng.integers(5, 50, (rows, 8)).astype("int32") * mask,
        "segment_ids": np.zeros((rows, 8), "int32"),
        "padding_mask": mask,
        "mask_positions": rng.integers(0, 2, (rows, 7)).astype("int32"),
        "mask_ids": rng.integers(5, 50, (rows, 7)).astype("int32"),
        "mask_weights": (np.arange(7) < np.array([2, 0, 3])[:rows, None]).astype("float32"),
        "label_ids": rng.integers(0, 9, rows).astype("int32"),
        "example_weight": np.array([1.0, 0.5, 0.25], "float32")[:rows],
    }


@pytest.mark.parametrize("size", [3, 4, 8])
def test_a_filled_batch_ends_in_copies_of_its_first_row_that_weigh_nothing(size):
    batch = some_batch()
    filled = fill_batch({name: tf.constant(value) for name, value in batch.items()}, size)
    assert filled.keys() == batch.keys()
    for name in batch.keys() - {"example_weight"}:
        expected = list(batch[name]) + [batch[name][0]] * (size - 3)
        np.testing.assert_array_equal(filled[name], expected, err_msg=name)
    np.testing.assert_array_equal(filled["example_weight"], [1.0, 0.5, 0.25] + [0.0] * (size - 3))


def test_a_filled_batch_has_a_static_size_in_a_graph():
    dataset = tf.data.Dataset.from_tensor_slices(some_batch()).batch(2).map(lambda batch: fill_batch(batch, 2))
    assert {value.shape[0] for value in dataset.element_spec.values()} == {2}
    assert [batch["example_weight"].tolist() for batch in dataset.as_numpy_iterator()] == [[1.0, 0.5], [0.25, 0.0]]


@pytest.mark.parametrize("masked", [True, False])
def test_trimming_cuts_the_columns_that_are_padding_in_every_row(masked):
    batch = some_batch()
    batch["mask_weights"] *= masked
    trimmed = trim_padding({name: tf.constant(value) for name, value in batch.items()})
    columns = dict.fromkeys(("token_ids", "segment_ids", "padding_mask"), 5)  # the longest row
    columns |= dict.fromkeys(("mask_positions", "mask_ids", "mask_weights"), 3 if masked else 1)
    assert trimmed.keys() == batch.keys()
    for name, value in batch.items():
        expected = value[:, : columns[name]] if name in columns else value
        np.testing.assert_array_equal(trimmed[name], expected, err_msg=name)


def test_a_labelled_batch_without_masked_positions_is_trimmed_too():
    batch = {name: value for name, value in some_batch().items() if not name.startswith("mask_")}
    trimmed = trim_padding({name: tf.constant(value) for name, value in batch.items()})
    assert {name: tuple(value.shape) for name, value in trimmed.items()} == {
        "token_ids": (3, 5), "segment_ids": (3, 5), "padding_mask": (3, 5), "label_ids": (3,), "example_weight": (3,)
    }  # fmt: skip


@pytest.mark.parametrize(("size", "multiple", "expected"), [(1, 1, 1), (7, 2, 8), (8, 2, 8), (1, 4, 4), (9, 4, 12)])
def test_rounding_up_gives_the_next_multiple(size, multiple, expected):
    assert round_up(size, multiple) == expected


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
