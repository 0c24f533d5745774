"""The losses of distillation as pure functions to (sum, weight), both float32 `[B]`: the paper's (section 3.3), then
those of the methods that it compares itself with (section 4.4).

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


def attention_mean_squared_error(
    student: tf.Tensor, teacher: tf.Tensor, token_weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """L_attn of TinyBERT (Jiao et al. 2020, arXiv:1909.10351, eq. 7): MSE of attention scores before the softmax.

    Args:
        student: float `[B, heads, T, T]`.
        teacher: likewise, of as many heads.
        token_weights: float32 `[B, T]`, 0 on padding: a pair of tokens weighs the product of both.

    Returns:
        Per example: sum over pairs of real tokens of the mean squared difference over heads; number of pairs.
    """
    difference = tf.cast(student, tf.float32) - tf.cast(teacher, tf.float32)
    pairs = token_weights[:, :, None] * tf.sign(token_weights)[:, None, :]
    per_pair = tf.reduce_mean(tf.square(difference), axis=1)
    return tf.reduce_sum(per_pair * pairs, axis=[1, 2]), tf.reduce_sum(pairs, axis=[1, 2])


def normalised_squared_error(
    projected: tf.Tensor, teacher: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """L_PT of BERT-PKD (Sun et al. 2019, arXiv:1908.09355, eq. 7): || s / ||s|| - t / ||t|| ||^2, from 0 to 4.

    Args:
        projected: float `[B, d]`, the student's states at [CLS].
        teacher: float `[B, d]`.
        weights: float32 `[B]`.

    Returns:
        Per example: weight times the squared distance on the unit sphere; weight.
    """
    distance = 2.0 * (1.0 - _cosine(projected, teacher))
    return distance * weights, weights


def cosine_distance(projected: tf.Tensor, teacher: tf.Tensor, token_weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """L_cos of DistilBERT (Sanh et al. 2019, arXiv:1910.01108, section 3): 1 - cos(s, t), from 0 to 2.

    Args:
        projected: float `[B, T, d]`.
        teacher: float `[B, T, d]`.
        token_weights: float32 `[B, T]`, 0 on padding.

    Returns:
        Per example: sum over real tokens; number of real tokens.
    """
    per_token = 1.0 - _cosine(projected, teacher)
    return tf.reduce_sum(per_token * token_weights, axis=1), tf.reduce_sum(token_weights, axis=1)


def cos_nce(
    projected: tf.Tensor,
    teacher: tf.Tensor,
    token_weights: tf.Tensor,
    all_teachers: tf.Tensor,
    all_are_tokens: tf.Tensor,
    first_row: tf.Tensor,
    num_negatives: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """COS-NCE of LRC-BERT (Fu et al. 2021, arXiv:2012.07335, eq. 3), token by token.

        g(x, y) = 1 - cos(x, y)
        L = [2K - sum_i (g(n_i, s) - g(t, s))] / 2K + g(t, s)

    s is a token's projected state, t the teacher's, n_i the teacher's states at the same position of the next K samples
    of the global batch that have a token there, in a circle. With fewer than K such samples, all of them; with none,
    the first summand is 1, its value where negatives are no farther than the positive.

    Args:
        projected: float `[B, T, d]`: this replica's samples.
        teacher: float `[B, T, d]`.
        token_weights: float32 `[B, T]`, 0 on padding.
        all_teachers: float `[G, T, d]`: the teacher's states of the whole global batch.
        all_are_tokens: float32 `[G, T]`: 1 where a sample has a token, 0 on padding and in rows that only fill up.
        first_row: int32 scalar, number of this replica's first sample in the global batch.
        num_negatives: K.

    Returns:
        Per example: sum over real tokens, from 0 to 4 each; number of real tokens.
    """
    projected, teacher, everyone = (_unit(state) for state in (projected, teacher, all_teachers))
    global_size = tf.shape(everyone)[0]
    rows = first_row + tf.range(tf.shape(projected)[0])
    others = tf.math.floormod(rows[:, None] + 1 + tf.range(global_size - 1)[None, :], global_size)  # [B, G-1]
    can_serve = tf.transpose(tf.gather(all_are_tokens, others), [0, 2, 1])  # [B, T, G-1]
    chosen = can_serve * tf.cast(tf.cumsum(can_serve, axis=-1) <= num_negatives, tf.float32)
    to_all = 1.0 - tf.einsum("btd,gtd->btg", projected, everyone)
    to_others = tf.gather(to_all, others, axis=2, batch_dims=1)
    to_own = 1.0 - tf.reduce_sum(projected * teacher, axis=-1)
    count = tf.reduce_sum(chosen, axis=-1)
    farther = tf.reduce_sum(chosen * (to_others - to_own[..., None]), axis=-1)
    per_token = 1.0 - tf.math.divide_no_nan(farther, 2.0 * count) + to_own
    return tf.reduce_sum(per_token * token_weights, axis=1), tf.reduce_sum(token_weights, axis=1)


def logits_mean_squared_error(
    teacher_logits: tf.Tensor, student_logits: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """L_distill of Tang et al. 2019 (arXiv:1903.12136, section 3.2): squared error of logits, the mean over classes.

    Args:
        teacher_logits: float `[B, P, V]`.
        student_logits: float `[B, P, V]`.
        weights: float32 `[B, P]`, 0 on positions that hold nothing to predict.

    Returns:
        Per example: sum over positions; number of positions.
    """
    difference = tf.cast(student_logits, tf.float32) - tf.cast(teacher_logits, tf.float32)
    per_position = tf.reduce_mean(tf.square(difference), axis=-1)
    return tf.reduce_sum(per_position * weights, axis=1), tf.reduce_sum(weights, axis=1)


def _unit(state: tf.Tensor) -> tf.Tensor:
    return tf.nn.l2_normalize(tf.cast(state, tf.float32), axis=-1)


def _cosine(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(_unit(one) * _unit(other), axis=-1)
