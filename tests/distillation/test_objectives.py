"""Objectives: what they add up, what they measure, what they own, what they refuse."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.distillation.batches import of_corpus
from chemkd_tf.distillation.objectives import MaskedTokenMatching, PredictionMatching, StateMatching
from chemkd_tf.errors import InputError
from chemkd_tf.models.checkpoints import build_encoder

PAIRS = [("hidden_1", "hidden_1"), ("hidden_2", "hidden_3")]
STUDENT, TEACHER = 4, 6


def random_states(seed, width, names):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(number, number + 1, (6, tiny.TOKENS, width)) for number, name in enumerate(names)}


def as_float32(states):
    return {name: tf.constant(value, tf.float32) for name, value in states.items()}


def two_batches():
    """(student states, teacher states, batch) twice; some examples weigh nothing."""
    for seed in (0, 1):
        batch = tiny.batch(seed=seed)
        batch["example_weight"][seed] = 0.0
        student = random_states(seed + 10, STUDENT, ["hidden_1", "hidden_2"])
        teacher = random_states(seed + 20, TEACHER, ["hidden_1", "hidden_2", "hidden_3"])
        yield student, teacher, batch


def view(batch):
    return of_corpus(tiny.tensors(batch))


def token_weights(batch):
    return batch["padding_mask"] * batch["example_weight"][:, None]


def test_state_matching_adds_up_its_pairs():
    objective = StateMatching("hidden_loss", PAIRS, STUDENT, TEACHER)
    student, teacher, batch = next(two_batches())
    total, weight = objective(as_float32(student), as_float32(teacher), view(batch)).loss
    real = token_weights(batch)
    expected = 0.0
    for (s, t), projection in zip(PAIRS, objective.projections, strict=True):
        difference = student[s] @ projection.kernel.numpy() - teacher[t]
        expected = expected + (np.square(difference).mean(-1) * real).sum(-1)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    np.testing.assert_allclose(weight, real.sum(-1))


def test_r_squared_and_cosine_are_those_of_all_the_batches_together():
    objective = StateMatching("hidden_loss", PAIRS, STUDENT, TEACHER)
    total = None
    for student, teacher, batch in two_batches():
        more = objective(as_float32(student), as_float32(teacher), view(batch)).statistics
        more = {name: value.numpy().astype("float64") for name, value in more.items()}
        total = more if total is None else {name: total[name] + more[name] for name in more}
    metrics = {name: float(value) for name, value in objective.summarise(total).items()}

    expected = {}
    for (s, t), projection in zip(PAIRS, objective.projections, strict=True):
        real = [token_weights(batch) > 0 for _, _, batch in two_batches()]
        projected = np.concatenate([x[0][s][m] for x, m in zip(two_batches(), real, strict=True)])
        projected = projected @ projection.kernel.numpy()
        wanted = np.concatenate([x[1][t][m] for x, m in zip(two_batches(), real, strict=True)])
        variance = np.square(wanted - wanted.mean(0)).sum()
        expected[f"r_squared_{s}"] = 1 - np.square(projected - wanted).sum() / variance
        lengths = np.linalg.norm(projected, axis=1) * np.linalg.norm(wanted, axis=1)
        expected[f"cosine_{s}"] = ((projected * wanted).sum(1) / lengths).mean()
    assert metrics == pytest.approx(expected, rel=1e-4)


def test_a_perfect_match_has_r_squared_and_cosine_one():
    objective = StateMatching("embedding_loss", [("embedding", "embedding")], STUDENT, TEACHER)
    batch = tiny.batch()
    student = random_states(0, STUDENT, ["embedding"])
    teacher = {"embedding": student["embedding"] @ objective.projections[0].kernel.numpy()}
    outcome = objective(as_float32(student), as_float32(teacher), view(batch))
    metrics = objective.summarise(outcome.statistics)
    assert float(metrics["r_squared_embedding"]) == pytest.approx(1.0, abs=1e-5)
    assert float(metrics["cosine_embedding"]) == pytest.approx(1.0, abs=1e-5)


def test_each_pair_has_its_own_projection_without_bias_before_the_first_call():
    objective = StateMatching("hidden_loss", PAIRS, STUDENT, TEACHER)
    shapes = [tuple(variable.shape) for variable in objective.trainable_variables]
    assert shapes == [(STUDENT, TEACHER), (STUDENT, TEACHER)]
    assert objective.projections[0] is not objective.projections[1]
    assert len({variable.path for variable in objective.trainable_variables}) == 2


def test_a_shared_projection_is_one_variable():
    objective = StateMatching("hidden_loss", PAIRS, STUDENT, TEACHER, share_projection=True)
    assert len(objective.trainable_variables) == 1
    assert objective.projections[0] is objective.projections[1]


def test_projections_are_trained_with_the_student_and_belong_to_the_distiller():
    model = tiny.distiller()
    projections = [p for objective in model.objectives[:2] for p in objective.projections]
    kernels = {projection.kernel.path for projection in projections}
    assert len(kernels) == 3
    assert model.optimizer.built
    assert {v.path for v in model.trainable_variables} == kernels | {v.path for v in model.student.weights}
    assert not kernels & {variable.path for variable in model.student.weights}
    assert not any("projection" in variable.path for variable in model.student.weights)


def test_a_state_that_a_model_lacks_is_refused_with_the_names_it_has():
    teacher = build_encoder(tiny.teacher_architecture(num_layers=1))
    student = build_encoder(tiny.student_architecture(num_layers=1))
    objective = StateMatching("hidden_loss", [("hidden_1", "hidden_3")], STUDENT, TEACHER)
    with pytest.raises(InputError, match="hidden_loss: the teacher has no state hidden_3; it has embedding, hidden_1"):
        objective.require_states(student, teacher)
    objective = StateMatching("hidden_loss", [("hidden_2", "hidden_1")], STUDENT, TEACHER)
    with pytest.raises(InputError, match="hidden_loss: the student has no state hidden_2; it has embedding, hidden_1"):
        objective.require_states(student, teacher)
    with pytest.raises(InputError, match="prediction_loss: the student has no state logits"):
        PredictionMatching("prediction_loss", 1.0).require_states(student, teacher)


def test_prediction_matching_counts_how_often_each_model_finds_the_masked_token():
    batch = tiny.batch(rows=5)
    batch["example_weight"][1] = 0.0
    rng = np.random.default_rng(0)
    shape = (5, tiny.PREDICTIONS, tiny.VOCABULARY)
    logits = {role: rng.normal(size=shape).astype("float32") for role in ("student", "teacher")}
    found = {"student": 0, "teacher": 0}
    masked = 0
    for row in range(5):
        for position in range(tiny.PREDICTIONS):
            if not batch["mask_weights"][row, position] or row == 1:
                continue
            masked += 1
            for role in found:
                if rng.random() < (0.7 if role == "teacher" else 0.4):
                    logits[role][row, position, batch["mask_ids"][row, position]] = 10.0
                found[role] += int(np.argmax(logits[role][row, position]) == batch["mask_ids"][row, position])
    assert 0 < found["student"] < found["teacher"] < masked
    objective = MaskedTokenMatching("prediction_loss", 1.0)
    outcome = objective({"logits": logits["student"]}, {"logits": logits["teacher"]}, view(batch))
    metrics = objective.summarise(outcome.statistics)
    assert float(metrics["masked_lm_accuracy_student"]) == pytest.approx(found["student"] / masked)
    assert float(metrics["masked_lm_accuracy_teacher"]) == pytest.approx(found["teacher"] / masked)
    weights = batch["mask_weights"] * batch["example_weight"][:, None]
    np.testing.assert_allclose(outcome.loss[1], weights.sum(1))


def test_an_objective_of_weight_zero_is_measured_but_not_trained():
    config = tiny.one_layer_config(hidden_loss_weight=0.0, prediction_loss_weight=0.0, weight_decay=0.0)
    model = tiny.one_layer_distiller(config)
    embedding, hidden, _ = model.objectives
    untrained = [*hidden.trainable_variables, *model.student.get_layer("bilstm_1").trainable_variables]
    before, trained_before = tiny.snapshot(untrained), tiny.snapshot(embedding.trainable_variables)
    batch = tiny.batch()
    full = tiny.evaluate(tiny.one_layer_distiller(), batch)
    metrics = {name: float(value) for name, value in model.train_step(tiny.tensors(batch)).items()}
    assert metrics["hidden_loss"] == pytest.approx(full["hidden_loss"], rel=1e-5)
    assert metrics["prediction_loss"] == pytest.approx(full["prediction_loss"], rel=1e-5)
    assert metrics["loss"] == pytest.approx(metrics["embedding_loss"], rel=1e-6)
    for old, variable in zip(before, untrained, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)
    assert np.abs(embedding.trainable_variables[0].numpy() - trained_before[0]).max() > 1e-4
