"""The paper's losses against loops in plain `math`."""

import math

import numpy as np
import pytest
import tensorflow as tf

from chemkd_tf.distillation import losses
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


def cosine(one, other):
    product = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return product / math.sqrt(math.fsum(a * a for a in one)) / math.sqrt(math.fsum(b * b for b in other))


def test_attention_error_is_the_mean_over_heads_summed_over_pairs_of_real_tokens(rng):
    student, teacher = floats(rng, 3, 2, 4, 4), floats(rng, 3, 2, 4, 4)
    total, weight = losses.attention_mean_squared_error(student, teacher, WEIGHTS)
    expected = []
    for s, t, w in zip(student.tolist(), teacher.tolist(), WEIGHTS.tolist(), strict=True):
        real = [position for position, of_token in enumerate(w) if of_token]
        squares = [(s[head][q][k] - t[head][q][k]) ** 2 for head in range(2) for q in real for k in real]
        expected.append(math.fsum(squares) / 2)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    assert weight.numpy().tolist() == [9, 1, 4]
    assert losses.attention_mean_squared_error(teacher, teacher, WEIGHTS)[0].numpy().tolist() == [0, 0, 0]


def test_normalised_error_is_the_squared_distance_on_the_unit_sphere(rng):
    student, teacher = floats(rng, 4, 5), floats(rng, 4, 5)
    weights = np.array([1, 0, 2, 1], "float32")
    total, weight = losses.normalised_squared_error(student, teacher, weights)
    expected = []
    for s, t, w in zip(student.tolist(), teacher.tolist(), weights.tolist(), strict=True):
        lengths = [math.sqrt(math.fsum(value**2 for value in state)) for state in (s, t)]
        expected.append(w * math.fsum((a / lengths[0] - b / lengths[1]) ** 2 for a, b in zip(s, t, strict=True)))
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(weight, weights)
    np.testing.assert_allclose(losses.normalised_squared_error(3 * teacher, teacher, weights)[0], 0, atol=1e-5)
    np.testing.assert_allclose(losses.normalised_squared_error(-teacher, teacher, weights)[0], 4 * weights, rtol=1e-5)


def test_cosine_distance_is_summed_over_real_tokens(rng):
    student, teacher = floats(rng, 3, 4, 5), floats(rng, 3, 4, 5)
    total, weight = losses.cosine_distance(student, teacher, WEIGHTS)
    expected = [
        math.fsum(of_token * (1 - cosine(a, b)) for a, b, of_token in zip(s, t, w, strict=True))
        for s, t, w in zip(student.tolist(), teacher.tolist(), WEIGHTS.tolist(), strict=True)
    ]
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-6)
    assert weight.numpy().tolist() == [3, 1, 2]
    np.testing.assert_allclose(losses.cosine_distance(2 * teacher, teacher, WEIGHTS)[0], 0, atol=1e-5)


def plain_cos_nce(student, teachers, weights, are_tokens, first_row, num_negatives):
    """Token by token: the formula of Fu et al. 2021, eq. 3, over the next samples that have a token there."""
    sums = []
    size = len(teachers)
    for number, (s, w) in enumerate(zip(student.tolist(), weights.tolist(), strict=True)):
        row, total = first_row + number, 0.0
        for position, of_token in enumerate(w):
            own = 1 - cosine(s[position], teachers[row][position].tolist())
            others = [(row + step) % size for step in range(1, size)]
            others = [other for other in others if are_tokens[other][position]][:num_negatives]
            count = len(others)
            apart = [1 - cosine(s[position], teachers[other][position].tolist()) for other in others]
            contrast = (2 * count - math.fsum(g - own for g in apart)) / (2 * count) if count else 1.0
            total += of_token * (contrast + own)
        sums.append(total)
    return sums


@pytest.mark.parametrize("num_negatives", [1, 2, 3, 15])
@pytest.mark.parametrize("first_row", [0, 2, 4])
def test_cos_nce_is_the_formula_over_the_next_samples_that_have_the_token(rng, num_negatives, first_row):
    teachers, student = floats(rng, 6, 4, 5), floats(rng, 2, 4, 5)
    lengths = np.array([4, 2, 1, 4, 3, 0])  # the last row only fills the batch
    are_tokens = (np.arange(4) < lengths[:, None]).astype("float32")
    weights = are_tokens[first_row : first_row + 2]
    total, weight = losses.cos_nce(
        student, teachers[first_row : first_row + 2], weights, teachers, are_tokens, first_row, num_negatives
    )
    expected = plain_cos_nce(student, teachers, weights, are_tokens, first_row, num_negatives)
    np.testing.assert_allclose(total, expected, rtol=1e-4)
    np.testing.assert_allclose(weight, weights.sum(1))


def test_cos_nce_is_least_at_the_positive_with_all_negatives_opposite():
    teachers = np.stack([np.eye(4, dtype="float32")] * 3)
    teachers[1:] *= -1
    ones = np.ones((3, 4), "float32")
    at_positive = losses.cos_nce(teachers[:1], teachers[:1], ones[:1], teachers, ones, 0, 2)[0]
    np.testing.assert_allclose(at_positive, [0.0], atol=1e-6)
    at_negative = losses.cos_nce(-teachers[:1], teachers[:1], ones[:1], teachers, ones, 0, 2)[0]
    np.testing.assert_allclose(at_negative, [16.0], rtol=1e-6)  # 4 for each of 4 tokens: the most there is


def test_error_of_the_logits_is_the_mean_over_classes(rng):
    teacher, student = floats(rng, 3, 4, 5), floats(rng, 3, 4, 5)
    total, weight = losses.logits_mean_squared_error(teacher, student, WEIGHTS)
    np.testing.assert_allclose(total, plain_mean_squared_error(student, teacher, WEIGHTS), rtol=1e-5)
    assert weight.numpy().tolist() == [3, 1, 2]
