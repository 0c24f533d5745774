"""The bidirectional LSTM is Keras's: same outputs, same gradients, same files; only its loop differs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from chemkd_tf.models import bilstm

ROWS, TOKENS, WIDTH, UNITS = 5, 9, 6, 4


@pytest.fixture(scope="module")
def layers():
    """Ours and Keras's with the same random weights, biases too."""
    rng = np.random.default_rng(1)
    ours = bilstm.Bidirectional(keras.layers.LSTM(UNITS, return_sequences=True))
    theirs = keras.layers.Bidirectional(keras.layers.LSTM(UNITS, return_sequences=True))
    for layer in (ours, theirs):
        layer.build((None, None, WIDTH))
    weights = [rng.normal(0, 0.7, weight.shape).astype("float32") for weight in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(2)
    mask = np.arange(TOKENS) < np.array([TOKENS, 1, 4, TOKENS, 7])[:, None]
    return tf.constant(rng.normal(size=(ROWS, TOKENS, WIDTH)), tf.float32), tf.constant(mask)


@pytest.mark.parametrize("compiled", [False, True])
def test_outputs_and_gradients_are_those_of_keras(layers, batch, compiled):
    inputs, mask = batch
    direction = tf.constant(np.random.default_rng(3).normal(size=(ROWS, TOKENS, 2 * UNITS)), tf.float32)
    real = tf.cast(mask, tf.float32)[:, :, None]

    def outputs_and_gradients(layer):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, mask=mask) * real
            total = tf.reduce_sum(outputs * direction)
        return outputs, tape.gradient(total, [inputs, *(weight.value for weight in layer.trainable_weights)])

    (outputs, gradients), (expected, expected_gradients) = (
        (tf.function(outputs_and_gradients) if compiled else outputs_and_gradients)(layer) for layer in layers
    )
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    assert len(gradients) == len(expected_gradients) == 7
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, other, atol=2e-5)
        assert np.abs(other).max() > 0.1
    np.testing.assert_array_equal(gradients[0].numpy()[~mask.numpy()], 0.0)  # padding moves nothing


def test_the_kernel_is_in_the_graph_and_only_in_float32(layers, batch):
    def operations(layer):
        graph = tf.function(lambda x, mask: layer(x, mask=mask)).get_concrete_function(*batch).graph
        return {operation.type for operation in graph.get_operations()}

    assert "BlockLSTMV2" in operations(layers[0]) and "While" not in operations(layers[0])
    policy = "mixed_bfloat16"
    lstm = keras.layers.LSTM(UNITS, return_sequences=True, dtype=policy)
    half = bilstm.Bidirectional(lstm, dtype=policy)
    half.build((None, None, WIDTH))
    assert "BlockLSTMV2" not in operations(half)
    assert half(*batch[:1], mask=batch[1]).dtype == tf.bfloat16


def test_its_file_of_weights_is_that_of_keras(layers, tmp_path):
    models = []
    for layer, number in zip(layers, (1, 2), strict=True):
        inputs = keras.Input((None, WIDTH))
        models.append(keras.Model(inputs, type(layer)(keras.layers.LSTM(UNITS, return_sequences=True))(inputs)))
        models[-1].layers[-1].set_weights([weight * number for weight in layer.get_weights()])
    models[1].save_weights(tmp_path / "keras.weights.h5")
    models[0].load_weights(tmp_path / "keras.weights.h5")
    for found, expected in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
