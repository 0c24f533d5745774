"""Batches: number k depends on the seed alone, every epoch holds every record once, filled rows weigh nothing."""

import collections
import dataclasses
import random

import numpy as np
import pytest
import tensorflow as tf
from data.record_files import (
    FORMATS,
    PREDICTIONS,
    TOKENS,
    assert_same,
    features_of,
    number_of,
    serialize,
    text,
    write_records,
)

from chemkd_tf.data.datasets import (
    GROUPED_BATCHES,
    held_out_batches,
    pretraining_batches,
)
from chemkd_tf.data.padding import fill_batch, round_up, trim_padding

BATCH = 9
TEXTS = 39
assert TEXTS % BATCH  # an epoch ends within a batch
# What the others add takes minutes.
PARAMS = [name if name in ("padded", "dynamic") else pytest.param(name, marks=pytest.mark.slow) for name in FORMATS]


@pytest.fixture(scope="module", params=PARAMS)
def records(request, tmp_path_factory):
    """Shards of a kind; each text has tokens that no other has. Some are longer than a sample."""
    rng = random.Random(5)
    record_format = FORMATS[request.param]
    texts = [text(number, rng.randint(1, 30)) for number in range(TEXTS)]
    assert sum(len(token_ids) > TOKENS - 2 for token_ids in texts) > TEXTS // 4
    written = [serialize(features_of(record_format, token_ids, rng)) for token_ids in texts]
    return write_records(str(tmp_path_factory.mktemp("records") / "P"), written, record_format, num_shards=3)


def batches(records, number, seed=3, first=0, replicas=1, size=BATCH):
    dataset = pretraining_batches(records, size, seed, first, replicas)
    return list(dataset.take(number).as_numpy_iterator())


def grouped(records, number, seed=3, first=0, replicas=1, size=4):
    dataset = pretraining_batches(records, size, seed, first, replicas, group_by_length=True)
    return list(dataset.take(number).as_numpy_iterator())


def held_out(records, size=BATCH, replicas=1):
    return list(held_out_batches(records, size, replicas).as_numpy_iterator())


def windows_of(found):
    """What each row shows of its text, what was masked put back."""
    for batch in found:
        for row in range(len(batch["token_ids"])):
            ids = batch["token_ids"][row].copy()
            masked = batch["mask_weights"][row] > 0
            ids[batch["mask_positions"][row][masked]] = batch["mask_ids"][row][masked]
            yield ids[1 : batch["padding_mask"][row].sum() - 1].tolist()


def texts_of(found):
    """Which text each row is of; its window is checked on the way."""
    numbers = []
    for window in windows_of(found):
        assert window == list(range(window[0], window[0] + len(window))) and len(window) <= TOKENS - 2
        numbers.append(number_of(window))
    return numbers


def masks_of(found):
    """Text, window and masks of each row."""
    rows = (row for batch in found for row in zip(batch["mask_positions"], batch["mask_weights"], strict=True))
    return [
        (tuple(window), tuple(positions[weights > 0]))
        for window, (positions, weights) in zip(windows_of(found), rows, strict=True)
    ]


def stored_order(records):
    """Texts in the order of the files."""
    return [number for shard in range(3) for number in range(shard, TEXTS, 3)]


def is_dynamic(records):
    return records.format.masking == "dynamic"


def test_batch_k_is_the_same_wherever_reading_begins(records):
    per_epoch = TEXTS // BATCH
    whole = batches(records, 2 * per_epoch + 3)
    for first in (1, per_epoch, per_epoch + 1, 2 * per_epoch):  # an epoch ends within batch `per_epoch`
        assert_same(batches(records, len(whole) - first, first=first), whole[first:])


def test_every_epoch_holds_every_record_once_in_another_order(records):
    numbers = texts_of(batches(records, 3 * TEXTS // BATCH))
    epochs = [numbers[:TEXTS], numbers[TEXTS : 2 * TEXTS]]
    for epoch in epochs:
        assert sorted(epoch) == list(range(TEXTS))
    assert epochs[0] != epochs[1]
    assert stored_order(records) not in epochs


def test_only_records_that_are_not_masked_yet_get_other_masks_in_another_epoch(records):
    rows = masks_of(batches(records, 3 * TEXTS // BATCH))
    epochs = [collections.Counter(rows[:TEXTS]), collections.Counter(rows[TEXTS : 2 * TEXTS])]
    same = (epochs[0] & epochs[1]).total() / TEXTS
    assert same < 0.5 if is_dynamic(records) else same == 1.0
    long = [collections.Counter(window for window, _ in epoch if len(window) == TOKENS - 2) for epoch in epochs]
    assert (long[0] != long[1]) == is_dynamic(records), "windows are cut anew too"
    for window, positions in rows if is_dynamic(records) else []:
        budget = max(1, round(0.15 * (len(window) + 2)))  # never above PREDICTIONS here
        assert len(positions) <= budget if records.format.whole_words else len(positions) == budget


def test_another_seed_gives_another_order(records):
    epochs = [texts_of(batches(records, TEXTS // BATCH, seed=seed)) for seed in (3, 4, 3)]
    assert epochs[0] != epochs[1]
    assert epochs[0] == epochs[2]


def test_a_batch_may_be_larger_than_the_data(records):
    (batch,) = batches(records, 1, size=2 * TEXTS)
    assert collections.Counter(texts_of([batch])) == dict.fromkeys(range(TEXTS), 2)


def test_replicas_do_not_change_what_a_batch_counts(records):
    one, two = batches(records, 5), batches(records, 5, replicas=2)
    for batch, filled in zip(one, two, strict=True):
        assert filled["token_ids"].shape[0] == BATCH + 1
        np.testing.assert_array_equal(filled["example_weight"], [1.0] * BATCH + [0.0])
        for name in batch:
            np.testing.assert_array_equal(filled[name][:BATCH], batch[name], err_msg=name)


def test_the_number_of_rows_is_known_before_the_first_batch(records):
    for replicas, rows in ((1, 9), (4, 12)):
        spec = pretraining_batches(records, BATCH, 3, 0, replicas).element_spec
        assert {value.shape[0] for value in spec.values()} == {rows}
        spec = held_out_batches(records, BATCH, replicas).element_spec
        assert {value.shape[0] for value in spec.values()} == {rows}


def test_held_out_records_come_once_in_the_order_of_the_files(records):
    found = held_out(records)
    weights = np.concatenate([batch["example_weight"] for batch in found])
    np.testing.assert_array_equal(weights, np.arange(len(weights)) < TEXTS)
    assert len(weights) == -(-TEXTS // BATCH) * BATCH
    assert texts_of(found)[:TEXTS] == stored_order(records)
    for name in found[-1].keys() - {"example_weight"}:
        for filler in found[-1][name][TEXTS % BATCH :]:
            np.testing.assert_array_equal(filler, found[-1][name][0], err_msg=name)


def test_held_out_masks_are_the_same_at_every_evaluation(records):
    dataset = held_out_batches(records, BATCH)
    first = list(dataset.as_numpy_iterator())
    assert_same(list(dataset.as_numpy_iterator()), first)
    assert_same(held_out(records), first)
    for batch, filled in zip(first, held_out(records, replicas=2), strict=True):
        np.testing.assert_array_equal(filled["token_ids"][:BATCH], batch["token_ids"][:BATCH])


def test_grouped_batch_k_is_the_same_wherever_reading_begins(records):
    whole = grouped(records, 2 * GROUPED_BATCHES + 3)
    for first in (1, GROUPED_BATCHES, GROUPED_BATCHES + 1, 2 * GROUPED_BATCHES):
        assert_same(grouped(records, len(whole) - first, first=first), whole[first:])


def test_grouping_shares_the_same_rows_out_again_by_length(records):
    plain, by_length = batches(records, 2 * GROUPED_BATCHES, size=4), grouped(records, 2 * GROUPED_BATCHES)
    for start in (0, GROUPED_BATCHES):
        group = slice(start, start + GROUPED_BATCHES)
        assert sorted(masks_of(by_length[group])) == sorted(masks_of(plain[group]))
        lengths = [sorted(batch["padding_mask"].sum(axis=1).tolist()) for batch in by_length[group]]
        expected = sorted(length for batch in plain[group] for length in batch["padding_mask"].sum(axis=1).tolist())
        assert sum(sorted(lengths), []) == expected, "no batch reaches into another's lengths"
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
    spec = pretraining_batches(records, 5, 3, 0, 2, group_by_length=True).element_spec
    assert {value.shape[0] for value in spec.values()} == {6}


@pytest.mark.parametrize("changes", [{"max_seq_length": TOKENS + 1}, {"max_predictions_per_seq": PREDICTIONS - 1}])
@pytest.mark.parametrize("read", [batches, grouped])
def test_records_of_another_length_than_their_manifest_says_are_refused(tmp_path, read, changes):
    rng = random.Random(1)
    written = [serialize(features_of(FORMATS["padded"], text(number, 9), rng)) for number in range(TEXTS)]
    told = dataclasses.replace(FORMATS["padded"], **changes)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Key: "):
        read(write_records(str(tmp_path / "P"), written, told), 1)


@pytest.mark.parametrize("kind", FORMATS)
def test_broken_records_stop_the_run(tmp_path, kind):
    rng = random.Random(1)
    written = [serialize(features_of(FORMATS[kind], text(number, 9), rng)) for number in range(TEXTS)]
    path = str(tmp_path / "P")
    with pytest.raises(tf.errors.InvalidArgumentError, match="input_ids"):
        held_out(write_records(path, [*written, serialize({"other": [1]})], FORMATS[kind]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Could not parse example input"):
        held_out(write_records(path, [*written, b"no record"], FORMATS[kind]))
    records = write_records(path, written, FORMATS[kind])
    with open(records.shards[0], "r+b") as file:
        file.truncate(file.seek(0, 2) - 10)
    with pytest.raises(tf.errors.DataLossError):
        held_out(records)


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


@pytest.mark.parametrize(("multiple", "columns"), [(2, 6), (3, 6), (4, 8), (5, 5), (7, 7), (16, 8)])
def test_trimming_to_a_multiple_leaves_few_shapes(multiple, columns):
    batch = some_batch()  # the longest row has 5 tokens of 8
    trimmed = trim_padding({name: tf.constant(value) for name, value in batch.items()}, multiple)
    for name, value in batch.items():
        cut = name in ("token_ids", "segment_ids", "padding_mask")
        np.testing.assert_array_equal(trimmed[name], value[:, :columns] if cut else value, err_msg=name)


def test_a_labelled_batch_without_masked_positions_is_trimmed_too():
    batch = {name: value for name, value in some_batch().items() if not name.startswith("mask_")}
    trimmed = trim_padding({name: tf.constant(value) for name, value in batch.items()})
    assert {name: tuple(value.shape) for name, value in trimmed.items()} == {
        "token_ids": (3, 5), "segment_ids": (3, 5), "padding_mask": (3, 5), "label_ids": (3,), "example_weight": (3,)
    }  # fmt: skip


@pytest.mark.parametrize(("size", "multiple", "expected"), [(1, 1, 1), (7, 2, 8), (8, 2, 8), (1, 4, 4), (9, 4, 12)])
def test_rounding_up_gives_the_next_multiple(size, multiple, expected):
    assert round_up(size, multiple) == expected
