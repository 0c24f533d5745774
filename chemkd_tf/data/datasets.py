"""Batches for training: global batch k is a function of (seed, k), so that to resume is to skip k batches."""

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from chemkd_tf.data.augmentation import Augmentation
from chemkd_tf.data.dynamic_masking import cut_and_mask
from chemkd_tf.data.manifest import Manifest, RecordFormat
from chemkd_tf.data.padding import fill_batch, round_up, trim_padding
from chemkd_tf.data.parsing import parse_pretraining_batch, parse_unpadded_batch, parse_whole_texts
from chemkd_tf.data.token_batches import batches_of_tokens, size_of_batch

# Records held in memory to be shuffled, on top of the shuffle across shards that data preparation did.
SHUFFLE_BUFFER = 10_000
# Batches that share out their rows by length.
GROUPED_BATCHES = 32
# What lengths are rounded up to where a shape costs a compilation: at most 8 of them for 128 tokens.
COMPILED_LENGTH_MULTIPLE = 16
_FOREVER = 2**40  # epochs
# Fixed, not tf.data.AUTOTUNE: see `untuned`.
_PARALLEL_CALLS = min(8, len(os.sched_getaffinity(0)))
_PARALLEL_GROUPS = min(2, _PARALLEL_CALLS)  # a group of `token_batches` has the rows of many batches
_BATCHES_AHEAD = 4
# Keeps the random numbers of a text's variant apart from those of an epoch's order.
_AUGMENTATION_STREAM = 1
# Masks of held-out text depend on no run's seed: every evaluation of every run sees the same.
_HELD_OUT_SEED = 0


def pretraining_batches(
    manifest: Manifest,
    batch_size: int,
    random_seed: int,
    first_batch: int = 0,
    num_replicas: int = 1,
    group_by_length: bool = False,
    length_multiple: int = 1,
    batch_tokens: int = 0,
) -> tf.data.Dataset:
    """Returns an endless data set of pretraining batches, each epoch in another order.

    Args:
        manifest: the records. Those that are not masked yet are cut and masked anew in every epoch.
        batch_size: global batch B; filled to a multiple of `num_replicas` with rows of weight 0.
        random_seed: the order, and masks that are drawn now, depend on it alone.
        first_batch: batches to skip (before they are parsed).
        num_replicas: among which each batch will be shared out, times the micro-batches of each.
        group_by_length: rows of about the same length share a batch (see `grouped_by_length`).
        length_multiple: see `trim_padding`.
        batch_tokens: above 0, each batch has as many rows of about the same length as fit in so many tokens (see
            `token_batches`), in place of `batch_size`.
    """

    def epoch(number):
        order = tf.random.experimental.stateless_shuffle(list(manifest.shards), seed=[random_seed, number])
        records = tf.data.Dataset.from_tensor_slices(order).interleave(
            tf.data.TFRecordDataset, cycle_length=8, block_length=16
        )
        return records.shuffle(SHUFFLE_BUFFER, seed=random_seed + number, reshuffle_each_iteration=False)

    records = tf.data.Dataset.range(_FOREVER).flat_map(epoch)
    if batch_tokens:
        parse = _parser(manifest.format, random_seed)
        length = manifest.format.max_seq_length
        batches = batches_of_tokens(
            records, parse, batch_tokens, length, random_seed, first_batch, length_multiple, _PARALLEL_GROUPS
        )
        return _prepared(
            batches, lambda batch: size_of_batch(batch, batch_tokens, num_replicas, length_multiple), length_multiple
        )
    batches = records.batch(batch_size, drop_remainder=True)
    first_read = group_start(first_batch) if group_by_length else first_batch
    batches = _parsed(batches.skip(first_read), manifest.format, random_seed, first_read)
    if group_by_length:
        batches = grouped_by_length(batches, random_seed, first_batch)
    return _shared_out(batches, batch_size, num_replicas, length_multiple)


def held_out_batches(manifest: Manifest, batch_size: int, num_replicas: int = 1) -> tf.data.Dataset:
    """Returns the records once, in the order of the files, the last batch filled with rows of weight 0.

    Windows and masks that are drawn now are the same whenever the data set is read with this batch size.
    """
    batches = tf.data.TFRecordDataset(list(manifest.shards)).batch(batch_size)
    return _shared_out(_parsed(batches, manifest.format, _HELD_OUT_SEED), batch_size, num_replicas)


def group_start(first_batch: int) -> int:
    """The first batch of the group that `first_batch` belongs to: where reading has to begin for it."""
    return first_batch // GROUPED_BATCHES * GROUPED_BATCHES


def grouped_by_length(batches: tf.data.Dataset, random_seed: int, first_batch: int) -> tf.data.Dataset:
    """Gives rows of about the same length the same batch, so that trimming leaves little padding.

    The rows of `GROUPED_BATCHES` batches are sorted by length and cut into as many batches again, which come in a
    random order. Batch k stays a function of (seed, k), and two data sets grouped alike have their shortest, and their
    longest, rows in the same batches.

    Args:
        batches: untrimmed, from number `group_start(first_batch)`, shapes as in the batch contract.
        random_seed: the order depends on it.
        first_batch: number of the first batch to return.
    """

    def regroup(number, group):
        shape = tf.shape(group["padding_mask"])
        order = tf.argsort(tf.reshape(tf.reduce_sum(group["padding_mask"], axis=2), [-1]), stable=True)
        order = tf.random.experimental.stateless_shuffle(tf.reshape(order, shape[:2]), seed=[random_seed, number])
        return {
            name: tf.gather(tf.reshape(value, tf.concat([[-1], tf.shape(value)[2:]], 0)), order)
            for name, value in group.items()
        }

    start = group_start(first_batch)
    groups = batches.batch(GROUPED_BATCHES).enumerate(start // GROUPED_BATCHES)
    regrouped = groups.map(regroup, num_parallel_calls=_PARALLEL_CALLS, deterministic=True).unbatch()
    # Gathering by a two-dimensional index forgets the batches' shapes.
    regrouped = regrouped.map(
        lambda batch: {name: tf.ensure_shape(value, batches.element_spec[name].shape) for name, value in batch.items()}
    )
    return regrouped.skip(first_batch - start)


def _parsed(
    batches: tf.data.Dataset, record_format: RecordFormat, random_seed: int, first_batch: int = 0
) -> tf.data.Dataset:
    """Batches of records, from number `first_batch`, as batches of samples; what isn't masked yet is masked now."""
    parse = _parser(record_format, random_seed)
    return batches.enumerate(first_batch).map(parse, num_parallel_calls=_PARALLEL_CALLS, deterministic=True)


def _parser(record_format: RecordFormat, random_seed: int) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
    """(number, records) to samples; masks that are drawn now depend on the seed and on that number."""
    sizes = record_format.max_seq_length, record_format.max_predictions_per_seq

    def parse(number, serialized):
        if record_format.masking == "dynamic":
            texts = parse_whole_texts(serialized, record_format.whole_words)
            return cut_and_mask(*texts, record_format, tf.stack([random_seed, number]))
        if record_format.padded:
            return parse_pretraining_batch(serialized, *sizes)
        return parse_unpadded_batch(serialized, *sizes, dict(record_format.special_ids).get("pad", 0))

    return parse


class EncodedTexts(NamedTuple):
    """Texts: `token_ids` int32 `[N, T]` padded with 0 ([PAD]), `lengths` and `label_ids` int32 `[N]`.

    `taught`: what a teacher says of them, where one was asked: name in a batch (`taught_...`) to float32 `[N, ...]`, in
    memory or on disk.
    """

    token_ids: np.ndarray
    lengths: np.ndarray
    label_ids: np.ndarray
    taught: dict[str, np.ndarray] | None = None


def sorted_by_length(examples: EncodedTexts) -> EncodedTexts:
    """Returns the examples, the shortest first: batches of neighbours hold little padding."""
    order = np.argsort(examples.lengths, kind="stable")
    taught = examples.taught and {name: array[order] for name, array in examples.taught.items()}
    return EncodedTexts(*(array[order] for array in examples[:3]), taught)


def labelled_batches(
    examples: EncodedTexts,
    batch_size: int,
    random_seed: int,
    num_batches: int,
    first_batch: int,
    num_replicas: int,
    augmentation: Augmentation | None = None,
    unlabelled: EncodedTexts | None = None,
    unlabelled_batch_size: int = 0,
    group_by_length: bool = False,
) -> tf.data.Dataset:
    """Returns global batches `first_batch` ... `num_batches` - 1, every epoch in another order.

    Batches are cut from the epochs laid end to end, so that every one of them is full. Shapes as in the batch contract,
    with `label_ids` int32 `[B]` and `has_label` float32 `[B]`; and with what a teacher said of the unlabelled texts (0
    for the labelled ones) or, where there are none, of the labelled ones.

    Args:
        examples: the labelled texts.
        batch_size: labelled texts per global batch.
        random_seed: order and variants depend on it.
        num_batches: of the whole run.
        first_batch: where to begin.
        num_replicas: among which each batch will be shared out.
        augmentation: what makes a variant of each labelled text; that of the run's n-th depends on `random_seed` and n.
        unlabelled: texts without labels (their `label_ids` count for nothing), as they are.
        unlabelled_batch_size: how many of them follow the labelled ones in each batch.
        group_by_length: rows of about the same length share a batch (see `grouped_by_length`); the batches of the last
            group then depend on `num_batches` too.
    """

    def vary(numbers, token_ids, lengths):
        variants = [
            augmentation(row, length, np.random.default_rng([random_seed, _AUGMENTATION_STREAM, number]))
            for number, row, length in zip(numbers, token_ids, lengths, strict=True)
        ]
        return np.stack([row for row, _ in variants]), np.array([length for _, length in variants], np.int32)

    def batches_of(texts, size, vary=None):
        first = group_start(first_batch) if group_by_length else first_batch
        found = _batches(texts, _places(texts, size, random_seed, first, num_batches), size, vary)
        return grouped_by_length(found, random_seed, first_batch) if group_by_length else found

    batches = batches_of(examples, batch_size, augmentation and vary)
    if unlabelled:
        if unlabelled.taught:
            shapes = {name: (batch_size, *array.shape[1:]) for name, array in unlabelled.taught.items()}
            batches = batches.map(lambda batch: {**batch, **{name: tf.zeros(shapes[name]) for name in shapes}})
        others = batches_of(unlabelled, unlabelled_batch_size).map(
            lambda batch: {**batch, "has_label": tf.zeros_like(batch["has_label"])}
        )
        batches = tf.data.Dataset.zip((batches, others)).map(
            lambda batch, other: {name: tf.concat([batch[name], other[name]], 0) for name in batch}
        )
        batch_size += unlabelled_batch_size
    return _shared_out(batches, batch_size, num_replicas)


def labelled_examples(examples: EncodedTexts, batch_size: int, num_replicas: int) -> tf.data.Dataset:
    """Returns every example once, in order, the last batch filled with rows of weight 0."""
    numbers = tf.data.Dataset.range(len(examples.label_ids))
    return _shared_out(
        _batches(examples, tf.data.Dataset.zip((numbers, numbers)), batch_size), batch_size, num_replicas
    )


def _places(
    examples: EncodedTexts, batch_size: int, random_seed: int, first_batch: int, num_batches: int
) -> tf.data.Dataset:
    """Pairs of (number within the run, index of the example), every epoch in another order."""
    size = len(examples.label_ids)
    epochs = -(-num_batches * batch_size // size)
    order = np.concatenate([np.random.default_rng([random_seed, epoch]).permutation(size) for epoch in range(epochs)])
    numbers = np.arange(first_batch * batch_size, num_batches * batch_size)
    return tf.data.Dataset.from_tensor_slices((numbers, order[numbers]))


def _batches(
    examples: EncodedTexts,
    places: tf.data.Dataset,
    batch_size: int,
    vary: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None,
) -> tf.data.Dataset:
    """The examples at `places` as batches, not yet trimmed."""
    token_ids, lengths, label_ids = (tf.constant(array, tf.int32) for array in examples[:3])
    taught = examples.taught or {}

    def look_up(index):
        return [np.asarray(array[index], np.float32) for array in taught.values()]

    def gather(numbers, index):
        rows, row_lengths = tf.gather(token_ids, index), tf.gather(lengths, index)
        if vary:
            shapes = rows.shape, row_lengths.shape
            rows, row_lengths = tf.numpy_function(vary, (numbers, rows, row_lengths), (tf.int32, tf.int32))
            rows, row_lengths = tf.ensure_shape(rows, shapes[0]), tf.ensure_shape(row_lengths, shapes[1])
        batch = {
            "token_ids": rows,
            "segment_ids": tf.zeros_like(rows),
            "padding_mask": tf.sequence_mask(row_lengths, rows.shape[1], tf.int32),
            "label_ids": tf.gather(label_ids, index),
            "has_label": tf.ones_like(index, tf.float32),
            "example_weight": tf.ones_like(index, tf.float32),
        }
        if taught:
            found = tf.numpy_function(look_up, [index], [tf.float32] * len(taught), stateful=False)
            for (name, array), value in zip(taught.items(), found, strict=True):
                batch[name] = tf.ensure_shape(value, [index.shape[0], *array.shape[1:]])
        return batch

    return places.batch(batch_size).map(gather, num_parallel_calls=_PARALLEL_CALLS)


def _shared_out(
    batches: tf.data.Dataset, batch_size: int, num_replicas: int, length_multiple: int = 1
) -> tf.data.Dataset:
    """Full batches without needless padding, made ahead of the update that needs them."""
    size = round_up(batch_size, num_replicas)
    return _prepared(batches, lambda batch: size, length_multiple)


def _prepared(
    batches: tf.data.Dataset, size_of: Callable[[dict[str, tf.Tensor]], int | tf.Tensor], length_multiple: int
) -> tf.data.Dataset:
    """Batches filled to the size that `size_of` says, and trimmed."""
    batches = batches.map(
        lambda batch: trim_padding(fill_batch(batch, size_of(batch)), length_multiple),
        num_parallel_calls=_PARALLEL_CALLS,
        deterministic=True,
    )
    return untuned(batches.prefetch(_BATCHES_AHEAD))


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns `dataset` without tf.data's tuning while it runs.

    The thread that tunes sleeps for up to a minute. Whoever is done with the data set wakes it and waits for its end,
    but TensorFlow 2.21 wakes it before it says why, so now and then it falls asleep again, and a training's last update
    is followed by as much as a minute of nothing.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
