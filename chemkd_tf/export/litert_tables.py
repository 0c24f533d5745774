"""Embedding tables inside a LiteRT graph, kept in the model's precision and widened row by row.

Left to itself the converter would widen the whole table when the model is loaded: 17 MB for 21,128 rows of 200.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# A table float32 [V, H] and ids int32 [T] to the rows float32 [T, H].
Lookup = Callable[[np.ndarray, tf.Tensor], tf.Tensor]


def float32_rows(table: np.ndarray, ids: tf.Tensor) -> tf.Tensor:
    """Returns rows `[T, H]` of a table kept as it is."""
    return tf.gather(tf.constant(table), ids)


def float16_rows(table: np.ndarray, ids: tf.Tensor) -> tf.Tensor:
    """Returns rows `[T, H]` of a table kept in float16; LiteRT gathers no float16, so its bits travel as int16."""
    bits = tf.gather(tf.constant(table.astype(np.float16).view(np.int16)), ids)
    return tf.cast(tf.bitcast(bits, tf.float16), tf.float32)


def int8_rows(table: np.ndarray, ids: tf.Tensor) -> tf.Tensor:
    """Returns rows `[T, H]` of a table kept in int8, each row with a scale of its own."""
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True), np.finfo(np.float32).tiny * 127) / np.float32(127)
    quantised = np.rint(table / scales).astype(np.int8)
    return tf.cast(tf.gather(tf.constant(quantised), ids), tf.float32) * tf.gather(tf.constant(scales), ids)
