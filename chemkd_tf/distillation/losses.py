"""The paper's distillation losses as pure functions to (sum, weight), both float32 `[B]` (section 3.3).

The division by the weight happens once, in `training.replica_exact`.
"""

import tensorflow as tf


def state_mean_squared_error(
    projected: tf.Tensor, teacher: tf.Tensor, token_weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """L_emb and each summand of L_hid: MSE(s W, t), the mean over the width d and over real tokens.

    Args:
        projected: s W, float `[B, T, d]`.
        teacher: t, float `[B, T, d]`.
        token_weights: float32 `[B, T]`, 0 on padding.

    Returns:
        Per example: sum over tokens of the mean squared difference over d; number of real tokens. The gradient of
        sum/weight with respect to `projected` is 2 (s W - t) / (d · tokens) on real tokens and 0 on padding.
    """
    difference = tf.cast(projected, tf.float32) - tf.cast(teacher, tf.float32)
    per_token = tf.reduce_mean(tf.square(difference), axis=-1)
    return tf.reduce_sum(per_token * token_weights, axis=1), tf.reduce_sum(token_weights, axis=1)


def soft_cross_entropy(
    teacher_logits: tf.Tensor, student_logits: tf.Tensor, weights: tf.Tensor, temperature: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """L_pred: - softmax(t_p / Tem) · log softmax(s_p / Tem), the sum over the vocabulary.

    Args:
        teacher_logits: t_p, float `[B, P, V]`.
        student_logits: s_p, float `[B, P, V]`.
        weights: float32 `[B, P]`, 0 on positions that hold no masked token.
        temperature: Tem, above 0.

    Returns:
        Per example: sum over masked positions; number of masked positions. At equality it is the teacher's entropy,
        not 0. The gradient of sum/weight with respect to `student_logits` is
        (softmax(s_p / Tem) - softmax(t_p / Tem)) / (Tem · positions).
    """
    teacher = tf.nn.softmax(tf.cast(teacher_logits, tf.float32) / temperature)
    student = tf.nn.log_softmax(tf.cast(student_logits, tf.float32) / temperature)
    per_position = -tf.reduce_sum(teacher * student, axis=-1)
    return tf.reduce_sum(per_position * weights, axis=1), tf.reduce_sum(weights, axis=1)
