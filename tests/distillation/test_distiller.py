"""The distiller: the teacher stands still, the student follows, padding and filling count for nothing."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.data.padding import fill_batch, trim_padding
from chemkd_tf.errors import InputError
from chemkd_tf.training.replica_exact import Totals

STEPS = 30
FORGETFUL_TEACHER = {"dropout": 0.5}


@pytest.fixture(scope="module")
def trained():
    """A distiller before and after 30 updates on one batch, its teacher with a dropout of one half."""
    config = tiny.one_layer_config(learning_rate=2e-2, weight_decay=0.1)
    model = tiny.one_layer_distiller(config, FORGETFUL_TEACHER)
    batch = tiny.batch()
    teacher_before = tiny.snapshot(model.teacher.weights)
    student_before = tiny.snapshot(model.trainable_variables)
    metrics_before = tiny.evaluate(model, batch)
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    with tiny.unoptimised_graphs():
        history = model.fit(dataset, steps_per_epoch=STEPS, epochs=1, verbose=0, shuffle=False).history
    return model, batch, teacher_before, student_before, metrics_before, history


def test_the_teacher_is_bit_identical_after_thirty_updates(trained):
    model, _, teacher_before, student_before, *_ = trained
    for before, variable in zip(teacher_before, model.teacher.weights, strict=True):
        np.testing.assert_array_equal(variable.numpy(), before)
    moved = [
        np.abs(variable.numpy() - before).max()
        for before, variable in zip(student_before, model.trainable_variables, strict=True)
    ]
    assert min(moved) > 1e-4


def test_nothing_of_the_teacher_is_trained(trained):
    model = trained[0]
    teacher = {id(variable) for variable in model.teacher.weights}
    assert not teacher & {id(variable) for variable in model.trainable_variables}
    assert len(model.optimizer.variables) == 1 + 2 * len(model.trainable_variables)


def test_the_teacher_does_not_drop_out_while_the_student_is_trained():
    """The same student against teachers that differ only in their dropout gets the same losses in training mode."""
    batch = tiny.tensors(tiny.batch())
    losses = []
    for dropout in (0.0, 0.5):
        model = tiny.one_layer_distiller(teacher={"dropout": dropout})
        terms = model.compute_terms(batch, training=True)
        losses.append([tf.reduce_sum(total).numpy() for total, _ in terms.losses.values()])
    # Not bit for bit: oneDNN's sums may depend on where in memory a tensor lies.
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_student_does_drop_out_in_training_and_not_in_evaluation():
    model = tiny.one_layer_distiller(student={"dropout": 0.5})
    batch = tiny.tensors(tiny.batch())

    def hidden_loss(training):
        return model.compute_terms(batch, training=training).losses["hidden_loss"][0].numpy()

    np.testing.assert_allclose(hidden_loss(False), hidden_loss(False), rtol=1e-5)
    assert np.abs(hidden_loss(True) - hidden_loss(False)).max() > 1e-3


def test_every_loss_falls_on_a_fixed_batch(trained):
    model, batch, _, _, before, history = trained
    after = tiny.evaluate(model, batch)
    assert after["loss"] < 0.9 * before["loss"]
    for name in ("embedding_loss", "hidden_loss", "prediction_loss"):
        assert after[name] < before[name], name
    for name in ("embedding", "hidden_1"):
        assert after[f"r_squared_{name}"] > before[f"r_squared_{name}"], name
    assert set(history) == set(before) | {"gradient_norm", "examples", "tokens"}


def test_the_loss_is_the_weighted_sum_of_the_objectives():
    config = tiny.one_layer_config(embedding_loss_weight=0.5, hidden_loss_weight=2.0, prediction_loss_weight=3.0)
    metrics = tiny.evaluate(tiny.one_layer_distiller(config), tiny.batch())
    expected = 0.5 * metrics["embedding_loss"] + 2.0 * metrics["hidden_loss"] + 3.0 * metrics["prediction_loss"]
    assert metrics["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="module")
def small():
    """A model, a batch that has padding in every row, and its metrics and gradients."""
    model = tiny.one_layer_distiller()
    batch = tiny.pad(tiny.batch(), tokens=2)
    return model, batch, metrics_and_gradients(model, tiny.tensors(batch))


def metrics_and_gradients(model, batch):
    with tf.GradientTape() as tape:
        terms = model.compute_terms(batch, training=True)
        sums = {name: tf.reduce_sum(total) for name, (total, _) in terms.losses.items()}
        weights = {name: tf.reduce_sum(weight) for name, (_, weight) in terms.losses.items()}
        loss = model.objective(sums, weights)
    gradients = tape.gradient(loss, model.trainable_variables)
    metrics = model.metrics_of(Totals(sums, weights, terms.statistics))
    return (
        {name: float(value) for name, value in metrics.items()},
        [tf.convert_to_tensor(gradient).numpy() for gradient in gradients],
    )


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (lambda batch: fill_batch(tiny.tensors(batch), 9), (9, tiny.TOKENS + 2)),
        (lambda batch: tiny.tensors(tiny.pad(batch, tokens=5, predictions=3)), (6, tiny.TOKENS + 7)),
        (lambda batch: trim_padding(tiny.tensors(batch)), (6, tiny.TOKENS)),
    ],
    ids=["rows of weight 0", "more padding", "less padding"],
)
def test_filling_and_padding_change_neither_a_metric_nor_a_gradient(small, change, shape):
    model, batch, (metrics, gradients) = small
    changed = change(batch)
    assert tuple(changed["token_ids"].shape) == shape
    metrics_of_changed, gradients_of_changed = metrics_and_gradients(model, changed)
    assert metrics_of_changed == pytest.approx(metrics, rel=1e-4, abs=1e-5)
    for gradient, other in zip(gradients, gradients_of_changed, strict=True):
        np.testing.assert_allclose(other, gradient, rtol=1e-3, atol=1e-6)


def test_a_layer_that_the_teacher_lacks_is_refused_before_training():
    with pytest.raises(
        InputError, match="--layer_map=1,5: teacher layer 5 doesn't exist; the teacher has layers 1 to 2"
    ):
        tiny.distiller(tiny.distillation_config(layer_map=(1, 5)))
