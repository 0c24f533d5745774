"""The optimizer against a restatement in plain Python and NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from chemkd_tf.training.optimizers import LinearWarmupDecay, make_optimizer


def plain_schedule(peak, steps, warmup):
    """Learning rate of each update: (k + 1) / warmup of the peak, then what is left of the way to the end."""
    rates = []
    for step in range(steps + 2):
        if step < warmup:
            rates.append(peak * (step + 1) / warmup)
        else:
            rates.append(max(0.0, peak * (steps - step) / (steps - warmup)))
    return rates


@pytest.mark.parametrize(("steps", "warmup"), [(10, 4), (10, 1), (10, 0), (7, 6)])
def test_the_learning_rate_rises_linearly_to_the_peak_and_falls_linearly_to_zero(steps, warmup):
    schedule = LinearWarmupDecay(2e-3, steps, warmup)
    rates = [float(schedule(step)) for step in range(steps + 2)]
    assert rates == pytest.approx(plain_schedule(2e-3, steps, warmup), rel=1e-5, abs=1e-12)
    assert rates[0] > 0
    assert max(rates) == pytest.approx(2e-3)
    assert rates[steps] == rates[steps + 1] == 0


def test_a_known_schedule():
    schedule = LinearWarmupDecay(1.0, 6, 2)
    assert [float(schedule(step)) for step in range(7)] == pytest.approx([0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0])


def test_the_schedule_can_be_made_again_from_its_config():
    schedule = LinearWarmupDecay(1e-3, 10, 4)
    again = LinearWarmupDecay.from_config(schedule.get_config())
    assert [float(again(k)) for k in range(10)] == [float(schedule(k)) for k in range(10)]


class PlainAdamW:
    """Adam with bias correction, epsilon beside the uncorrected root as Keras has it, and decoupled decay."""

    def __init__(self, values, decayed, decay):
        self.values = [value.astype("float64") for value in values]
        self.momenta = [np.zeros_like(value) for value in self.values]
        self.velocities = [np.zeros_like(value) for value in self.values]
        self.decays = [decay * flag for flag in decayed]
        self.step = 0

    def update(self, gradients, rate):
        self.step += 1
        rate_t = rate * np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
        for i, gradient in enumerate(gradients):
            self.values[i] = self.values[i] * (1 - rate * self.decays[i])
            self.momenta[i] = 0.9 * self.momenta[i] + 0.1 * gradient
            self.velocities[i] = 0.999 * self.velocities[i] + 0.001 * gradient**2
            self.values[i] = self.values[i] - rate_t * self.momenta[i] / (np.sqrt(self.velocities[i]) + 1e-6)


@pytest.fixture
def layers():
    """A kernel and a bias, a gamma and a beta, the weights of an LSTM, and an embedding."""
    model = keras.Sequential(
        [
            keras.layers.Embedding(5, 3, name="token_embedding"),
            keras.layers.LSTM(2, return_sequences=True, name="lstm"),
            keras.layers.Dense(4, name="dense"),
            keras.layers.LayerNormalization(name="norm"),
        ]
    )
    model.build((None, 3))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(1, 0.5, variable.shape))
    return model.trainable_variables


DECAYED = {"embeddings", "kernel", "recurrent_kernel"}


@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 1e6])
def test_updates_are_adamw_with_decay_on_kernels_and_embeddings_alone(layers, clip_norm):
    assert {variable.name for variable in layers} == DECAYED | {"bias", "gamma", "beta"}
    optimizer = make_optimizer(LinearWarmupDecay(0.1, 10, 2), weight_decay=0.3, clip_norm=clip_norm)
    optimizer.build(layers)
    decayed = [variable.name in DECAYED for variable in layers]
    plain = PlainAdamW([variable.numpy() for variable in layers], decayed, 0.3)
    rng = np.random.default_rng(1)
    for rate in (0.05, 0.1, 0.1):
        gradients = [rng.normal(0, 1, variable.shape).astype("float32") for variable in layers]
        norm = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients))
        assert 0.5 < norm < 1e6
        scale = min(1.0, clip_norm / norm) if clip_norm else 1.0
        clipped, found = optimizer.reduce_and_clip([tf.constant(gradient) for gradient in gradients])
        assert float(found) == pytest.approx(norm, rel=1e-5)
        optimizer.apply_gradients(zip(clipped, layers, strict=True))
        plain.update([scale * gradient for gradient in gradients], rate)
    for variable, expected in zip(layers, plain.values, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-4, atol=1e-5, err_msg=variable.path)


def test_a_gradient_of_zero_moves_a_kernel_by_the_decay_and_a_bias_not_at_all(layers):
    optimizer = make_optimizer(LinearWarmupDecay(0.1, 10, 0), weight_decay=0.3, clip_norm=1.0)
    optimizer.build(layers)
    before = [variable.numpy() for variable in layers]
    optimizer.apply_gradients((np.zeros(variable.shape, "float32"), variable) for variable in layers)
    for old, variable in zip(before, layers, strict=True):
        expected = old * (1 - 0.1 * 0.3) if variable.name in DECAYED else old
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6)
