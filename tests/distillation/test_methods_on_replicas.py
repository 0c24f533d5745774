"""Every method, on a corpus and on a task: one replica and two make the same update of the same batch."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.data.padding import fill_batch
from chemkd_tf.distillation.recipes import RECIPES
from chemkd_tf.errors import InputError
from chemkd_tf.training.strategy import make_strategy

TRANSFORMER = {"num_heads": 2, "hidden_dim": 12, "num_layers": 1, "intermediate_dim": 16}
ONE_LAYER = {"num_layers": 1}
# Rows of unequal length, the last two only fill the batch: the second replica has one real row, the first three.
CORPUS_BATCH = {name: value.numpy() for name, value in fill_batch(tiny.tensors(tiny.batch(rows=4)), 6).items()}


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with tiny.unoptimised_graphs():
        yield


def build(method, is_task, **changes):
    student = TRANSFORMER if method == "tinybert" else ONE_LAYER
    values = {"method": method, "layer_map": (1,), "num_negatives": 2, "weight_decay": 0.1, **changes}
    if is_task:
        return tiny.task_distiller(tiny.classification_config(**values), ONE_LAYER, student)
    return tiny.distiller(tiny.distillation_config(num_student_layers=1, **values), ONE_LAYER, student)


@functools.cache
def updated(method, is_task, phase, num_replicas):
    """Variables before and after one update of the phase, and its metrics."""
    strategy = make_strategy(num_replicas)
    with strategy.scope():
        model = build(method, is_task)
        model.begin_phase(phase, first_step=0)
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    batch = tiny.task_batch() if is_task else CORPUS_BATCH
    dataset = tf.data.Dataset.from_tensors(batch)

    @tf.function
    def update(share):
        metrics = strategy.run(model.train_step, args=(share,))
        return {name: strategy.experimental_local_results(value)[0] for name, value in metrics.items()}

    metrics = update(next(iter(strategy.experimental_distribute_dataset(dataset))))
    after = {variable.path: variable.numpy() for variable in model.trainable_variables}
    return before, after, {name: float(value) for name, value in metrics.items()}


def cases():
    for method in RECIPES:
        for is_task in (False, True):
            # Of methods that learn in two stages the last phase has the most losses, of LRC-BERT the first differs too.
            for phase in {"lrc_bert": (0, 1), "tinybert": (0, 1) if is_task else (0,)}.get(method, (0,)):
                # A task adds little that its method and the labels don't have elsewhere: two stand for all, in their
                # last phase. On the corpus four have a loss or a state that no other has; the rest is left to the slow
                # suite.
                kept = ("layered", "lrc_bert") if is_task else ("layered", "lrc_bert", "tinybert", "bert_pkd")
                is_kept = method in kept and (method, is_task, phase) != ("lrc_bert", True, 0)
                marks = [] if is_kept else [pytest.mark.slow]
                name = f"{method}-{'task' if is_task else 'corpus'}-{phase}"
                yield pytest.param(method, is_task, phase, id=name, marks=marks)


@pytest.mark.parametrize(("method", "is_task", "phase"), cases())
def test_one_replica_and_two_make_the_same_update(method, is_task, phase):
    (before, after, metrics), (before_on_two, after_on_two, metrics_on_two) = (
        updated(method, is_task, phase, num_replicas) for num_replicas in (1, 2)
    )
    moved = 0
    for path in before:
        np.testing.assert_array_equal(before_on_two[path], before[path])
        # A bias of the keys changes no attention: its gradient is rounding errors alone, which Adam makes larger.
        tolerance = 2e-3 if path.endswith("key/bias") else 1e-6
        np.testing.assert_allclose(after_on_two[path], after[path], rtol=0, atol=tolerance, err_msg=path)
        moved += np.abs(after[path] - before[path]).max() > 1e-4
    assert moved > len(before) / 2
    assert metrics_on_two == pytest.approx(metrics, rel=1e-4, abs=1e-5)
    assert metrics["loss"] > 0 and np.isfinite(list(metrics.values())).all()


def test_negatives_come_from_the_other_replica():
    """With the batch on two replicas COS-NCE has the value that NumPy finds over the whole batch."""
    model = build("lrc_bert", is_task=False)
    inputs = tiny.select(CORPUS_BATCH, tiny.MASKED_LM_INPUTS)
    teacher = model.teacher(inputs)["hidden_1"].numpy().astype("float64")
    student = model.student(inputs)["hidden_1"].numpy().astype("float64")
    student = student @ model.objectives[0].projections[0].kernel.numpy()
    real = CORPUS_BATCH["padding_mask"] * CORPUS_BATCH["example_weight"][:, None] > 0

    def apart(one, other):
        return 1 - one @ other / np.linalg.norm(one) / np.linalg.norm(other)

    total, across = 0.0, False
    for row, position in zip(*np.nonzero(real), strict=True):
        own = apart(student[row, position], teacher[row, position])
        others = [(row + step) % 6 for step in range(1, 6)]
        others = [other for other in others if real[other, position]][:2]
        across |= row < 3 <= max(others, default=0)
        farther = sum(apart(student[row, position], teacher[other, position]) - own for other in others)
        total += own + ((2 * len(others) - farther) / (2 * len(others)) if others else 1.0)
    assert across, "no negative is the other replica's"
    for num_replicas in (1, 2):
        metrics = updated("lrc_bert", False, 1, num_replicas)[2]
        # Perturbed embeddings have another loss, but hardly: the gradient of a mean over a batch is short.
        assert metrics["hidden_loss"] == pytest.approx(total / real.sum(), rel=0.05)
    exact = tiny.evaluate(model, CORPUS_BATCH)["hidden_loss"]
    assert exact == pytest.approx(total / real.sum(), rel=1e-4)


def test_a_perturbed_update_is_that_of_embeddings_moved_by_their_gradient():
    model = build("lrc_bert", is_task=False)
    model.begin_phase(1, first_step=0)
    batch = tiny.tensors(CORPUS_BATCH)
    totals = {name: tf.reduce_sum(value) for name, value in model.compute_weights(batch).items()}
    to_embedding, from_embedding = model._student_parts
    inputs = tiny.select(CORPUS_BATCH, tiny.MASKED_LM_INPUTS)

    def loss_at(embedding):
        student = from_embedding({**inputs, "embedding": embedding}, training=True)
        teacher = model.teacher(inputs)
        view = model._view.batch(batch)
        found = {each.name: tf.reduce_sum(each(student, teacher, view).loss[0]) for each in model.objectives}
        return sum(model.loss_weights[name] * found[name] / totals[name] for name in found)

    embedding = tf.constant(to_embedding(inputs).numpy())
    with tf.GradientTape() as tape:
        tape.watch(embedding)
        loss = loss_at(embedding)
    gradient = tape.gradient(loss, embedding)
    assert np.abs(gradient.numpy()).max() > 1e-4
    expected = float(loss_at(embedding + gradient))
    terms = model.compute_training_terms(batch, totals)
    found = sum(
        model.loss_weights[name] * float(tf.reduce_sum(total)) / float(totals[name])
        for name, (total, _) in terms.losses.items()
    )
    assert found == pytest.approx(expected, rel=1e-5)
    assert abs(found - float(loss)) > 1e-5


def test_what_compares_samples_is_not_computed_in_parts():
    with pytest.raises(InputError, match="--gradient_accumulation_steps=2: hidden_loss compares the samples"):
        build("lrc_bert", is_task=False, gradient_accumulation_steps=2)


def test_attention_of_a_bilstm_is_refused_in_one_sentence():
    with pytest.raises(InputError, match="--method=tinybert learns attention scores, which a BiLSTM doesn't have"):
        tiny.distiller(tiny.one_layer_config(method="tinybert"), ONE_LAYER, ONE_LAYER)
    with pytest.raises(InputError, match="the student has 3 heads, the teacher 2; give --student_attention_heads=2"):
        tiny.distiller(tiny.one_layer_config(method="tinybert"), ONE_LAYER, {**TRANSFORMER, "num_heads": 3})
    model = tiny.distiller(tiny.one_layer_config(method="tinybert", attention_loss_weight=0.0), ONE_LAYER, ONE_LAYER)
    assert [objective.name for objective in model.objectives] == ["embedding_loss", "hidden_loss", "prediction_loss"]


def test_the_teacher_stays_and_only_student_and_projections_are_trained():
    for method in RECIPES:
        model = build(method, is_task=True)
        teacher = {id(variable) for variable in model.teacher.weights}
        projections = {id(variable) for objective in model.objectives for variable in objective.trainable_variables}
        trained = {id(variable) for variable in model.trainable_variables}
        assert trained == {id(v) for v in model.student.trainable_variables} | projections
        assert not trained & teacher
    keras.backend.clear_session()
