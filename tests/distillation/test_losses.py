"""The paper's losses against loops in plain `math`."""

import math

import numpy as np
import pytest
import tensorflow as tf

from chemkd_tf.distillation.losses import soft_cross_entropy, state_mean_squared_error


@pytest.fixture(params=range(3))
def rng(request):
    return np.random.default_rng(request.param)


def floats(rng, *shape):
    return rng.normal(0, 2, shape).astype("float32")


def plain_mean_squared_error(projected, teacher, weights):
    """Per example: sum over tokens of weight times the mean over the width of the squared difference."""
    sums = []
    for s, t, w in zip(projected.tolist(), teacher.tolist(), weights.tolist(), strict=True):
        total = 0.0
        for s_token, t_token, weight in zip(s, t, w, strict=True):
            squares = [(a - b) ** 2 for a, b in zip(s_token, t_token, strict=True)]
            total += weight * math.fsum(squares) / len(squares)
        sums.append(total)
    return sums


def plain_softmax(logits, temperature):
    scaled = [value / temperature for value in logits]
    exponentials = [math.exp(value - max(scaled)) for value in scaled]
    return [value / math.fsum(exponentials) for value in exponentials]


def plain_soft_cross_entropy(teacher, student, weights, temperature):
    sums = []
    for t, s, w in zip(teacher.tolist(), student.tolist(), weights.tolist(), strict=True):
        total = 0.0
        for t_position, s_position, weight in zip(t, s, w, strict=True):
            p, q = plain_softmax(t_position, temperature), plain_softmax(s_position, temperature)
            total -= weight * math.fsum(a * math.log(b) for a, b in zip(p, q, strict=True))
        sums.append(total)
    return sums


def plain_entropy(teacher, weights, temperature):
    return plain_soft_cross_entropy(teacher, teacher, weights, temperature)


WEIGHTS = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]], "float32")


def test_state_error_is_the_mean_over_width_summed_over_real_tokens(rng):
    projected, teacher = floats(rng, 3, 4, 5), floats(rng, 3, 4, 5)
    total, weight = state_mean_squared_error(projected, teacher, WEIGHTS)
    np.testing.assert_allclose(total, plain_mean_squared_error(projected, teacher, WEIGHTS), rtol=1e-5)
    assert weight.numpy().tolist() == [3, 1, 2]


def test_state_error_is_zero_at_equality_and_positive_elsewhere(rng):
    teacher = floats(rng, 3, 4, 5)
    assert state_mean_squared_error(teacher, teacher, WEIGHTS)[0].numpy().tolist() == [0, 0, 0]
    assert (state_mean_squared_error(teacher + 1e-2, teacher, WEIGHTS)[0].numpy() > 0).all()


def test_state_error_ignores_what_stands_on_padding(rng):
    projected, teacher = floats(rng, 3, 4, 5), floats(rng, 3, 4, 5)
    before = state_mean_squared_error(projected, teacher, WEIGHTS)
    extra = floats(rng, 3, 6, 5)
    padded = [np.concatenate([state, scale * extra], axis=1) for state, scale in ((projected, 1), (teacher, -9))]
    after = state_mean_squared_error(*padded, np.pad(WEIGHTS, ((0, 0), (0, 6))))
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_state_error_has_the_documented_gradient(rng):
    projected, teacher = tf.constant(floats(rng, 3, 4, 5)), floats(rng, 3, 4, 5)
    with tf.GradientTape() as tape:
        tape.watch(projected)
        total, weight = state_mean_squared_error(projected, teacher, WEIGHTS)
        loss = tf.reduce_sum(total) / tf.reduce_sum(weight)
    expected = 2 * (projected.numpy() - teacher) / (5 * 6) * WEIGHTS[:, :, None]
    np.testing.assert_allclose(tape.gradient(loss, projected), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_cross_entropy_sums_over_the_vocabulary_and_the_masked_positions(rng, temperature):
    teacher, student = floats(rng, 3, 4, 7), floats(rng, 3, 4, 7)
    total, weight = soft_cross_entropy(teacher, student, WEIGHTS, temperature)
    expected = plain_soft_cross_entropy(teacher, student, WEIGHTS, temperature)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    assert weight.numpy().tolist() == [3, 1, 2]


def test_soft_cross_entropy_of_two_even_classes_is_log_two():
    total, weight = soft_cross_entropy(np.zeros((1, 1, 2)), np.zeros((1, 1, 2)), np.ones((1, 1), "float32"), 1.0)
    assert total.numpy()[0] == pytest.approx(math.log(2), rel=1e-6)
    assert weight.numpy()[0] == 1


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_soft_cross_entropy_is_the_teachers_entropy_at_equality_and_never_below(rng, temperature):
    teacher = floats(rng, 3, 4, 7)
    entropy = plain_entropy(teacher, WEIGHTS, temperature)
    at_equality, _ = soft_cross_entropy(teacher, teacher, WEIGHTS, temperature)
    np.testing.assert_allclose(at_equality, entropy, rtol=1e-5)
    for scale in (0.1, 1.0, 10.0):
        elsewhere, _ = soft_cross_entropy(teacher, teacher + scale * floats(rng, 3, 4, 7), WEIGHTS, temperature)
        assert (elsewhere.numpy() > entropy).all()


def test_a_constant_added_to_the_logits_changes_no_prediction_loss(rng):
    teacher, student = floats(rng, 3, 4, 7), floats(rng, 3, 4, 7)
    before, _ = soft_cross_entropy(teacher, student, WEIGHTS, 1.0)
    after, _ = soft_cross_entropy(teacher + 30.0, student - 30.0, WEIGHTS, 1.0)
    np.testing.assert_allclose(after, before, rtol=1e-4)


def test_soft_cross_entropy_ignores_positions_of_weight_zero(rng):
    teacher, student = floats(rng, 3, 4, 7), floats(rng, 3, 4, 7)
    before = soft_cross_entropy(teacher, student, WEIGHTS, 1.0)
    extra = floats(rng, 3, 2, 7)
    padded = [np.concatenate([logits, scale * extra], axis=1) for logits, scale in ((teacher, 1), (student, -9))]
    after = soft_cross_entropy(*padded, np.pad(WEIGHTS, ((0, 0), (0, 2))), 1.0)
    np.testing.assert_allclose(after, before, rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_cross_entropy_has_the_documented_gradient(rng, temperature):
    teacher, student = floats(rng, 3, 4, 7), tf.constant(floats(rng, 3, 4, 7))
    with tf.GradientTape() as tape:
        tape.watch(student)
        total, weight = soft_cross_entropy(teacher, student, WEIGHTS, temperature)
        loss = tf.reduce_sum(total) / tf.reduce_sum(weight)
    softmax = [
        np.array([[plain_softmax(position, temperature) for position in row] for row in logits.tolist()])
        for logits in (student.numpy(), teacher)
    ]
    expected = (softmax[0] - softmax[1]) / (temperature * 6) * WEIGHTS[:, :, None]
    np.testing.assert_allclose(tape.gradient(loss, student), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_states_and_logits_are_added_up_in_float32(dtype):
    rng = np.random.default_rng(0)
    one, other = (tf.cast(floats(rng, 3, 4, 7), dtype) for _ in range(2))
    exact = [tf.cast(value, tf.float32).numpy() for value in (one, other)]  # what survived the rounding of the input
    for results, expected in (
        (state_mean_squared_error(one, other, WEIGHTS), plain_mean_squared_error(*exact, WEIGHTS)),
        (soft_cross_entropy(one, other, WEIGHTS, 2.0), plain_soft_cross_entropy(*exact, WEIGHTS, 2.0)),
    ):
        assert [result.dtype for result in results] == [tf.float32, tf.float32]
        np.testing.assert_allclose(results[0], expected, rtol=1e-5)
