"""Batches of a fixed number of tokens: rows of about the same length, the more of them the shorter they are."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# Rows of the greatest length that a group holds this many batches of: enough that the last, smaller batches are few.
_GROUPED_BATCHES = 64
# What a device multiplies well, and what 1, 2, 4 or 8 replicas share without filling up.
_ROW_MULTIPLE = 8


def rows_that_fit(length: int, batch_tokens: int) -> int:
    """How many rows of `length` tokens make up a batch: a multiple of 8 if it can be, at least 1."""
    rows = max(batch_tokens // length, 1)
    return rows // _ROW_MULTIPLE * _ROW_MULTIPLE or rows


def cut_into_batches(lengths: np.ndarray, batch_tokens: int, length_multiple: int = 1) -> np.ndarray:
    """Cuts rows, the longest first, into batches that are full; the last two share what is left for them.

    Args:
        lengths: int `[N]`, descending.
        batch_tokens: most tokens of a batch, padding counted (a single row may have more).
        length_multiple: what a batch's length is rounded up to.

    Returns:
        Where each batch begins, and N, int32 `[batches + 1]`.
    """
    bounds = [0]
    while bounds[-1] < len(lengths):
        longest = -(-int(lengths[bounds[-1]]) // length_multiple) * length_multiple
        bounds.append(bounds[-1] + rows_that_fit(longest, batch_tokens))
    bounds[-1] = len(lengths)
    if len(bounds) > 2:  # a batch of a few rows would make a poor update
        bounds[-2] = min(bounds[-2], (bounds[-3] + bounds[-1] + 1) // 2)
    return np.array(bounds, np.int32)


def batches_of_tokens(
    records: tf.data.Dataset,
    parse: Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]],
    batch_tokens: int,
    max_seq_length: int,
    random_seed: int,
    first_batch: int,
    length_multiple: int = 1,
    parallel_calls: int = 1,
) -> tf.data.Dataset:
    """Cuts an endless stream of records into batches of about `batch_tokens` tokens.

    A group of records is sorted by length and cut (`cut_into_batches`); its batches come in a random order. How many
    they are depends on the lengths, so where batch k begins is found by counting: a pass over the records before it
    that makes nothing of them but their lengths. Batch k stays a function of (seed, k).

    Args:
        records: serialized tf.train.Example, in the order that depends on the seed.
        parse: (number of the group, string `[N]`) to the group's rows, shapes as in the batch contract.
        batch_tokens: see `cut_into_batches`.
        max_seq_length: T.
        random_seed: the order depends on it.
        first_batch: number of the first batch to return.
        length_multiple: see `cut_into_batches`.
        parallel_calls: groups that are parsed at the same time.

    Returns:
        Batches `[b, T]`, not trimmed, of unequal numbers of rows b.
    """
    group_rows = _GROUPED_BATCHES * max(batch_tokens // max_seq_length, 1)
    groups = records.batch(group_rows, drop_remainder=True).enumerate()

    def lengths_of(rows):
        return tf.reduce_sum(rows["padding_mask"], axis=1)

    def bounds_of(lengths):
        bounds = tf.numpy_function(
            lambda values: cut_into_batches(values, batch_tokens, length_multiple), (lengths,), tf.int32
        )
        return tf.ensure_shape(bounds, [None])

    def count(number, serialized):
        lengths = tf.sort(lengths_of(parse(number, serialized)), direction="DESCENDING")
        return tf.size(bounds_of(lengths)) - 1

    def cut(number, serialized):
        rows = parse(number, serialized)
        lengths = lengths_of(rows)
        order = tf.argsort(lengths, direction="DESCENDING", stable=True)
        bounds = bounds_of(tf.gather(lengths, order))
        batches = tf.random.experimental.stateless_shuffle(
            tf.stack([bounds[:-1], bounds[1:]], axis=1), seed=tf.stack([tf.cast(random_seed, tf.int64), number])
        )
        return {name: tf.gather(value, order) for name, value in rows.items()}, batches

    def batches_of(rows, batches):
        return tf.data.Dataset.from_tensor_slices(batches).map(
            lambda bounds: {name: value[bounds[0] : bounds[1]] for name, value in rows.items()}
        )

    first_group, before = 0, 0
    if first_batch:
        for batches in groups.map(count, num_parallel_calls=parallel_calls, deterministic=True).as_numpy_iterator():
            if before + batches > first_batch:
                break
            first_group, before = first_group + 1, before + int(batches)
    groups = groups.skip(first_group).map(cut, num_parallel_calls=parallel_calls, deterministic=True)
    return groups.flat_map(batches_of).skip(first_batch - before)


def size_of_batch(
    batch: dict[str, tf.Tensor], batch_tokens: int, num_replicas: int, length_multiple: int = 1
) -> tf.Tensor:
    """To how many rows a batch is filled up: a multiple of `num_replicas`; where few shapes are wanted, always as many.

    Args:
        batch: of `batches_of_tokens`.
        batch_tokens: as there.
        num_replicas: among which it will be shared out.
        length_multiple: as there; above 1, all batches of one rounded length get the same size.
    """
    rows = tf.shape(batch["padding_mask"])[0]
    if length_multiple > 1:
        rounded = [-(-length // length_multiple) for length in range(1, batch["padding_mask"].shape[1] + 1)]
        full = [rows_that_fit(multiple * length_multiple, batch_tokens) for multiple in rounded]
        longest = tf.reduce_max(tf.reduce_sum(batch["padding_mask"], axis=1))
        rows = tf.maximum(rows, tf.gather(tf.constant(full, tf.int32), longest - 1))
    return -(-rows // num_replicas) * num_replicas
