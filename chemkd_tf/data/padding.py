"""Rows that fill a batch up, and columns that it can do without."""

import tensorflow as tf


def fill_batch(batch: dict[str, tf.Tensor], size: int | tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the batch with exactly `size` rows: copies of its first row, which weigh nothing, follow its own.

    A replica that got no row would crash the LSTM, a row of padding alone would crash cuDNN's.
    """
    rows = tf.shape(batch["token_ids"])[0]
    index = tf.where(tf.range(size) < rows, tf.range(size), 0)
    known = size if isinstance(size, int) else None
    filled = {
        name: tf.ensure_shape(tf.gather(value, index), [known, *value.shape[1:]]) for name, value in batch.items()
    }
    filled["example_weight"] *= tf.cast(tf.range(size) < rows, tf.float32)
    return filled


def trim_padding(batch: dict[str, tf.Tensor], length_multiple: int = 1) -> dict[str, tf.Tensor]:
    """Cuts the columns that are padding in every row, of tokens and of masked positions alike.

    Results don't change; short sentences cost less. Masked positions matter as much as tokens: each costs a product
    with the whole vocabulary.

    Args:
        batch: see the batch contract.
        length_multiple: above 1, tokens are cut to a multiple of it and masked positions not at all, so that batches
            have few shapes: what is compiled for a shape is compiled seldom.
    """
    longest = tf.reduce_max(tf.reduce_sum(batch["padding_mask"], axis=1))
    longest = tf.minimum(-(-longest // length_multiple) * length_multiple, tf.shape(batch["padding_mask"])[1])
    widths = dict.fromkeys(("token_ids", "segment_ids", "padding_mask"), longest)
    if "mask_weights" in batch and length_multiple == 1:
        masked = tf.reduce_sum(tf.cast(batch["mask_weights"] > 0, tf.int32), axis=1)
        # At least one column: a model without any masked position would have nothing to multiply.
        most = tf.maximum(tf.reduce_max(masked), 1)
        widths.update(dict.fromkeys(("mask_positions", "mask_ids", "mask_weights"), most))

    def trimmed(name: str, value: tf.Tensor) -> tf.Tensor:
        if name in widths:
            return value[:, : widths[name]]
        if name.startswith("taught_") and value.shape.rank == 3:  # states [B, T, H]
            return value[:, :longest]
        if name.startswith("taught_") and value.shape.rank == 4:  # attention scores [B, heads, T, T]
            return value[:, :, :longest, :longest]
        return value

    return {name: trimmed(name, value) for name, value in batch.items()}


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `size`."""
    return -(-size // multiple) * multiple
