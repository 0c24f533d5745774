"""Losses of labels: pure functions to (sum, weight), both `[B]`. Those of distillation: `distillation.losses`."""

import tensorflow as tf


def cross_entropy(label_ids: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross-entropy of the right classes: L_t of paper section 3.2 (over tokens), and the classifier's loss.

    -sum_i weight_i log softmax(logits_i)[label_i]

    Args:
        label_ids: int32 `[B, P]` (masked tokens), or `[B]` (labels).
        logits: float `[B, P, V]` or `[B, C]`.
        weights: float32 of the shape of `label_ids`; 0 leaves a position out.

    Returns:
        (sum, weight) in float32 `[B]`.
    """
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(label_ids, tf.cast(logits, tf.float32))
    axes = list(range(1, len(label_ids.shape)))
    return tf.reduce_sum(entropy * weights, axes), tf.reduce_sum(weights, axes)
